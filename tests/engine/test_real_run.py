"""Real tokens from a config to the cube."""

import math

import numpy as np
import pytest

from iclkit import engine, plan
from iclkit.cube import open_cube
from iclkit_metrics.loss.sentence import sentence

NOISE = 0.5


def lds(tiny, **fields):
    """Tables of a run; systems that explode are rare at this tau."""
    source = {"kind": "lds", "dimension": 2, "draw": "gaussian", "tau": 0.3, "noise": NOISE} | fields
    tiny["source"] = {name: value for name, value in source.items() if value is not None}
    tiny["data"] = {"length": 12}
    tiny["model"] = {"kind": "transformer", "layers": 2, "width": 16, "heads": 2}
    tiny["trainer"] = {"kind": "accelerate", "steps": 60, "batch_size": 64, "learning_rate": 1e-2, "snapshots": [0]}
    tiny["evaluation"] = {"sequences": 512}
    return tiny


@pytest.fixture(scope="module")
def cube(tmp_path_factory, found):
    tables = lds({"execution": {"kind": "inline"}, "sweep": {"data.topics": [2, "fresh"]}})
    made = plan.load(None, tables, found, out=tmp_path_factory.mktemp("real") / "run")
    engine.run(made, found).check()
    return open_cube(made.folder).load().isel(seed=0)


def test_everything_is_measured(cube):
    fresh = cube.sel(topics=math.inf)
    for name in ("loss", "squared_error", "regret"):
        assert np.isfinite(cube[name].sel(split=["train", "topics"])).all(), name
        assert np.isfinite(cube[name].sel(topics=2, split="sequences")).all(), name
        assert fresh[name].sel(split="sequences").isnull().all(), name
    for name in ("floor", "squared_error_floor"):
        assert np.isfinite(cube[name].sel(topics=2)).all(), name
        assert np.isfinite(fresh[name].sel(reference=["oracle", "population"], split=["train", "topics"])).all(), name
    assert (cube["impossible"].sel(topics=2) == 0).all()


def test_the_oracles_floor_is_the_closed_form(cube):
    """h_l = d/2 ln(2 pi e noise^2), squared error d noise^2: averaged under the oracle, so without any noise."""
    oracle = cube.sel(reference="oracle", split="topics")
    assert oracle["floor"].values == pytest.approx(math.log(2 * math.pi * math.e * NOISE**2), abs=1e-12)
    assert oracle["squared_error_floor"].values == pytest.approx(2 * NOISE**2, abs=1e-12)
    assert oracle["optimum"].values == pytest.approx(oracle["floor"].values, abs=1e-12)
    realised = cube.sel(reference="oracle", split="train")
    assert (abs(realised["floor"] - oracle["floor"]) < 5 * realised["floor_se"]).all()
    assert (realised["floor_se"] > 0.01).all()


def test_floors_are_in_order(cube):
    two = cube.sel(topics=2, split="sequences")
    for name in ("floor", "squared_error_floor"):
        mixture, oracle = two[name].sel(reference="mixture"), two[name].sel(reference="oracle")
        population = two[name].sel(reference="population")
        above = mixture - oracle
        assert (above >= -5 * two[f"{name}_se"].sel(reference="mixture") - 1e-12).all()
        assert above.isel(position=0) == pytest.approx(0, abs=1e-12)  # x_0 = 0: noise alone, whatever the system
        assert above.isel(position=-1) < 0.2 * above.max()  # the system is found out
        assert population.mean() > mixture.mean()
    fresh = cube.sel(topics=math.inf, split="topics")["floor"]
    assert (fresh.sel(reference="population") >= fresh.sel(reference="oracle") - 1e-12).all()


def test_a_mixtures_floor_shares_the_oracles_noise(cube):
    """Realised log-densities alone would err by sqrt(d / 2) / sqrt(n) = .044 at every position."""
    error = cube.sel(topics=2, split="sequences", reference="mixture")["floor_se"]
    assert error.isel(position=-1) < 0.015


def test_excess_says_how_it_was_measured(cube):
    kinds = cube["excess_kind"]
    realised, mean = "paired difference on realised tokens", "mean KL divergence from the reference"
    assert kinds.sel(topics=2, split="sequences").item() == realised  # a mixture of Gaussians has no closed form
    assert kinds.sel(topics=2, split="topics").item() == mean
    assert kinds.sel(topics=math.inf, split="topics").item() == mean
    assert kinds.sel(topics=math.inf, split="train").item() == realised


@pytest.mark.parametrize(
    ("topics", "split", "reference"), [(2, "sequences", "mixture"), (math.inf, "topics", "population")]
)
def test_excess_is_loss_above_the_floor_and_falls(cube, topics, split, reference):
    one = cube.sel(topics=topics, split=split)
    errors = "squared_error", "squared_error_floor", "squared_error_excess"
    for loss, floor, excess in (("loss", "floor", "excess"), errors):
        apart = one[loss] - one[floor].sel(reference=reference) - one[excess]
        noise = one[f"{loss}_se"] + one[f"{floor}_se"].sel(reference=reference) + one[f"{excess}_se"]
        assert (abs(apart) < 5 * noise + 1e-9).all()
        assert (one[excess] > -5 * one[f"{excess}_se"]).all()
        first, last = one[excess].isel(step=0).mean().item(), one[excess].isel(step=-1).mean().item()
        assert 0 < last < (0.5 if topics == 2 else 1) * first, excess  # unseen systems take more than 60 steps


def test_squared_error_excess_is_half_the_kl_in_units_of_the_noise(cube):
    """Where reference and model share their scale, KL = |m - m'|^2 / (2 noise^2): against the oracle, regret."""
    one = cube.sel(topics=math.inf, split="topics")
    above = one["squared_error"] - one["squared_error_floor"].sel(reference="oracle")
    np.testing.assert_allclose(one["regret"], above / (2 * NOISE**2), rtol=0, atol=1e-9)


def test_no_optimum_no_excess(tiny, planned, found):
    """Rotations have no exact population: excess is left out there, and said to be."""
    made = planned(
        lds(tiny, draw="orthogonal", tau=None) | {"trainer": {"kind": "accelerate", "steps": 1, "snapshots": [0]}}
    )
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    assert "squared_error_excess" not in data
    assert "excess" not in data or data["excess"].isnull().all()
    assert data["excess_kind"].sel(split="topics").item().startswith("none")
    assert data["squared_error"].notnull().all()


def test_partial_observation_is_held_against_the_kalman_filter(tiny, planned, found):
    tables = lds(tiny, dimension=3, observed=2, draw="orthogonal", tau=None)
    tables["data"]["topics"] = 2
    made = planned(tables | {"trainer": {"kind": "accelerate", "steps": 2, "snapshots": [0]}})
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0).sel(reference="oracle")
    known = data.sel(split="sequences")
    np.testing.assert_allclose(known["floor"], known["optimum"], rtol=0, atol=1e-10)
    assert data["optimum"].sel(split="topics").isnull().all()
    assert np.isfinite(data["floor"]).all()


def test_prompts_are_scored_at_answers_alone(tiny, planned, found):
    tiny["source"] = {"kind": "linear-regression", "dimension": 2, "noise": NOISE}
    tiny["data"] |= {"topics": 3, "length": 9}
    tiny["evaluation"]["sequences"] = 200
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    answers = data["position"] % 2 == 0
    for name in ("loss", "squared_error", "excess", "squared_error_excess"):
        for split in ("train", "sequences", "topics"):
            assert (data[name].sel(split=split).notnull() == answers).all(), (name, split)
    oracle = data["squared_error_floor"].sel(reference="oracle", split="topics", position=[2, 4, 6, 8])
    assert oracle.values == pytest.approx(NOISE**2, abs=1e-12)
    apart = data["squared_error_distance"]
    for split, reference in (("topics", "population"), ("sequences", "mixture")):
        own = apart.sel(split=split, reference=reference)
        np.testing.assert_allclose(own, data["squared_error_excess"].sel(split=split), rtol=0, atol=1e-12)
    assert (apart.sel(split="topics", reference="mixture", position=8) > 0).all()
    exact = data["optimum"].sel(reference="oracle", split="topics")
    assert (exact.notnull() == answers).all()
    np.testing.assert_allclose(exact, data["floor"].sel(reference="oracle", split="topics"), rtol=0, atol=1e-12)
    assert "over 4 positions" in sentence(data)
    assert "nan" not in sentence(data)
    untrained = data["squared_error"].sel(step=0, split="topics").sel(position=2).item()
    assert untrained == pytest.approx(2 + NOISE**2, rel=0.3)  # E y^2, over 200 tasks


def test_categorical_tokens_have_no_squared_error(tiny, planned, found):
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load()
    assert not [name for name in data.data_vars if "squared_error" in str(name) and data[name].dtype.kind == "f"]
