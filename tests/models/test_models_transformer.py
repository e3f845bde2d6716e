"""What is special about the transformer: its positions, its initialisation, its parameter count."""

import pytest
import torch

from iclkit.api import Categorical, Real
from iclkit_models.configs import TransformerConfig
from iclkit_models.transformer import Attention, Transformer, alibi, mlp, rotate


def make(**fields):
    torch.manual_seed(0)
    return Transformer(TransformerConfig(**fields), Categorical(7), 16)


def test_number_of_parameters_is_that_of_gpt2():
    C, V, T, layers = 64, 7, 16, 2
    block = 4 * C + (3 * C * C + 3 * C) + (C * C + C) + (4 * C * C + 4 * C) + (4 * C * C + C)
    expected = (V + 1) * C + T * C + layers * block + 2 * C + V * C
    assert sum(p.numel() for p in make().parameters()) == expected
    assert sum(p.numel() for p in make(tied=True).parameters()) == expected - V * C


def test_initial_deviations_are_those_of_gpt2():
    block = make(width=256).blocks[0]
    assert block.attention.queries_keys_values.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attention.project.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert block.mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.mlp[2].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not block.mlp[2].bias.any()


def test_rotation_keeps_lengths_and_scores_depend_on_distance_alone():
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    turned_q, turned_k = rotate(q.expand(1, 1, 10, 8)), rotate(k.expand(1, 1, 10, 8))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(1, 1, 10))
    scores = (turned_q @ turned_k.mT)[0, 0]
    for distance in range(-9, 10):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores[0].unique().numel() == 10


def test_alibi_is_linear_in_the_distance_with_the_published_slopes():
    bias = alibi(8, 3, torch.device("cpu"))
    assert torch.equal(bias[0], torch.tensor([[0, -torch.inf, -torch.inf], [-0.5, 0, -torch.inf], [-1, -0.5, 0]]))
    torch.testing.assert_close(bias[:, 1, 0], -(0.5 ** torch.arange(1.0, 9.0)))


@pytest.mark.parametrize("positions", ["learned", "rope", "alibi"])
def test_attention_equals_the_explicit_formula(positions):
    torch.manual_seed(0)
    B, T, C, H = 2, 6, 16, 4
    attention = Attention(TransformerConfig(width=C, heads=H, positions=positions))
    x = torch.randn(B, T, C)
    q, k, v = (part.view(B, T, H, C // H).transpose(1, 2) for part in attention.queries_keys_values(x).split(C, 2))
    if positions == "rope":
        q, k = rotate(q), rotate(k)
    scores = q @ k.mT / (C // H) ** 0.5
    if positions == "alibi":
        scores = scores + alibi(H, T, x.device)
    scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
    expected = attention.project((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C))
    torch.testing.assert_close(attention(x), expected)


def test_without_positions_one_block_does_not_see_the_order():
    inputs = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3]])
    blind, sighted = make(positions="none", layers=1)(inputs), make(layers=1)(inputs)
    torch.testing.assert_close(blind[0, 2:], blind[1, 2:])
    assert (sighted[0, 2:] - sighted[1, 2:]).abs().max() > 1e-5


def test_problems_name_the_key_and_what_is_allowed():
    assert list(TransformerConfig(heads=3).problems()) == [
        ("heads", "3 does not divide width = 64; allowed: a divisor of width")
    ]
    assert [key for key, _ in TransformerConfig(width=12, positions="rope").problems()] == ["positions"]
    assert not list(TransformerConfig().problems())
    assert [key for key, _ in TransformerConfig(head_width=5, positions="rope").problems()] == ["positions"]
    assert list(TransformerConfig(kv_heads=3).problems()) == [
        ("kv_heads", "3 does not divide heads = 4; allowed: a divisor of heads")
    ]
    assert not list(TransformerConfig(heads=3, head_width=5, kv_heads=1).problems())


def test_grouped_heads_are_heads_whose_keys_and_values_are_equal():
    torch.manual_seed(0)
    H, G, E, C = 4, 2, 4, 16
    grouped = Attention(TransformerConfig(width=C, heads=H, kv_heads=G))
    plain = Attention(TransformerConfig(width=C, heads=H))
    q, k, v = grouped.queries_keys_values.weight.detach().split([H * E, G * E, G * E])
    k, v = (part.view(G, E, C).repeat_interleave(H // G, 0).reshape(H * E, C) for part in (k, v))
    state = grouped.state_dict() | {"queries_keys_values.weight": torch.cat((q, k, v))}
    bias = grouped.queries_keys_values.bias.detach()
    repeated = (part.view(G, E).repeat_interleave(H // G, 0).flatten() for part in bias[H * E :].split(G * E))
    plain.load_state_dict(state | {"queries_keys_values.bias": torch.cat((bias[: H * E], *repeated))})
    x = torch.randn(2, 6, C)
    torch.testing.assert_close(grouped(x), plain(x))


def test_the_gated_mlp_is_the_formula():
    torch.manual_seed(0)
    module = mlp(TransformerConfig(width=8, mlp=2, mlp_kind="gated", gelu="tanh", biases=False))
    x, (gate, value) = torch.randn(3, 8), module[0].weight.chunk(2)
    hidden = torch.nn.functional.gelu(x @ gate.T, approximate="tanh") * (x @ value.T)
    torch.testing.assert_close(module(x), hidden @ module[2].weight.T)


def test_post_norm_normalises_every_block_and_nothing_after():
    module = make(norm_place="post")
    x = torch.randn(2, 5, 64)
    torch.testing.assert_close(module.blocks[0](x).mean(-1), torch.zeros(2, 5), atol=1e-6, rtol=0)
    block = module.blocks[0]
    middle = block.attention_norm(x + block.attention(x))
    torch.testing.assert_close(block(x), block.mlp_norm(middle + block.mlp(middle)))
    assert not list(module.norm.parameters())


def test_without_biases_only_the_read_in_of_real_tokens_has_one():
    torch.manual_seed(0)
    module = Transformer(TransformerConfig(biases=False, mlp_kind="gated"), Real(2), 16)
    assert [name for name, _ in module.named_parameters() if name.endswith("bias")] == ["read_in.bias"]


def test_inputs_before_are_embedded_too_and_nothing_stands_before_the_first():
    model = Transformer(TransformerConfig(width=12, heads=2, previous=2), Categorical(5), 8)
    inputs, seen = torch.tensor([[5, 0, 3, 1]]), []
    model.drop.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(inputs)
    now, once, twice = (table.weight for table in (model.read_in, *model.read_previous))
    expected = [now[5], now[0] + once[5], now[3] + once[0] + twice[5], now[1] + once[3] + twice[0]]
    torch.testing.assert_close(seen[0][0], torch.stack(expected) + model.positions[:4])
