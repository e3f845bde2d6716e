"""GPT-2 is that of transformers, weight for weight."""

import pytest
import torch

from iclkit.api import Categorical
from iclkit_models.configs import GPT2Config
from iclkit_models.gpt2 import from_transformers, gpt2, to_transformers


@pytest.fixture
def theirs():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=8, n_positions=20, n_embd=24, n_layer=3, n_head=4, bos_token_id=7, eos_token_id=7
    )
    module = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():  # biases and norms too: they start equal
            parameter += 0.1 * torch.randn_like(parameter)
    return module


@pytest.fixture
def ours():
    torch.manual_seed(1)
    return gpt2(GPT2Config(layers=3, width=24, heads=4), Categorical(7), 20).eval()


INPUTS = torch.randint(8, (4, 20), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_their_weights_give_their_logits(ours, theirs):
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    torch.testing.assert_close(ours(INPUTS), theirs(INPUTS).logits[..., :7], atol=1e-5, rtol=0)


@torch.no_grad()
def test_our_weights_give_our_logits(ours, theirs):
    theirs.load_state_dict(to_transformers(ours.state_dict()))
    torch.testing.assert_close(theirs(INPUTS).logits[..., :7], ours(INPUTS), atol=1e-5, rtol=0)


def test_the_number_of_parameters_is_theirs(ours, theirs):
    assert sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()


def test_there_and_back_again(ours):
    weights = ours.state_dict()
    again = from_transformers(to_transformers(weights))
    assert weights.keys() == again.keys()
    assert all(torch.equal(again[name], value) for name, value in weights.items())


def test_masks_of_old_versions_are_left_out_and_other_names_refused(ours):
    theirs = to_transformers(ours.state_dict())
    mask = {"transformer.h.0.attn.bias": torch.ones(1), "transformer.h.0.attn.masked_bias": torch.ones(1)}
    assert from_transformers(theirs | mask).keys() == ours.state_dict().keys()
    with pytest.raises(KeyError, match="score"):
        from_transformers(theirs | {"score.weight": torch.ones(1)})


def test_problems_name_the_key_and_what_is_allowed():
    message = "12 does not divide width = 64; allowed: a divisor of width"
    assert list(GPT2Config(width=64).problems()) == [("heads", message)]
