"""What is read inside a model is what the model computes with."""

import pytest
import torch

from iclkit.api import Batch, Categorical, Drawn, Facts, NotApplicable, Real, TensorTopics, activations
from iclkit.heads import ModulePredictor
from iclkit.predictors import Memo, Uniform
from iclkit_models.configs import RecurrentConfig, StateSpaceConfig, TransformerConfig
from iclkit_models.recurrent import gru, lstm
from iclkit_models.state_space import StateSpace
from iclkit_models.transformer import Transformer

B, T, V, C, H = 3, 6, 5, 16, 4
SPACES = {"categorical": Categorical(V), "real": Real(2)}
MODULES = {
    "transformer": lambda space: Transformer(TransformerConfig(width=C, heads=H), space, T),
    "lstm": lambda space: lstm(RecurrentConfig(width=C, layers=2), space, T),
    "gru": lambda space: gru(RecurrentConfig(width=C, layers=2, norm="layer"), space, T),
    "state-space": lambda space: StateSpace(StateSpaceConfig(width=C), space, T),
}
TAPS = {
    "transformer": ["embedding", "layer_1", "layer_2", "final"],
    "lstm": ["layer_1", "layer_2"],
    "gru": ["layer_1", "layer_2"],
    "state-space": ["embedding", "layer_1", "layer_2", "final"],
}


def model_of(name, space=SPACES["categorical"], bos=True):
    torch.manual_seed(0)
    return ModulePredictor(MODULES[name](space), Facts(space=space, topics=Drawn()), bos)


def batch_of(space=SPACES["categorical"]):
    draw = torch.Generator().manual_seed(1)
    if isinstance(space, Categorical):
        tokens = torch.randint(V, (B, T), generator=draw)
    else:
        tokens = torch.randn(B, T, space.dim, generator=draw, dtype=torch.float64)
    ones = torch.ones(B, dtype=torch.int64)
    topics = TensorTopics(torch.tensor([1]))
    return Batch(tokens=tokens, mask=torch.ones(B, T, dtype=torch.bool), topics=topics, topic=ones * 0, number=ones)


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no bos"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_the_last_tap_is_what_the_read_out_reads(name, space, bos):
    model, batch = model_of(name, space, bos), batch_of(space)
    read = activations(model, batch)
    assert list(read) == TAPS[name]
    for values in read.values():
        assert values.shape == (B, T, C)
        assert values.dtype == torch.float32
        assert values.isnan().all(2).sum() == values.isnan().any(2).sum() == (0 if bos else B)
        assert values[:, 0].isnan().any() == (not bos)
    last = model.module.read_out(read[TAPS[name][-1]]).double()
    if isinstance(space, Categorical):
        expected, told = last.log_softmax(-1), model.distribution(batch).log_probs
    else:
        expected, told = last, model.distribution(batch).mean
    torch.testing.assert_close(expected, told, atol=1e-6, rtol=0, equal_nan=True)


@torch.no_grad()
def test_taps_of_a_recurrent_network_are_its_layers_hidden_states():
    model, batch = model_of("lstm"), batch_of()
    module, x = model.module, torch.nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=V)
    first = module.layers[0](module.read_in(x))[0]
    read = activations(model, batch)
    assert torch.equal(read["layer_1"], first)
    assert torch.equal(read["layer_2"], module.layers[1](first)[0])


def test_chosen_taps_come_in_the_models_order_and_through_a_memo():
    model, batch = model_of("transformer"), batch_of()
    whole, some = activations(model, batch), activations(Memo(model), batch, names=["final", "layer_1"])
    assert list(some) == ["layer_1", "final"]
    assert all(torch.equal(some[name], whole[name]) for name in some)


@torch.no_grad()
def test_attention_weights_are_softmaxes_of_the_past_and_of_queries_and_keys():
    model, batch = model_of("transformer"), batch_of()
    before = model.log_prob(batch)
    read = activations(model, batch, attention=True)
    assert list(read) == ["layer_1", "layer_2"]
    for weights in read.values():
        assert weights.shape == (B, H, T, T)
        torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, T))
        assert not weights.triu(1).any()
    block = model.module.blocks[0]
    x = block.attention_norm(activations(model, batch, ["embedding"])["embedding"])
    q, k, _ = block.attention.queries_keys_values(x).unflatten(-1, (3, H, C // H)).permute(2, 0, 3, 1, 4)
    scores = (q @ k.mT / (C // H) ** 0.5).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(read["layer_1"], scores.softmax(-1))
    assert torch.equal(model.log_prob(batch), before), "attention is fused again"


def test_without_begin_token_nothing_attends_to_position_one():
    weights = activations(model_of("transformer", bos=False), batch_of(), ["layer_2"], attention=True)["layer_2"]
    assert weights.shape == (B, H, T, T)
    assert weights[:, :, 0].isnan().all()
    assert not weights[:, :, 1:, 0].any()
    torch.testing.assert_close(weights[:, :, 1:].sum(-1), torch.ones(B, H, T - 1))


def test_reading_leaves_no_hooks_behind_even_where_the_model_fails():
    model, batch = model_of("transformer"), batch_of()
    activations(model, batch, attention=True)
    with pytest.raises(IndexError):
        activations(model, batch.replace(tokens=batch.tokens + V), attention=True)
    assert not any(module._forward_hooks for module in model.module.modules())
    assert not any(getattr(module, "explicit", False) for module in model.module.modules())


@pytest.mark.parametrize(
    ("predictor", "how", "told"),
    [
        (Uniform(4), {}, "Uniform is no torch module"),
        (model_of("lstm"), {"attention": True}, "Recurrent names no taps that give attention weights"),
        (model_of("lstm"), {"names": ["layer_9"]}, "Recurrent has no tap layer_9; it has: layer_1, layer_2"),
    ],
)
def test_what_cannot_be_read_is_said(predictor, how, told):
    with pytest.raises(NotApplicable, match=told):
        activations(predictor, batch_of(), **how)


def test_a_module_without_taps_is_said():
    module = torch.nn.Sequential(torch.nn.Embedding(V + 1, V))
    model = ModulePredictor(module, Facts(space=Categorical(V), topics=Drawn()), True)
    with pytest.raises(NotApplicable, match="Sequential names no taps that give vectors"):
        activations(model, batch_of())
