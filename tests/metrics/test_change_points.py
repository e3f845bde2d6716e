"""Planted changes are found within their intervals; noise and smooth drift have none."""

import numpy as np
import pytest

from iclkit_metrics.emergence.change_points import change_points, plateaus


def snapshots(count, last=3000):
    return np.unique(np.round(np.r_[0, np.geomspace(1, last, count - 1)]))


def jump(steps, middle, factor):
    """Rise from 0 to 1 about a step; from 10 % to 90 % while 1 + step grows by a factor."""
    return 1 / (1 + np.exp(-2 * np.log(9) * (np.log1p(steps) - np.log1p(middle)) / np.log(factor)))


@pytest.mark.parametrize("factor", [1.3, 3.0])
@pytest.mark.parametrize(("count", "noise"), [(20, 0.0), (30, 0.02), (60, 0.02), (60, 0.0)])
def test_a_planted_change_is_found_within_its_interval(count, noise, factor):
    covered = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        steps, middle = snapshots(count), np.exp(rng.uniform(np.log(20), np.log(800)))
        curve = 1.5 - 0.6 * jump(steps, middle, factor) + noise * rng.standard_normal(len(steps))
        (change,) = change_points(steps, curve)
        covered += change.interval[0] <= middle <= change.interval[1]
        assert change.interval[0] <= change.step <= change.interval[1]
        assert change.interval[1] / change.interval[0] < 3
        assert change.height == pytest.approx(-0.6, abs=0.01 + 4 * noise)
    assert covered >= 7


def test_the_width_is_from_10_to_90_percent():
    steps = snapshots(200)
    (change,) = change_points(steps, jump(steps, 100, 3.0))
    assert (1 + change.end) / (1 + change.begin) == pytest.approx(3.0, rel=0.05)
    assert change.width == pytest.approx(change.end - change.begin)
    assert change.begin < 100 < change.end


def test_two_plateaus_between_three_changes():
    steps, rng = snapshots(60), np.random.default_rng(0)
    curve = 1.609 - 0.164 * jump(steps, 6, 1.4) - 0.494 * jump(steps, 60, 1.5) - 0.1 * jump(steps, 600, 1.5)
    curve = curve + 0.004 * rng.standard_normal(len(steps))
    changes = change_points(steps, curve)
    assert len(changes) == 3
    for change, (middle, height) in zip(changes, [(6, -0.164), (60, -0.494), (600, -0.1)], strict=True):
        assert change.interval[0] <= middle <= change.interval[1]
        assert change.height == pytest.approx(height, abs=0.02)
    named = {"uniform": 1.6094, "unigram": 1.4452, "bigram": 0.9514, "mixture": 0.8477}
    found = plateaus(steps, curve, changes, named)
    assert [plateau.name for plateau in found] == ["uniform", "unigram", "bigram", "mixture"]
    assert all(abs(plateau.distance) < 0.01 for plateau in found)


@pytest.mark.parametrize("count", [12, 20, 30, 60])
def test_none_in_noise(count):
    steps = snapshots(count)
    found = [
        len(change_points(steps, 1 + 0.1 * np.random.default_rng(seed).standard_normal(len(steps))))
        for seed in range(40)
    ]
    assert np.count_nonzero(found) <= 1


@pytest.mark.parametrize("noise", [0.0, 0.003])
@pytest.mark.parametrize(
    "drift",
    [
        lambda u: 1 - u,
        lambda u: u**2,
        lambda u: np.exp(-2 * u),
        lambda u: np.exp(-4 * u),
        lambda u: 1 / (1 + np.exp(8 * (u - 0.5))),
        lambda u: 1 / (1 + 3 * u),
    ],
    ids=["line", "parabola", "power law", "steep power law", "wide sigmoid", "logarithm"],
)
def test_none_in_smooth_drift(drift, noise):
    steps, rng = snapshots(40), np.random.default_rng(0)
    u = np.log1p(steps) / np.log1p(steps[-1])
    assert change_points(steps, drift(u) + noise * rng.standard_normal(len(steps))) == []


def test_a_change_on_top_of_a_drift():
    steps, rng = snapshots(60), np.random.default_rng(1)
    curve = 2 - 0.1 * np.log1p(steps) - 0.5 * jump(steps, 120, 1.5) + 0.01 * rng.standard_normal(len(steps))
    (change,) = change_points(steps, curve)
    assert change.interval[0] <= 120 <= change.interval[1]
    assert change.height == pytest.approx(-0.5, abs=0.05)


def test_errors_say_which_points_to_trust():
    steps, rng = snapshots(40), np.random.default_rng(2)
    errors = np.full(len(steps), 0.01)
    errors[15:18] = 2.0
    curve = 1 - 0.5 * jump(steps, 300, 1.3) + errors * rng.standard_normal(len(steps))
    (change,) = change_points(steps, curve, errors)
    assert change.interval[0] <= 300 <= change.interval[1]


def test_gaps_constant_curves_and_short_ones():
    steps = snapshots(40)
    curve = 1 - 0.5 * jump(steps, 300, 1.3)
    curve[[3, 30]] = np.nan
    assert len(change_points(steps, curve)) == 1
    assert change_points(steps, np.ones(len(steps))) == []
    assert change_points(steps[:5], curve[:5]) == []
    assert change_points(steps, np.full(len(steps), np.nan)) == []


def test_a_dense_record_is_averaged():
    steps, rng = np.arange(20_000.0), np.random.default_rng(3)
    curve = 1 - 0.5 * jump(steps, 900, 1.3) + 0.05 * rng.standard_normal(len(steps))
    (change,) = change_points(steps, curve)
    assert change.interval[0] <= 900 <= change.interval[1]
    assert change.interval[1] / change.interval[0] < 1.1
