"""The paper's rates, read literally and with constants; why the literal ones are no certificates; their divergences."""

import math

import numpy as np
import pytest

from iclkit_bounds import betting, optimisation, paper, planner, strict

LN20 = math.log(20)


@pytest.mark.parametrize(
    ("topics", "share", "expected"),
    [(10, 0.05, (0, 0.60, 0.60)), (10, 0.1, (0.35, 0.35, 0.35)), (100, 0.1, (0.32, 0.45, 0.45))],
)
def test_the_literal_topic_rate_fails_far_more_often_than_it_may(topics, share, expected):
    for length, rate in zip((64, 256, 4096), expected, strict=True):
        settings = {"topics": topics, "prompt_length": length, "share": share, "delta": 0.05}
        exact = paper.violation_rate(**settings)
        assert exact == pytest.approx(rate, abs=0.006)
        means = 0.2 + 3.7 * np.random.default_rng(0).binomial(topics, share, size=20_000) / topics
        slack = 3.92 * math.sqrt(LN20 / (2 * topics * length))
        simulated = (means + slack < 0.2 + 3.7 * share).mean()
        assert simulated == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 20_000))


def test_literal_rates():
    first = paper.sequences(
        topics=20, per_topic=100, prior_per_topic=50, length=256, divergence=4.0, delta=0.05, optimisation=1e-6
    )
    n = 20 * 50 * 256
    assert first.terms["prefixes"] == pytest.approx(math.sqrt(LN20 / n))
    assert first.terms["tokens"] == pytest.approx(math.sqrt((4 + LN20) / n - 1e-6))
    assert first.value == sum(first.terms.values()) and not first.valid and first.reason
    both = paper.topics(
        topics=20, prior_topics=5, prompt_length=128, topic_divergence=2.0, first=first, delta=0.05, constant=3.0
    )
    assert both.value == pytest.approx(first.value + 3 * math.sqrt((2 + LN20) / (15 * 128))) and not both.valid
    with pytest.raises(ValueError, match="nothing is left"):
        paper.sequences(topics=2, per_topic=5, prior_per_topic=5, length=8, divergence=0.0, delta=0.05)


def test_the_paper_s_monotone_predictions_hold_of_its_formula_by_construction():
    settings = {"topics": 10, "per_topic": 20, "prior_per_topic": 10, "length": 64, "divergence": 3.0, "delta": 0.05}
    value = lambda **changed: paper.sequences(**{**settings, **changed}).value  # noqa: E731
    assert value(topics=20) < value() and value(per_topic=40) < value() and value(length=128) < value()
    assert value(divergence=1.0) < value() < value(divergence=9.0)


def test_closed_form_divergence_at_small_and_large_times():
    small = paper.diffusion_divergence(gradient_gap=0.3, inverse_temperature=2.0, loss_limit=4.0, time=5.0)
    assert small == pytest.approx(2.0 * 5.0 * 0.09 / 2)  # linear in time
    late = paper.diffusion_divergence(gradient_gap=0.3, inverse_temperature=0.1, loss_limit=4.0, time=1e6, ridge=0.5)
    assert late == pytest.approx(0.05 * math.exp(3.2) / 0.5 * 0.09)  # saturated
    huge = paper.diffusion_divergence(gradient_gap=1.0, inverse_temperature=1500.0, loss_limit=4.0, time=50.0)
    assert huge == pytest.approx(1500 * 50 / 2)
    curve = [
        paper.diffusion_divergence(gradient_gap=1.0, inverse_temperature=0.2, loss_limit=2.0, time=t)
        for t in np.geomspace(1e-3, 1e4, 40)
    ]
    assert all(np.diff(curve) >= 0) and curve[-1] == pytest.approx(curve[-2], rel=1e-6)


def test_path_divergence_in_inverse_temperature():
    rates, gaps = np.array([0.1, 0.2]), np.array([3.0, 1.0])
    scales = np.sqrt(2 * rates / 50)
    assert paper.path_divergence(rates, scales, gaps) == pytest.approx(50 / 4 * (0.1 * 9 + 0.2))


def test_strict_bounds_have_every_constant():
    c, kl, excess = math.log(50 / 0.1), 5.0, 0.02
    found = strict.sequences(
        topics=20, per_topic=1000, prior_per_topic=500, length=256, excess=excess, largest_ratio=c, divergence=kl,
        delta=0.05,
    )  # fmt: skip
    m, h = 10_000, excess + 2 * (kl + math.log(40)) / (10_000 * 256)
    tokens = min((2 + c) * h, c / (1 - math.exp(-c)) * math.sqrt(h))
    step = c * math.sqrt((kl + math.log(2 * math.sqrt(m) * 40)) / (2 * m))
    assert found.value == pytest.approx(tokens + step) and found.valid
    topics = strict.topics(
        topics=600, prior_topics=100, per_topic=20, prompt_length=256, excess=excess, largest_ratio=c, divergence=kl,
        delta=0.05,
    )  # fmt: skip
    assert set(topics.terms) == {"tokens", "sequences", "topics"}
    assert topics.terms["topics"] == pytest.approx(c * math.sqrt((kl + math.log(120 * math.sqrt(500))) / 1000))
    assert strict.tokens(excess=-1.0, events=10, largest_ratio=c, divergence=0.0, delta=0.5) >= 0


def test_strict_topic_bound_survives_the_counter_example():
    """Where the literal rate fails in a third of the draws, the topic term alone is wider than the spread of means."""
    rng = np.random.default_rng(0)
    losses = 0.2 + 3.7 * rng.binomial(100, 0.1, size=20_000) / 100
    term = strict.topics(
        topics=100, prior_topics=0, per_topic=1, prompt_length=4096, excess=0.0, largest_ratio=3.92, divergence=0.0,
        delta=0.05,
    ).terms["topics"]  # fmt: skip
    assert (losses + term < 0.57).mean() <= 0.05


# ---------------------------------------------------------------- optimisation error


@pytest.mark.parametrize(("bits", "expected"), [(32, 1.34), (16, 0.86), (8, 0.63)])
def test_optimisation_bracket_at_a_hundred_thousand_parameters(bits, expected):
    found = optimisation.optimisation_error(
        loss=1.99, best_found=1.95, oracle=1.60, parameters=109_362, bits=bits, tokens=2_560_000, delta=0.05
    )
    assert found.upper == pytest.approx(expected, abs=0.006) and found.lower == pytest.approx(0.04)
    assert found.upper == pytest.approx(0.39 + found.allowance)


def test_allowance():
    found = optimisation.allowance(code_nats=32 * 10_000 * math.log(2), tokens=5_120_000, delta=0.05)
    assert found == pytest.approx(0.043, abs=5e-4)
    with pytest.raises(ValueError, match="at least one token"):
        optimisation.allowance(code_nats=1.0, tokens=0, delta=0.05)


def test_no_code_beats_the_truth_by_more_than_the_allowance():
    """All 16-level coins against a fair one on 60 flips: the best fit is below the oracle, and seldom by too much."""
    rng = np.random.default_rng(1)
    heads = rng.binomial(60, 0.5, size=20_000)[:, None]
    biases = (np.arange(16) + 0.5) / 16
    best = -(heads * np.log(biases) + (60 - heads) * np.log(1 - biases)).max(-1) / 60
    room = optimisation.allowance(code_nats=math.log(16), tokens=60, delta=0.1)
    assert (best < math.log(2)).mean() > 0.2  # below the truth on the same data
    assert (best < math.log(2) - room).mean() <= 0.1


# ---------------------------------------------------------------- planning

LOG50 = math.log(50)
RANGES = {"seq": LOG50 + math.log(2) / 256, "token .1": math.log(500), "token .01": math.log(5000)}


@pytest.mark.parametrize(
    ("loss", "slack", "expected"),
    [(2.5, 0.1, (41, 110, 179)), (3.0, 0.1, (26, 95, 164)), (2.5, LOG50 - 2.5, (1, 7, 12))],
)
def test_units_for_a_wanted_tightness(loss, slack, expected):
    found = tuple(planner.least_units(loss, slack, upper, 0.05) for upper in RANGES.values())
    assert found == expected


def test_the_plan_is_the_floor_without_spread_and_more_with_it():
    upper = RANGES["seq"]
    assert planner.least_units(2.5, 2.0, upper, 0.05) == 1
    least = planner.least_units(2.5, 0.1, upper, 0.05)
    equal = planner.units_needed(2.5, 0.1, upper, 0.05)
    spread = planner.units_needed(2.5, 0.1, upper, 0.05, spread=0.2)
    assert least <= equal < spread < planner.units_needed(2.5, 0.1, upper, 0.05, spread=0.2, cost=10.0)
    assert planner.planned_limit(spread, 2.5, 0.2, upper, 0.05) <= 2.6
    assert planner.planned_limit(spread - 1, 2.5, 0.2, upper, 0.05) > 2.6
    assert 20_000 < planner.units_needed(2.5, 0.004, upper, 0.05, spread=0.2) < 40_000
    equal_losses = float(betting.upper_limit(np.full(77, 2.5), upper, 0.05))
    assert planner.planned_limit(77, 2.5, 0.0, upper, 0.05) == pytest.approx(equal_losses, abs=2e-9)
    assert planner.units_needed(2.5, 1e-4, upper, 0.05, spread=0.2, most=5000) is None
    with pytest.raises(ValueError, match="slack"):
        planner.least_units(2.5, 0.0, upper, 0.05)


def test_the_plan_comes_true_on_average():
    upper = RANGES["seq"]
    n = planner.units_needed(2.5, 0.08, upper, 0.05, spread=0.15)
    x = np.minimum(np.random.default_rng(2).normal(2.5, 0.15, size=(100, n)), upper)
    assert float(betting.upper_limit(x, upper, 0.05).mean()) == pytest.approx(2.58, abs=0.01)
