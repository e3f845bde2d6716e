"""A hand-built induction head scores 1, a random model is at chance."""

import numpy as np
import pytest
import torch
from torch import nn

import iclkit
from iclkit.api import Categorical, Key
from iclkit_metrics.induction_heads.repeated import block_length, repeated, targets
from iclkit_models.configs import TransformerConfig
from iclkit_models.transformer import Transformer

V, T = 12, 24
DICE = {"kind": "dice", "sides": V}


class HandBuilt(nn.Module):
    """Two layers of attention: each token fetches the one before it, then looks for its like among those."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(10.0))
        self.first, self.second = nn.Softmax(dim=-1), nn.Softmax(dim=-1)
        self.attention_taps = {"layer_1": "first", "layer_2": "second"}

    def explicit_attention(self, explicit=True):
        pass

    def forward(self, inputs):  # (B, T) -> (B, T, V)
        size = inputs.shape[1]
        token = nn.functional.one_hot(inputs, V + 1).float()
        position = torch.arange(size)
        ahead = position > position[:, None]
        before = 1e4 * (position[:, None] - 1 == position).float()
        other = before * 0  # a second head that looks everywhere
        fetched = self.first(
            torch.stack([before, other]).expand(len(inputs), -1, -1, -1).masked_fill(ahead, -torch.inf)
        )
        previous = fetched[:, 0] @ token * (position > 0)[:, None]  # the first has none before it
        alike = 1e4 * (token @ previous.mT)
        found = self.second(torch.stack([alike, alike * 0], dim=1).masked_fill(ahead, -torch.inf))
        return self.gain * (found[:, 0] @ token)[..., :V]


def measured(model, bos=True, **config):
    metric = {"kind": "induction-heads", "sequences": 64} | config
    return iclkit.measure(model, DICE, [metric], length=T, sequences=8, bos=bos)


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no bos"])
@pytest.mark.parametrize("repeats", [2, 3])
def test_a_hand_built_induction_head_scores_one(bos, repeats):
    data = measured(HandBuilt(), bos, repeats=repeats)
    assert data["prefix_matching"].dims == ("layer", "head")
    np.testing.assert_allclose(data["prefix_matching"].sel(layer="layer_2", head=1), 1, atol=1e-6)
    np.testing.assert_allclose(data["copying"].sel(layer="layer_2", head=1), 1, atol=1e-6)
    np.testing.assert_allclose(data["prefix_matching"].sel(layer="layer_1", head=1), 0, atol=1e-6)
    everywhere = data["prefix_matching"].sel(head=2)
    np.testing.assert_allclose(everywhere, data["prefix_matching_chance"], rtol=1e-6)
    assert data["prefix_matching"].attrs["metric"] == "induction-heads"
    assert (data["copying"].sel(head=2) == 0).all(), "nothing reads the second heads"


def test_a_random_model_is_at_chance():
    torch.manual_seed(0)
    module = Transformer(TransformerConfig(width=16, heads=2), Categorical(V), T)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    data = measured(module)
    chance = float(data["prefix_matching_chance"])
    assert 0.06 < chance < 0.1
    np.testing.assert_allclose(data["prefix_matching"], chance, atol=0.01)
    np.testing.assert_allclose(data["copying"], 1 / V, atol=0.06)
    assert (data["prefix_matching_se"] > 0).all()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(block.attention.explicit or block.attention.softmax._forward_hooks for block in module.blocks)


def test_targets_are_what_came_after():
    tokens = torch.tensor([3, 1, 2] * 3)
    where = targets(torch.tensor([3, 4]), 9)[0]
    for query, key in where.nonzero().tolist():
        present, attended, following = tokens[query - 1], tokens[key - 1], tokens[query]
        assert attended == following
        assert tokens[key - 2] == present
    assert where.sum(1).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]


class FixedOffset(HandBuilt):
    """The second layer looks back by as many positions as the longest block asks for, whatever stands there."""

    def forward(self, inputs):
        logits = super().forward(inputs)
        position = torch.arange(inputs.shape[1])
        back = 1e4 * (position[:, None] - (V - 1) == position).float()
        self.second(back.expand(len(inputs), 2, -1, -1).masked_fill(position > position[:, None], -torch.inf))
        return logits


def test_a_head_that_looks_back_by_a_fixed_number_of_positions_scores_little():
    data = measured(FixedOffset())
    assert float(data["prefix_matching"].sel(layer="layer_2", head=1)) < 0.35
    batch, spans = repeated(8, 2, V, 100, Key.root(0))
    assert sorted(set(spans.tolist())) == [4, 5, 6, 7, 8]
    for tokens, span in zip(batch.tokens, spans.tolist(), strict=True):
        assert (tokens[span:] == tokens[:-span]).all()
        assert len(set(tokens[:span].tolist())) == span


@pytest.mark.parametrize(
    ("size", "length", "wanted", "told"),
    [(2, 64, None, "needs a vocabulary of that size, of 4 at least"), (50, 64, 40, "there fits at most 32")],
)
def test_a_block_that_does_not_fit_is_told(size, length, wanted, told):
    with pytest.raises(ValueError, match=told):
        block_length(wanted, 2, size, length)


def test_what_has_no_attention_is_told():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(V))

        def forward(self, inputs):
            return self.logits.expand(*inputs.shape, -1)

    data = measured(Recurrent())
    assert data["induction_heads_not_applicable"].item() == "Recurrent names no taps that give attention weights"
    assert "prefix_matching" not in data
    real = iclkit.measure(Recurrent(), "lds", ["induction-heads"], length=8, sequences=4)
    assert "these are real" in real["induction_heads_not_applicable"].item()
