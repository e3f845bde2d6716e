"""What every built-in model promises: shapes, causality, equivariance, gradients, weights."""

import pytest
import torch

from iclkit.api import Categorical, Real
from iclkit_models.configs import LSTMConfig, TransformerConfig
from iclkit_models.lstm import LSTM
from iclkit_models.plugin import iclkit_models
from iclkit_models.transformer import Transformer

CONTEXT = 12
SPACES = {"categorical": Categorical(5), "real": Real(3)}
CONFIGS = {
    "learned": TransformerConfig(width=16),
    "rope-rms": TransformerConfig(width=16, positions="rope", norm="rms"),
    "alibi": TransformerConfig(width=16, positions="alibi", layers=1),
    "none-tied": TransformerConfig(width=16, positions="none", tied=True, heads=1),
    "lstm": LSTMConfig(width=16),
    "lstm-2": LSTMConfig(width=16, layers=2, dropout=0.1),
}
UNLIMITED = [name for name in CONFIGS if name != "learned"]


def make(config, space, seed=0):
    torch.manual_seed(seed)
    return (LSTM if isinstance(config, LSTMConfig) else Transformer)(config, space, CONTEXT).eval()


def make_inputs(space, sequences=3, length=CONTEXT):
    generator = torch.Generator().manual_seed(1)
    if isinstance(space, Categorical):
        inputs = torch.randint(space.size, (sequences, length), generator=generator)
        inputs[:, 0] = space.size
    else:
        inputs = torch.randn(sequences, length, space.dim + 1, generator=generator)
        inputs[..., -1] = 0.0
        inputs[:, 0] = torch.tensor([0.0] * space.dim + [1.0])
    return inputs


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request):
    return request.param


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request):
    return request.param


@pytest.mark.parametrize("length", [1, 2, CONTEXT])
def test_output_is_a_float_per_position_and_outcome(config, space, length):
    outputs = make(config, space)(make_inputs(space, length=length))
    assert outputs.shape == (3, length, space.size if isinstance(space, Categorical) else space.dim)
    assert outputs.dtype == torch.float32
    assert outputs.isfinite().all()


def test_outputs_depend_on_no_later_input_and_on_every_earlier_one(config, space):
    module, inputs = make(config, space), make_inputs(space)
    before = module(inputs)
    for changed in range(CONTEXT):
        other = inputs.clone()
        other[:, changed] = (inputs[:, changed] + 1) % 5 if inputs.ndim == 2 else inputs[:, changed] + 1
        after = module(other)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert (after[:, changed:] != before[:, changed:]).flatten(2).any(2).all()


def test_sequences_do_not_see_each_other(config, space):
    module, inputs = make(config, space), make_inputs(space)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(module(inputs[order]), module(inputs)[order])
    torch.testing.assert_close(module(inputs[1:2]), module(inputs)[1:2])


def test_gradients_reach_every_parameter(config, space):
    module = make(config, space).train()
    module(make_inputs(space)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_same_seed_same_weights_and_state_dict_round_trip(config, space):
    one, same, other = make(config, space), make(config, space), make(config, space, seed=1)
    inputs = make_inputs(space)
    assert torch.equal(one(inputs), same(inputs))
    assert not torch.equal(one(inputs), other(inputs))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(inputs), other(inputs))
    pointers = [value.data_ptr() for value in one.state_dict().values()]
    assert len(set(pointers)) == len(pointers), "no two names share memory"


@pytest.mark.parametrize("name", UNLIMITED)
def test_unlimited_models_read_beyond_the_context(name, space):
    module, inputs = make(CONFIGS[name], space), make_inputs(space, length=3 * CONTEXT)
    torch.testing.assert_close(module(inputs)[:, :CONTEXT], module(inputs[:, :CONTEXT]))


def test_learned_positions_refuse_to_read_beyond_the_context(space):
    with pytest.raises(ValueError, match="13 inputs are longer than the context of learned positions, 12"):
        make(CONFIGS["learned"], space)(make_inputs(space, length=13))


def test_specs_say_what_is_unlimited_and_one_is_default():
    specs = {spec.name: spec for spec in iclkit_models()}
    assert {spec.load() for spec in specs.values()} == {Transformer, LSTM}
    assert [spec.name for spec in specs.values() if spec.default] == ["transformer"]
    for name, config in CONFIGS.items():
        spec = next(spec for spec in specs.values() if isinstance(config, spec.config))
        assert spec.unlimited(config) == (name in UNLIMITED)


def test_dropout_acts_in_training_only():
    for config in (TransformerConfig(width=16, dropout=0.5), LSTMConfig(width=16, dropout=0.5)):
        module, inputs = make(config, SPACES["categorical"]), make_inputs(SPACES["categorical"])
        assert torch.equal(module(inputs), module(inputs))
        module.train()
        assert not torch.equal(module(inputs), module(inputs))
