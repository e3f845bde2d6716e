"""A large transformer started from a small one."""

import pytest
import torch

from iclkit.api import Categorical, ConfigError
from iclkit_models.configs import TransformerConfig
from iclkit_models.growth import OPERATORS, grow
from iclkit_models.transformer import Transformer

INPUTS = torch.randint(6, (4, 10), generator=torch.Generator().manual_seed(0))


def make(seed=0, context=10, vocabulary=5, **fields):
    torch.manual_seed(seed)
    config = TransformerConfig(**({"layers": 2, "width": 16} | fields))
    module = Transformer(config, Categorical(vocabulary), context).eval()
    with torch.no_grad():
        for parameter in module.parameters():  # as after training: no bias is 0, no norm 1
            parameter += 0.1 * torch.randn_like(parameter)
    return module


def grown(small, large, operator):
    before = {name: value.clone() for name, value in large.state_dict().items()}
    weights = grow(small.state_dict(), large.state_dict(), operator)
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items()), "large is not changed"
    assert {name: value.shape for name, value in weights.items()} == {name: v.shape for name, v in before.items()}
    return weights


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mlp_kind": "gated", "norm": "rms", "positions": "rope", "biases": False, "kv_heads": 2, "head_width": 6},
        {"attention_only": True, "tied": True},
    ],
    ids=["plain", "llama-like", "attention-only"],
)
@pytest.mark.parametrize("layers", [2, 3, 6])
@torch.no_grad()
def test_identity_block_preserves_the_function(fields, layers):
    small, large = make(**fields), make(seed=1, layers=layers, **fields)
    large.load_state_dict(grown(small, large, "identity-block"))
    torch.testing.assert_close(large(INPUTS), small(INPUTS), atol=1e-6, rtol=0)


@torch.no_grad()
def test_identity_block_preserves_the_function_where_the_context_grows():
    small, large = make(), make(seed=1, layers=4, context=15)
    large.load_state_dict(grown(small, large, "identity-block"))
    torch.testing.assert_close(large(INPUTS), small(INPUTS), atol=1e-6, rtol=0)


def test_identity_blocks_can_learn():
    small, large = make(), make(seed=1, layers=4)
    large.load_state_dict(grown(small, large, "identity-block"))
    large(INPUTS).square().mean().backward()
    assert large.blocks[3].attention.project.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("operator", "layers", "sources"),
    [
        ("copy-pad", 4, [0, 1, None, None]),
        ("stack", 4, [0, 1, 0, 1]),
        ("stack", 5, [0, 1, 0, 1, 0]),
        ("interleave", 4, [0, 0, 1, 1]),
        ("interleave", 5, [0, 0, 0, 1, 1]),
    ],
)
def test_blocks_go_where_the_operator_says(operator, layers, sources):
    small, large = make(), make(seed=1, layers=layers)
    weights = grown(small, large, operator)
    for block, source in enumerate(sources):
        for name, value in large.blocks[block].state_dict().items():
            expected = value if source is None else small.blocks[source].state_dict()[name]
            assert torch.equal(weights[f"blocks.{block}.{name}"], expected)
    assert torch.equal(weights["read_out.weight"], small.read_out.weight)


@pytest.mark.parametrize("operator", ["copy-pad", "stack", "interleave"])
def test_small_tensors_lead_the_large_ones(operator):
    small, large = make(width=8, heads=2), make(seed=1, width=16, heads=4)
    weights = grown(small, large, operator)
    block = weights["blocks.0.mlp.0.weight"]
    assert torch.equal(block[:32, :8], small.blocks[0].mlp[0].weight)
    assert torch.equal(block[32:], large.blocks[0].mlp[0].weight[32:])
    assert torch.equal(block[:, 8:], large.blocks[0].mlp[0].weight[:, 8:])
    assert torch.equal(weights["positions"][:, :8], small.positions)


@torch.no_grad()
def test_heads_go_to_heads():
    fields = {"kv_heads": 2, "head_width": 6, "mlp_kind": "gated", "positions": "rope"}
    small, large = make(heads=4, **fields), make(seed=1, **(fields | {"heads": 8, "kv_heads": 4, "width": 24}))
    large.load_state_dict(grown(small, large, "copy-pad"))
    few, many = small.blocks[0], large.blocks[0]
    for module in (small, large):
        module.explicit_attention()
        for linear in (module.blocks[0].attention.queries_keys_values, module.blocks[0].mlp[0]):
            linear.bias.zero_()
    seen = []
    for block in (few, many):
        block.attention.softmax.register_forward_hook(lambda m, i, output: seen.append(output))
    x = torch.randn(2, 5, 16)
    wide = torch.nn.functional.pad(x, (0, 8))
    few.attention(x), many.attention(wide)
    torch.testing.assert_close(seen[1][:, :4], seen[0])
    torch.testing.assert_close(many.mlp[:2](wide)[..., :64], few.mlp[:2](x))


def refusal(small, large, operator):
    with pytest.raises(ConfigError) as caught:
        grow(small.state_dict(), large.state_dict(), operator)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_refusals_are_one_clear_line():
    small = make()
    assert refusal(small, make(layers=3), "net2net") == (
        'prior.grow: unknown operator "net2net"; allowed: copy-pad, stack, interleave, identity-block'
    )
    for operator in OPERATORS:
        message = " of shape (10, 16) does not fit into the (10, 8) of the model it should start"
        assert refusal(small, make(width=8), operator) == f"prior.model: positions{message}"
    assert refusal(small, make(layers=1), "stack") == (
        "prior.model: 2 blocks are more than the 1 of the model it should start"
    )
    assert refusal(small, make(positions="rope", layers=3), "stack") == (
        "prior.model: differs from the model in more than its sizes: positions is in one alone"
    )
    assert "identity-block grows depth alone, but" in refusal(small, make(width=32), "identity-block")
    assert "norm_place" in refusal(make(norm_place="post"), make(norm_place="post", layers=3), "identity-block")
