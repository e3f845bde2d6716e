"""The scan of the state-space model is the plain loop; its state is a bounded average."""

import pytest
import torch

from iclkit.api import Categorical
from iclkit_models.configs import StateSpaceConfig
from iclkit_models.state_space import Recurrence, StateSpace, scan


def loop(decay, drive):
    h, steps = torch.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        h = decay[:, t] * h + drive[:, t]
        steps.append(h)
    return torch.stack(steps, 1)


def draw(T, S=3):
    generator = torch.Generator().manual_seed(T)
    decay = torch.rand(2, T, S, generator=generator, dtype=torch.float64)
    decay[..., 0] = 1 - decay[..., 0] * 1e-3  # a long memory
    decay[..., 1] *= decay[..., 1] > 0.5  # a state that forgets all at times
    return decay.requires_grad_(), torch.randn(2, T, S, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 7, 8, 31, 64, 100, 1024])
def test_scan_is_the_loop(T):
    decay, drive = draw(T)
    torch.testing.assert_close(scan(decay, drive), loop(decay, drive), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("T", [2, 5, 64])
def test_gradients_of_the_scan_are_those_of_the_loop(T):
    decay, drive = draw(T)
    weight = torch.randn(2, T, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((scan(decay, drive) * weight).sum(), (decay, drive))
    expected = torch.autograd.grad((loop(decay, drive) * weight).sum(), (decay, drive))
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


def test_scan_is_accurate_in_float32_over_long_inputs():
    decay, drive = (value.detach() for value in draw(1024))
    found = scan(decay.float(), drive.float()).double()
    assert (found - loop(decay.float().double(), drive.float().double())).abs().max() < 1e-4


def test_memories_start_spread_from_1_to_1024():
    torch.manual_seed(0)
    memory = 1 / Recurrence(StateSpaceConfig(width=8)).values_gates_reads.bias[8:16].sigmoid()
    torch.testing.assert_close(memory, 1024 ** ((torch.arange(8) + 0.5) / 8), rtol=1e-4, atol=0)


def test_huge_inputs_stay_finite_and_have_finite_gradients():
    torch.manual_seed(0)
    module = StateSpace(StateSpaceConfig(width=8), Categorical(3), 10)
    with torch.no_grad():
        for block in module.blocks:
            block.recurrence.values_gates_reads.weight *= 1e3
    module(torch.randint(4, (2, 1024))).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
