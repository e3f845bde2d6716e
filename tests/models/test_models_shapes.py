"""What every built-in model promises: shapes, causality, equivariance, gradients, weights, taps."""

from functools import cache

import pytest
import torch

from iclkit.api import Categorical, Real
from iclkit_models.configs import GPT2Config, MLPConfig, RecurrentConfig, StateSpaceConfig, TransformerConfig
from iclkit_models.plugin import iclkit_models

CONTEXT = 12
SPACES = {"categorical": Categorical(5), "real": Real(3), "scored": Real(3, scored=2)}
SPECS = {spec.name: spec for spec in iclkit_models()}
CONFIGS = {
    "transformer": TransformerConfig(width=16),
    "transformer rope rms": TransformerConfig(width=16, positions="rope", norm="rms", scale="learned"),
    "transformer previous": TransformerConfig(width=16, previous=2, positions="none"),
    "transformer alibi": TransformerConfig(width=16, positions="alibi", layers=1),
    "transformer none tied": TransformerConfig(width=16, positions="none", tied=True, heads=1, scale="learned"),
    "transformer small": TransformerConfig(
        width=16, kv_heads=2, head_width=16, mlp=1, mlp_kind="gated", gelu="tanh", positions="rope", norm="rms",
        norm_eps=1e-6, biases=False,
    ),
    "transformer post": TransformerConfig(width=16, norm_place="post", kv_heads=1, gelu="tanh"),
    "transformer attention-only": TransformerConfig(width=16, attention_only=True, biases=False, positions="alibi"),
    "transformer wide heads": TransformerConfig(width=10, heads=3, head_width=6, kv_heads=1, positions="alibi"),
    "gpt2": GPT2Config(layers=2, width=16, heads=2, scale="learned"),
    "lstm": RecurrentConfig(width=16),
    "lstm two": RecurrentConfig(width=16, layers=2, dropout=0.1, scale="learned"),
    "gru": RecurrentConfig(width=16, layers=2, norm="layer", embedding="one-hot"),
    "gru learned": RecurrentConfig(width=16, scale="learned"),
    "rnn": RecurrentConfig(width=16, layers=2),
    "rnn one-hot": RecurrentConfig(width=16, embedding="one-hot", norm="layer", scale="learned"),
    "state-space": StateSpaceConfig(width=16),
    "state-space bare": StateSpaceConfig(width=16, layers=1, state=2, mlp=0, scale="learned"),
    "mlp": MLPConfig(width=16, window=CONTEXT),
    "mlp short": MLPConfig(width=16, window=3, layers=1, scale="learned"),
}  # fmt: skip
LIMITED = {"transformer", "transformer post", "gpt2"}
WINDOWS = {name: config.window for name, config in CONFIGS.items() if isinstance(config, MLPConfig)}


def make(name, space, seed=0):
    torch.manual_seed(seed)
    return SPECS[name.split()[0]].load()(CONFIGS[name], space, CONTEXT).eval()


@cache
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


def outcomes(space):
    return space.size if isinstance(space, Categorical) else space.scored


def mean(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


@pytest.mark.parametrize("length", [1, 2, CONTEXT])
def test_output_is_a_float_per_position_and_outcome(name, space, length):
    outputs = make(name, space)(make_inputs(space, length=length))
    learned = CONFIGS[name].scale == "learned" and isinstance(space, Real)
    assert isinstance(outputs, tuple) == learned
    for output in outputs if learned else [outputs]:
        assert output.shape == (3, length, outcomes(space))
        assert output.dtype == torch.float32
        assert output.isfinite().all()


def test_outputs_depend_on_no_later_input_and_on_every_earlier_one(name, space):
    module, inputs = make(name, space), make_inputs(space)
    before = mean(module(inputs))
    for changed in range(CONTEXT):
        other = inputs.clone()
        other[:, changed] = (inputs[:, changed] + 1) % 5 if inputs.ndim == 2 else inputs[:, changed] + 1
        after = mean(module(other))
        seen = slice(changed, changed + WINDOWS.get(name, CONTEXT))
        differs = (after != before).any(2)
        assert differs[:, seen].all()
        assert differs.sum() == differs[:, seen].sum()


def test_sequences_do_not_see_each_other(name, space):
    module, inputs = make(name, space), make_inputs(space)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(mean(module(inputs[order])), mean(module(inputs))[order])
    torch.testing.assert_close(mean(module(inputs[1:2])), mean(module(inputs))[1:2])


def test_gradients_reach_every_parameter(name, space):
    module = make(name, space).train()
    outputs = module(make_inputs(space))
    sum(
        output.square().sum() + output.sum() for output in (outputs if isinstance(outputs, tuple) else [outputs])
    ).backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_same_seed_same_weights_and_state_dict_round_trip(name, space):
    one, same, other = make(name, space), make(name, space), make(name, space, seed=1)
    inputs = make_inputs(space)
    assert torch.equal(mean(one(inputs)), mean(same(inputs)))
    assert not torch.equal(mean(one(inputs)), mean(other(inputs)))
    other.load_state_dict(one.state_dict())
    assert torch.equal(mean(one(inputs)), mean(other(inputs)))
    pointers = [value.data_ptr() for value in one.state_dict().values()]
    assert len(set(pointers)) == len(pointers), "no two names share memory"


@pytest.mark.parametrize("long", [name for name in CONFIGS if name not in LIMITED])
def test_unlimited_models_read_beyond_the_context(long, space):
    module, inputs = make(long, space), make_inputs(space, length=300)
    torch.testing.assert_close(mean(module(inputs))[:, :CONTEXT], mean(module(inputs[:, :CONTEXT])))


@pytest.mark.parametrize("limited", sorted(LIMITED))
def test_learned_positions_refuse_to_read_beyond_the_context(limited, space):
    with pytest.raises(ValueError, match="13 inputs are longer than the context of learned positions, 12"):
        make(limited, space)(make_inputs(space, length=13))


def test_specs_say_what_is_unlimited_and_one_is_default():
    assert [spec.name for spec in SPECS.values() if spec.default] == ["transformer"]
    assert {name.split()[0] for name in CONFIGS} == set(SPECS)
    for name, config in CONFIGS.items():
        spec = SPECS[name.split()[0]]
        assert isinstance(config, spec.config)
        assert spec.unlimited(config) == (name not in LIMITED)


@pytest.mark.parametrize(
    "made",
    [
        ("transformer", TransformerConfig(width=16, dropout=0.5)),
        ("gpt2", GPT2Config(layers=1, width=12)),
        ("lstm", RecurrentConfig(width=16, dropout=0.5)),
        ("gru", RecurrentConfig(width=16, dropout=0.5, embedding="one-hot")),
        ("state-space", StateSpaceConfig(width=16, dropout=0.5)),
        ("mlp", MLPConfig(width=16, dropout=0.5)),
    ],
    ids=lambda made: made[0],
)
def test_dropout_acts_in_training_only(made):
    kind, config = made
    space = SPACES["categorical"]
    module, inputs = SPECS[kind].load()(config, space, CONTEXT).eval(), make_inputs(space)
    assert torch.equal(module(inputs), module(inputs))
    module.train()
    assert not torch.equal(module(inputs), module(inputs))


def test_a_learned_scale_starts_at_one_and_is_the_same_at_every_position():
    space = SPACES["real"]
    module = make("gru learned", space)
    with torch.no_grad():
        assert not module.log_scale.any()
        module.log_scale += torch.tensor([0.1, 0.2, 0.3])
    _, log_scale = module(make_inputs(space))
    assert torch.equal(log_scale, module.log_scale.expand(3, CONTEXT, 3))
    assert make("gru learned", SPACES["categorical"]).log_scale is None


def test_taps_are_modules_that_return_vectors_of_the_width(name, space):
    module, seen = make(name, space), {}
    for tap, submodule in module.taps.items():
        module.get_submodule(submodule).register_forward_hook(lambda m, i, output, tap=tap: seen.update({tap: output}))
    module(make_inputs(space))
    assert list(seen) == list(module.taps)
    assert {tuple(output.shape) for output in seen.values()} == {(3, CONTEXT, CONFIGS[name].width)}
    assert [tap for tap in seen if tap.startswith("layer_")] == [f"layer_{i + 1}" for i in range(CONFIGS[name].layers)]


@pytest.mark.parametrize("kind", [name for name in CONFIGS if name.split()[0] in ("transformer", "gpt2")])
def test_explicit_attention_shows_its_weights_and_changes_outputs_by_rounding_alone(kind, space):
    module, seen, inputs = make(kind, space), {}, make_inputs(space)
    for tap, submodule in module.attention_taps.items():
        module.get_submodule(submodule).register_forward_hook(lambda m, i, output, tap=tap: seen.update({tap: output}))
    fused = mean(module(inputs))
    assert not seen
    module.explicit_attention()
    torch.testing.assert_close(mean(module(inputs)), fused)
    assert list(seen) == list(module.attention_taps)
    for weights in seen.values():
        assert weights.shape == (3, CONFIGS[kind].heads, CONTEXT, CONTEXT)
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert not weights.triu(1).any()
    module.explicit_attention(False)
    assert torch.equal(mean(module(inputs)), fused)
