"""Held-out certificates of real tokens: clipped losses, the proved excess, and where nothing is proved."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iclkit.api import Drawn, Facts, Key, NotApplicable, Real
from iclkit.splits import holdout_splits
from iclkit_bounds import betting
from iclkit_bounds.certificates.configs import HoldoutConfig
from iclkit_bounds.certificates.forecast import holdout as forecast
from iclkit_bounds.certificates.real_tokens import clip_for, squares
from iclkit_bounds.certificates.targets import TARGETS
from iclkit_bounds.clipping import Spread, clipped_mix, gaussian_excess, log_density
from iclkit_bounds.sheet import sheet
from iclkit_sources.linear.configs import Lds, LinearRegression
from iclkit_sources.linear.prompts import RegressionPrompts
from iclkit_sources.linear.systems import LinearSystemSource

T = 12
LDS = {"kind": "lds", "dimension": 2, "radius": 0.9}
HELD = {"topics": 8, "sequences": 32, "holdout": {"topics": 60, "sequences": 20}}
FEW = {"steps": 2, "snapshots": 0}


@pytest.fixture(scope="module")
def run(certified):
    return certified(
        [{"kind": "holdout", "contamination": 0.1}],
        source=LDS,
        data=HELD | {"sequences": 256},
        trainer={"steps": 250, "batch_size": 64, "snapshots": 0},
        evaluation={"sequences": 600},
    )


def test_optimum_population_and_certificate_are_in_order(run):
    for record, lower in zip(run.records("holdout"), ("bayes_lower", "oracle"), strict=True):
        population, se = (record.references["population_mc"][part] for part in ("value", "se"))
        assert record.valid
        assert record.references[lower]["value"] < population + 4 * se
        assert population - 4 * se < record.value
        assert record.components["excess_by"] == "proof"
    known, fresh = run.records("holdout")
    assert not known.vacuous and 0 < known.share < 1
    assert fresh.share is None  # there is no exact predictor of fresh topics


def test_the_value_is_the_bet_on_clipped_losses_and_the_excess(run):
    ground, record = run.ground, run.records("holdout")[0]
    split = holdout_splits(run.plan.cells[0].config, ground.source, ground.sequences)[0]
    batch = split.chunk(slice(0, len(split)))
    sums = ground.models[250].log_prob(batch).sum(1).numpy()
    scale, upper = record.components["fixed_scale"], record.components["range_B"]
    fixed = torch.distributions.Normal(0, scale).log_prob(batch.tokens).sum((1, 2)).numpy()
    losses = np.minimum(-np.logaddexp(np.log(0.9) + sums, np.log(0.1) + fixed) / T, upper)
    expected = betting.upper_limit(losses, upper, 0.05) + record.components["excess"]
    assert record.value == pytest.approx(float(expected), rel=1e-9)
    variance = (1 - 0.81 ** np.arange(1, T + 1)).mean() / 0.19
    assert scale == pytest.approx(math.sqrt(variance))


def test_the_baseline_is_the_best_gaussian_on_the_fresh_data(run):
    batches = list(run.cell.batches("topics"))
    tokens = torch.cat([batch.tokens for batch in batches])
    fitted = torch.distributions.Normal(0, tokens.square().mean().sqrt())
    expected = -float(fitted.log_prob(tokens).sum(-1).mean())
    assert run.records("holdout")[1].references["baseline"] == pytest.approx(expected)


def test_what_is_not_there_for_real_tokens_is_told(run):
    told = " ".join(run.records("holdout")[0].warnings)
    assert "blocks = 0" in told and "contamination" in told
    assert "holdout_block" not in run.data and "holdout_contaminated" not in run.data
    assert run["functional"].values.tolist() == ["betting", "floor"]
    text = sheet(run.records("holdout")[1])
    assert "fixed Gaussian" in text and "uniform" not in text and "one who is told the topic" in text


def test_a_low_clip_holds_by_its_excess_alone(certified):
    """Half of all sequences are clipped: without the excess the bound would be below the population loss."""
    metric = {"kind": "holdout", "targets": ["topics"], "clip": 3.0, "fixed_scale": 2.0, "blocks": 0}
    run = certified([metric], source=LDS, data=HELD, trainer=FEW)
    (record,) = run.records("holdout")
    assert record.valid and not record.warnings
    assert record.components["range_B"] == 3.0 and record.components["fixed_scale"] == 2.0
    population = record.references["population_mc"]["value"]
    assert record.value - record.components["excess"] < population < record.value


def test_fresh_topics_of_heavy_tails_have_no_valid_certificate(certified):
    source = LDS | {"draw": "gaussian", "radius": 0.5}
    known, fresh = certified([{"kind": "holdout"}], source=source, data=HELD, trainer=FEW).records("holdout")
    assert known.valid and known.components["excess_by"] == "proof"
    assert list(fresh.why_invalid) == ["excess_bounded"]
    assert fresh.components["excess_by"] == "simulation"
    assert sum(fresh.delta_ledger.values()) == pytest.approx(0.05) and fresh.delta_ledger["excess"] > 0


def test_prompts_are_certified_on_their_answers(certified):
    source = {"kind": "linear-regression", "dimension": 2, "noise": 0.5}
    run = certified([{"kind": "holdout"}], source=source, data=HELD, trainer=FEW)
    known, fresh = run.records("holdout")
    weights = run.cell.known.topics.weights
    assert known.valid and not fresh.valid
    assert known.components["fixed_scale"] == pytest.approx(math.sqrt(weights.square().sum(1).mean() + 0.25))
    answers = torch.cat([batch.tokens[:, 1::2, 0] for batch in run.cell.batches("topics")])
    expected = 0.5 * math.log(2 * math.pi * math.e * answers.square().mean())
    assert fresh.references["baseline"] == pytest.approx(expected)
    for record in (known, fresh):
        assert record.references["bayes_lower"]["value"] < record.references["population_mc"]["value"] < record.value


def test_without_a_begin_token_all_is_said_of_the_positions_from_the_second_on(certified):
    data = HELD | {"bos": False}
    run = certified([{"kind": "holdout", "targets": ["topics"]}], source=LDS, data=data, trainer=FEW)
    (record,) = run.records("holdout")
    cell, tokens = run.cell, torch.cat([batch.tokens for batch in run.cell.batches("topics")])
    np.testing.assert_allclose(squares(cell, "topics"), tokens[:, 1:].square().sum((1, 2)))
    oracle = cell.log_probs("topics", "oracle").values[:, 1:]
    assert record.references["oracle"]["value"] == pytest.approx(-float(oracle.mean()))
    fitted = torch.distributions.Normal(0, tokens[:, 1:].square().mean().sqrt())
    expected = -float(fitted.log_prob(tokens[:, 1:]).sum(-1).mean())
    assert record.references["baseline"] == pytest.approx(expected)


def test_too_few_fresh_sequences_to_simulate_from_are_refused(certified):
    source = LDS | {"draw": "gaussian"}
    metrics = [{"kind": "holdout", "targets": ["sequences"]}]
    run = certified(metrics, source=source, data=HELD, trainer=FEW, evaluation={"sequences": 16})
    assert run["holdout_valid"].item() == 1
    with pytest.raises(NotApplicable, match="too few"):
        clip_for(run.cell, TARGETS["topics"], T, 60, HoldoutConfig())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"start": "stationary"},
        {"observed": 1},
        {"draw": "scaled", "start": "stationary", "observed": 2},
        {"draw": "gaussian", "radius": 1.2},
    ],
    ids=str,
)
def test_spread_bounds_the_covariance_of_whole_sequences(changes):
    source = LinearSystemSource(Lds(dimension=3, noise=0.7, **changes))
    systems = source.topics(torch.arange(1, 6), Key.root(3).fold(torch.arange(1, 6)))
    trace, largest = source.spread(systems, T)
    for index in range(5):
        one = systems[index : index + 1]
        step = one.transition[0].numpy()
        readout = np.eye(3) if one.readout is None else one.readout[0].numpy()
        noise = 0.49 * np.eye(3)
        state = noise if one.first is None else (one.first[0] @ one.first[0].T).numpy()
        blocks = np.zeros((T, readout.shape[1], T, readout.shape[1]))
        for s in range(T):
            reached = state
            for t in range(s, T):
                blocks[s, :, t] = readout.T @ reached @ readout
                blocks[t, :, s] = blocks[s, :, t].T
                reached = reached @ step
            state = step.T @ state @ step + noise
        values = np.linalg.eigvalsh(blocks.reshape(T * readout.shape[1], -1))
        assert values.sum() == pytest.approx(float(trace[index]))
        assert values.max() <= float(largest[index]) * (1 + 1e-12)
    everything = source.spread(None, T)
    assert (everything is None) == bool({"observed", "draw"} & changes.keys())
    if everything is not None:
        torch.testing.assert_close(everything[0].expand(5), trace)
        torch.testing.assert_close(everything[1].expand(5), largest)


def test_spread_of_prompts_is_that_of_their_answers():
    source = RegressionPrompts(LinearRegression(dimension=3, noise=0.5))
    tasks = source.topics(torch.tensor([1, 2]), Key.root(0).fold(torch.tensor([1, 2])))
    trace, largest = source.spread(tasks, 9)
    number = torch.arange(1, 20_001)
    for index in range(2):
        topic = torch.full((20_000,), index)
        tokens, mask = source.sample(tasks, topic, number, 9, Key.root(index).fold(number))
        covariance = torch.cov(tokens[..., 0][:, mask[0]].T)
        torch.testing.assert_close(covariance, float(largest[index]) * torch.eye(4).double(), rtol=0.05, atol=0.2)
        assert trace[index] == 4 * largest[index]
    assert source.spread(None, 9) is None


def test_no_spectrum_has_a_larger_moment_than_the_extreme_one():
    """Karamata's inequality, numerically: many spectra below a trace and a largest eigenvalue, and the extreme one."""
    rng = np.random.default_rng(0)
    total, largest, n = 7.3, 2.0, 10
    spread = _spread(total, largest, n)
    whole, between = spread.extremes()
    assert whole.item() == 3 and between.item() == pytest.approx(1.3)
    drawn = np.sort(rng.dirichlet(np.full(n, 0.4), 4000) * total, axis=1)
    drawn = np.concatenate([drawn[drawn[:, -1] <= largest], np.minimum(drawn, largest)])
    extreme = np.array([largest] * 3 + [1.3] + [0.0] * 6)
    for t in (0.01, 0.2, 0.45, 0.499):
        moments = -0.5 * np.log1p(-t * drawn).sum(1)
        assert moments.max() <= -0.5 * np.log1p(-t * extreme).sum()
    assert len(drawn) > 4100
    assert spread.excess(3.0) == pytest.approx(gaussian_excess(extreme, 0.0, 4, 3.0))
    assert _spread(30.0, largest, n).excess(3.0) == pytest.approx(gaussian_excess(np.full(n, largest), 0.0, 4, 3.0))


def _spread(trace, largest, count, length=4, scale=1.0):
    one = [np.atleast_1d(np.asarray(value, np.float64)) for value in (trace, largest)]
    return Spread(trace=one[0], largest=one[1], count=count, scale=scale, length=length, weight=0.1)


@pytest.mark.parametrize("rate", [0.4, 0.02])
def test_the_clip_is_the_best_for_its_rate(rate):
    spread = _spread([30.0, 50.0], [6.0, 9.0], 24, length=T, scale=1.5)
    best = spread.clip_level(rate)
    costs = [rate * upper + spread.excess(upper) for upper in np.linspace(best - 2, best + 2, 101)]
    assert rate * best + spread.excess(best) <= min(costs) + 1e-4


@pytest.fixture(scope="module")
def simulated():
    """Sequences of a new orthogonal system each, with the spread that holds for all of them."""
    source, count = LinearSystemSource(Lds(dimension=2)), 40_000
    number = torch.arange(1, count + 1)
    systems = source.topics(number, Key.root(5).fold("topics").fold(number))
    tokens, _ = source.sample(systems, number - 1, number, T, Key.root(5).fold(number))
    trace, largest = source.spread(None, T)
    scale = math.sqrt(float(trace) / (2 * T))
    return tokens, _spread(trace, largest, 2 * T, length=T, scale=scale)


@pytest.mark.parametrize("upper", [4.0, 5.5, 8.0])
def test_the_excess_is_above_the_simulated_one(simulated, upper):
    tokens, spread = simulated
    fixed = log_density(tokens.square().sum((1, 2)), 2 * T, spread.scale)
    np.testing.assert_allclose(fixed, torch.distributions.Normal(0, spread.scale).log_prob(tokens).sum((1, 2)))
    beyond = np.maximum((math.log(10) - fixed) / T - upper, 0)
    error = beyond.std() / math.sqrt(len(beyond))
    assert 0 < beyond.mean() < spread.excess(upper) + 4 * error
    assert spread.excess(upper) < 1.5  # and is no triviality


@pytest.mark.parametrize("known_bad", [False, True])
def test_certificates_of_a_model_too_sure_of_itself_hold_as_often_as_they_say(simulated, known_bad):
    """200 draws of 100 topics. Without the excess, at a clip where it matters, nearly every one fails."""
    tokens, spread = simulated
    fixed = log_density(tokens.square().sum((1, 2)), 2 * T, spread.scale)
    sums = torch.distributions.Normal(0, 0.6).log_prob(tokens).sum((1, 2)).numpy()
    upper = 3.2 if known_bad else spread.clip_level(math.log(20) / 100)
    true = clipped_mix(sums, fixed, T, math.inf).losses.mean()
    losses = clipped_mix(sums, fixed, T, upper).losses[: 200 * 100].reshape(200, 100)
    bounds = betting.upper_limit(losses, upper, 0.05) + (0.0 if known_bad else spread.excess(upper))
    failures = int((bounds < true).sum())
    assert failures > 150 if known_bad else failures <= 18  # P(Binomial(200, .05) > 18) = .004


def test_the_plan_tells_units_for_real_tokens_too():
    facts = Facts(space=Real(2), topics=Drawn())
    data = SimpleNamespace(topics=8, holdout=SimpleNamespace(topics=60, sequences=20))
    lines = list(forecast(HoldoutConfig(), facts, data, T))
    assert ["160 held-out units" in lines[0], "60 held-out units" in lines[1]] == [True, True]
    assert "clipped 2 above" in lines[0]
