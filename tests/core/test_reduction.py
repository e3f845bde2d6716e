import numpy as np
import pytest

from iclkit.reduction import Reducer

RNG = np.random.default_rng(0)


def _reduce(values, groups, design, chunk):
    reducer = Reducer(design)
    for start in range(0, len(values), chunk):
        reducer.add(values[start : start + chunk], groups[start : start + chunk])
    return reducer.result()


@pytest.mark.parametrize("design", ["stratified", "clustered"])
def test_chunks_do_not_matter(design):
    values = RNG.normal(size=(97, 3, 2))
    groups = np.sort(RNG.integers(0, 12, size=97))
    whole = _reduce(values, groups, design, 97)
    for chunk in (1, 5, 32):
        for a, b in zip(whole, _reduce(values, groups, design, chunk), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_stratified_error_is_the_scatter_within_groups():
    values, groups = RNG.normal(size=100) + np.repeat(np.arange(10) * 5, 10), np.repeat(np.arange(10), 10)
    mean, error, count = _reduce(values[:, None], groups, "stratified", 7)
    expected = np.sqrt(sum(0.1**2 * values[groups == g].var(ddof=1) / 10 for g in range(10)))
    assert mean[0] == pytest.approx(values.mean())
    assert error[0] == pytest.approx(expected)
    assert count[0] == 100


def test_clustered_error_is_the_scatter_of_group_means():
    values, groups = RNG.normal(size=100) + np.repeat(RNG.normal(size=10), 10), np.repeat(np.arange(10), 10)
    _, error, _ = _reduce(values[:, None], groups, "clustered", 7)
    means = values.reshape(10, 10).mean(1)
    assert error[0] == pytest.approx(means.std(ddof=1) / np.sqrt(10))


@pytest.mark.parametrize("design", ["stratified", "clustered"])
def test_one_sequence_per_group_is_the_plain_standard_error(design):
    values = RNG.normal(size=(50, 1))
    _, error, _ = _reduce(values, np.arange(50), design, 8)
    assert error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_undefined_values_are_left_out():
    values = RNG.normal(size=(20, 2))
    values[3:6, 1] = np.nan
    mean, _, count = _reduce(values, np.arange(20), "clustered", 6)
    assert mean[1] == pytest.approx(np.nanmean(values[:, 1]))
    assert count.tolist() == [20, 17]


def test_nothing_defined_is_nan():
    mean, error, count = _reduce(np.full((4, 1), np.nan), np.arange(4), "stratified", 2)
    assert np.isnan(mean[0])
    assert np.isnan(error[0])
    assert count[0] == 0


@pytest.mark.parametrize(("design", "between"), [("clustered", 1.0), ("stratified", 3.0)])
def test_intervals_cover(design, between):
    """95 % intervals hold the truth in 95 % of 400 repetitions, within binomial limits."""
    rng, hits = np.random.default_rng(1), 0
    fixed = rng.normal(size=40) * between
    for _ in range(400):
        topics = fixed if design == "stratified" else rng.normal(size=40) * between
        values = np.repeat(topics, 5) + rng.normal(size=200)
        mean, error, _ = _reduce(values[:, None], np.repeat(np.arange(40), 5), design, 64)
        truth = fixed.mean() if design == "stratified" else 0.0
        hits += abs(mean[0] - truth) < 1.96 * error[0]
    assert 366 <= hits <= 394


def test_weights_make_the_mean_that_of_the_groups_by_weight():
    groups = np.repeat(np.arange(3), [2, 5, 20])
    values = np.array([1.0, 2.0, 4.0])[groups] + 0.0
    reducer = Reducer("stratified", np.array([0.5, 0.3, 0.2]))
    for start in range(0, 27, 4):
        reducer.add(values[start : start + 4, None], groups[start : start + 4])
    mean, error, _ = reducer.result()
    assert mean[0] == pytest.approx(0.5 * 1 + 0.3 * 2 + 0.2 * 4, abs=1e-14)
    assert error[0] == pytest.approx(0, abs=1e-14)  # nothing scatters within its group


@pytest.mark.parametrize("counts", [[2, 2, 30], [1, 4, 30]])
def test_weighted_intervals_cover_with_few_sequences_in_a_heavy_group(counts):
    rng, hits = np.random.default_rng(2), 0
    weights, centres = np.array([0.6, 0.3, 0.1]), np.array([0.0, 5.0, -3.0])
    groups = np.repeat(np.arange(3), counts)
    for _ in range(400):
        reducer = Reducer("stratified", weights)
        reducer.add((centres[groups] + rng.normal(size=len(groups)))[:, None], groups)
        mean, error, _ = reducer.result()
        hits += abs(mean[0] - weights @ centres) < 1.96 * error[0]
    # two sequences tell little of their group's scatter, so these normal intervals fall somewhat short
    assert hits >= 300
