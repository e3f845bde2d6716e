"""A mixture gives its weights back; certificates hold; what cannot be told apart is said."""

import numpy as np
import pytest

from iclkit_metrics.algorithm_mixture.convex_weights import convex_weights

NAMES = ("uniform", "unigram", "bigram", "mixture")


def predictors(seed=0, count=300, size=6):
    rng = np.random.default_rng(seed)
    drawn = [rng.dirichlet(np.ones(size), count) for _ in NAMES[1:]]
    return np.stack([np.full((count, size), 1 / size), *drawn])


def divergence(model, mixed):
    return float((model * (np.log(model) - np.log(mixed))).sum(1).mean())


@pytest.mark.parametrize(
    "true", [(0.1, 0.2, 0.3, 0.4), (0.0, 0.0, 0.0, 1.0), (0.5, 0.0, 0.5, 0.0), (1e-3, 0.0, 0.999, 0.0)], ids=str
)
def test_a_mixture_returns_its_weights(true):
    parts = predictors()
    model = np.tensordot(np.array(true), parts, 1)
    found = convex_weights(np.log(model), np.log(parts), NAMES)
    assert found.weights == pytest.approx(true, abs=1e-4)
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)
    assert found.residual < 1e-8
    assert found.gap <= 1e-9
    assert found.identified.all()


def test_the_residual_is_the_least_of_a_fine_grid():
    parts = predictors(count=50)[:3]
    model = np.random.default_rng(9).dirichlet(np.ones(6) * 2, 50)
    found = convex_weights(np.log(model), np.log(parts), NAMES[:3])
    best = min(
        divergence(model, a * parts[0] + b * parts[1] + (1 - a - b) * parts[2])
        for a in np.linspace(0, 1, 51)
        for b in np.linspace(0, 1 - a, 51)
    )
    assert found.residual <= best + 1e-9
    assert found.residual > best - 1e-3
    mixed = np.tensordot(found.weights, parts, 1)
    assert found.residual == pytest.approx(divergence(model, mixed), rel=1e-12)
    assert found.alone == pytest.approx([divergence(model, part) for part in parts])


@pytest.mark.parametrize("seed", range(10))
def test_the_certificate_is_reached(seed):
    rng = np.random.default_rng(seed)
    parts = np.stack([rng.dirichlet(np.full(8, alpha), 200) for alpha in (0.1, 0.3, 1, 3, 10, 100)]) + 1e-6
    parts /= parts.sum(-1, keepdims=True)
    model = rng.dirichlet(np.full(8, 0.5), 200)
    found = convex_weights(np.log(np.maximum(model, 1e-300)), np.log(parts), list("abcdef"))
    assert found.gap + 1e-12 >= 0
    assert found.gap <= 1e-9


def test_predictors_that_predict_alike_are_said_to():
    parts = predictors()
    doubled = np.concatenate([parts, parts[2:3]])
    model = np.tensordot(np.array([0.2, 0.1, 0.7, 0.0]), parts, 1)
    found = convex_weights(np.log(model), np.log(doubled), (*NAMES, "twin"))
    assert found.identified.tolist() == [True, True, False, True, False]
    assert found.weights[2] + found.weights[4] == pytest.approx(0.7, abs=1e-4)
    assert found.weights[[0, 1, 3]] == pytest.approx([0.2, 0.1, 0.0], abs=1e-4)
    assert found.residual < 1e-8


def test_a_predictor_that_is_a_mixture_of_others_is_said_to():
    parts = predictors()
    parts[3] = (parts[1] + parts[2]) / 2
    found = convex_weights(np.log(parts[3]), np.log(parts), NAMES)
    assert found.identified.tolist() == [True, False, False, False]
    assert found.residual < 1e-8


def test_impossible_tokens_and_undefined_positions():
    parts = predictors(count=40)
    parts[1, :, 0] = 0
    parts[1] /= parts[1].sum(-1, keepdims=True)
    model = 0.5 * parts[0] + 0.5 * parts[1]
    with np.errstate(divide="ignore"):
        logs = np.log(parts)
    logs[2, 7] = np.nan
    found = convex_weights(np.log(model), logs, NAMES)
    assert found.positions == 39
    assert found.weights == pytest.approx([0.5, 0.5, 0, 0], abs=1e-4)
    assert found.alone[1] == np.inf
    with pytest.raises(ValueError, match="add one that does not, as uniform"):
        convex_weights(np.log(model), logs[1:2], NAMES[1:2])
    with pytest.raises(ValueError, match="no position is left"):
        convex_weights(np.full_like(model, np.nan), logs, NAMES)


def test_one_predictor_has_all_the_weight():
    parts = predictors()
    found = convex_weights(np.log(parts[1]), np.log(parts[:1]), NAMES[:1])
    assert found.weights.tolist() == [1.0]
    assert found.residual == pytest.approx(divergence(parts[1], parts[0]))
    assert found.identified.tolist() == [True]
