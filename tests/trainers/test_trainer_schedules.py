"""Learning rates, snapshot grids and record grids."""

from itertools import pairwise

import pytest

from iclkit_trainers.configs import AccelerateConfig
from iclkit_trainers.schedules import is_recorded, learning_rate, snapshot_steps


def rates(schedule, warmup=0, steps=10):
    return [learning_rate(step, steps=steps, peak=2.0, schedule=schedule, warmup=warmup) for step in range(steps)]


def test_constant_learning_rate():
    assert rates("constant") == [2.0] * 10


def test_linear_learning_rate_would_be_zero_at_the_end():
    assert rates("linear") == pytest.approx([2.0 - 0.2 * step for step in range(10)])


def test_cosine_learning_rate_is_half_in_the_middle_and_falls():
    cosine = rates("cosine")
    assert cosine[0] == 2.0
    assert cosine[5] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(cosine))
    assert 0 < cosine[-1] < 0.1


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_rises_linearly_to_the_peak(schedule):
    warm = rates(schedule, warmup=4)
    assert warm[:4] == [0.5, 1.0, 1.5, 2.0]
    assert warm[4] == 2.0
    assert rates(schedule, warmup=10) == pytest.approx([0.2 * (step + 1) for step in range(10)])


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 100, 1000, 1024, 12345, 10**6])
@pytest.mark.parametrize("wanted", [0, 1, 2, 3, 10, 20, 50, 200])
def test_grid_has_both_ends_and_about_as_many_steps_as_asked_for(wanted, steps):
    grid = snapshot_steps(wanted, steps)
    assert grid[0] == 0
    assert grid[-1] == steps
    assert list(grid) == sorted(set(grid))
    if wanted <= 2:
        assert grid == tuple(sorted({0, steps}))
    elif wanted > steps:
        assert grid == tuple(range(steps + 1))
    else:
        assert 0.6 * wanted <= len(grid) <= 1.5 * wanted


def test_grid_of_another_length_is_a_prefix_or_nested():
    for wanted in (5, 20, 60):
        grids = [set(snapshot_steps(wanted, steps)[:-1]) for steps in (100, 300, 1000, 5000, 40000)]
        for one in grids:
            for other in grids:
                common = min(max(one), max(other))
                a, b = ({step for step in grid if step <= common} for grid in (one, other))
                assert a <= b or b <= a


def test_grid_of_the_quickstart():
    assert snapshot_steps(20, 1000) == (
        *(0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1000),
    )


def test_listed_steps_are_taken_as_they_are_with_the_last():
    assert snapshot_steps((7, 3, 3), 10) == (3, 7, 10)
    assert snapshot_steps((), 10) == (10,)


def test_records_are_dense_at_first_and_as_dense_in_every_doubling():
    recorded = [step for step in range(5000) if is_recorded(step, 16)]
    assert recorded[:33] == list(range(33))
    assert recorded[33:36] == [34, 36, 38]
    for start in (16, 32, 64, 1024, 2048):
        assert sum(start <= step < 2 * start for step in recorded) == 16
    assert [step for step in range(9) if is_recorded(step, 1)] == [0, 1, 2, 4, 8]


def test_problems_name_the_key_and_what_is_allowed():
    assert list(AccelerateConfig(steps=5, warmup=6).problems()) == [("warmup", "6 is past steps = 5; allowed: 0 to 5")]
    assert list(AccelerateConfig(steps=5, snapshots=(0, 6)).problems()) == [
        ("snapshots", "6 is past steps = 5; allowed: 0 to 5")
    ]
    assert not list(AccelerateConfig().problems())
