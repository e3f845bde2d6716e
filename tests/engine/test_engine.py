"""The engine end to end on tiny trainings: nothing is done twice, nothing is lost, everything is the same again."""

import json
import shutil
import threading

import numpy as np
import pytest
import xarray as xr

from iclkit import engine, evaluate, plan, plugins, train
from iclkit.cube import final, open_cube
from iclkit.data import TrainingSequences, prior_sequences
from iclkit.errors import RunFailures, StoreError
from iclkit.parts import Parts

COSTS = ["wall_time", "peak_memory", "tokens_per_second", "prior_cost"]


def assert_same_cube(a, b):
    """Equal bit for bit, costs aside."""
    xr.testing.assert_identical(
        open_cube(a).load().drop_vars(COSTS).drop_attrs(deep=False),
        open_cube(b).load().drop_vars(COSTS).drop_attrs(deep=False),
    )


@pytest.fixture
def counted(monkeypatch):
    """Count trainings and passes."""
    counts = {"trainings": 0, "passes": []}
    fit, measure = train.TrainingJob.__init__, evaluate.measure

    def counting_init(self, *args):
        counts["trainings"] += 1
        fit(self, *args)

    def counting_measure(wanted, metrics, *args):
        counts["passes"].append(tuple(metrics))
        return measure(wanted, metrics, *args)

    monkeypatch.setattr(train.TrainingJob, "__init__", counting_init)
    monkeypatch.setattr(evaluate, "measure", counting_measure)
    return counts


def test_a_finished_run_is_a_no_op(tiny, planned, found, counted):
    made = planned(tiny)
    first = engine.run(made, found)
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.name != ".lock"}
    second = engine.run(planned(tiny), found)
    assert first.worked
    assert not second.worked
    assert counted == {"trainings": 1, "passes": [("diagnosis", "loss")]}
    assert before == {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.name != ".lock"}


def test_two_runs_of_one_config_are_bit_identical(tiny, planned, found):
    tiny["sweep"] = {"data.topics": [2, "fresh"]}
    for out in ("a", "b"):
        engine.run(planned(tiny, out), found).check()
    assert_same_cube(planned(tiny, "a").folder, planned(tiny, "b").folder)


def test_two_worker_processes_make_the_same_cube_as_one(tiny, planned, found):
    tiny["sweep"] = {"seed": [0, 1], "data.topics": [1, 2]}
    engine.run(planned(tiny, "one"), found).check()
    tiny["execution"] = {"kind": "processes", "workers": 2}
    engine.run(planned(tiny, "two"), found).check()
    assert_same_cube(planned(tiny, "one").folder, planned(tiny, "two").folder)


def test_cells_of_more_topics_begin_with_the_same_topics(found, planned, tiny):
    tiny |= {"source": {"kind": "coins", "alpha": 1.0, "beta": 1.0}, "sweep": {"data.topics": [2, 4]}}
    small, large = (
        train.TrainingJob(training, train.TrainingFolder(planned(tiny).folder), None, evaluate.World()).data.family
        for training in planned(tiny).trainings
    )
    assert (small.topics.numbers == large.topics.numbers[:2]).all()
    tokens = []
    for family, training in zip((small, large), planned(tiny).trainings, strict=True):
        source = training.config.source.build()
        batch = TrainingSequences(training.config, source)
        units = batch._sampler.batch(*(np_to_torch(values) for values in ([0, 1], [1, 1])))
        tokens.append(units.tokens)
        assert family is not None
    assert (tokens[0] == tokens[1]).all()


def np_to_torch(values):
    import torch

    return torch.tensor(values)


def test_adding_an_axis_value_trains_only_what_is_new(tiny, planned, found, counted):
    tiny["sweep"] = {"data.topics": [1, 2]}
    engine.run(planned(tiny), found)
    tiny["sweep"] = {"data.topics": [1, 2, 3]}
    engine.run(planned(tiny), found)
    assert counted["trainings"] == 3
    assert open_cube(planned(tiny).folder).sizes["topics"] == 3


def test_a_sweep_over_evaluation_length_trains_once(tiny, planned, found, counted):
    tiny["sweep"] = {"evaluation.length": [4, 8]}
    engine.run(planned(tiny), found)
    assert counted["trainings"] == 1
    assert len(counted["passes"]) == 2
    data = open_cube(planned(tiny).folder).load()
    assert np.isnan(data["loss"].sel(length=4, position=slice(5, 8))).all()
    assert np.isfinite(data["loss"].sel(length=8, split="topics")).all()


SURPRISE = """
from attrs import frozen
from iclkit.api import MetricSpec, Variable, hookimpl

@frozen(kw_only=True)
class NoSettings:
    pass

class Surprise:
    def __init__(self, config):
        pass

    def score(self, batch):
        return {"surprise": -batch.model.log_prob(batch).min(dim=1).values}

@hookimpl
def iclkit_metrics():
    yield MetricSpec(
        name="surprise", summary="The largest loss of a sequence.", config=NoSettings, build="surprise_metric:Surprise",
        variables=(Variable(name="surprise", dims=("step", "split"), long_name="largest loss of a sequence"),),
    )
"""


def test_adding_a_metric_measures_it_alone_and_leaves_old_parts_untouched(tiny, planned, found, counted, tmp_path):
    engine.run(planned(tiny), found)
    parts = Parts(planned(tiny).folder / "parts")
    (old,) = parts.folder.glob("*.npz")
    before = old.read_bytes(), old.stat().st_mtime_ns
    (tmp_path / "surprise_metric.py").write_text(SURPRISE)
    with_surprise = plugins.load([tmp_path / "surprise_metric.py"])
    tiny["metrics"] = [{"kind": "loss"}, {"kind": "surprise"}, {"kind": "surprise", "name": "again"}]
    made = plan.load(None, tiny, with_surprise, out=tmp_path / "run")
    engine.run(made, with_surprise).check()
    assert counted == {"trainings": 1, "passes": [("diagnosis", "loss"), ("surprise", "again")]}
    assert (old.read_bytes(), old.stat().st_mtime_ns) == before
    data = open_cube(made.folder).load()
    assert data["surprise"].dims == ("seed", "step", "split")
    np.testing.assert_array_equal(data["surprise"], data["again_surprise"])
    assert (data["surprise"] > 0).all()
    assert (data["surprise_se"] > 0).all()


FRAGILE = """
from attrs import frozen
from iclkit.api import TrainerSpec, hookimpl, option

@frozen(kw_only=True)
class Config:
    fail: bool = option("whether to fail", default=False)

class Fragile:
    def __init__(self, config):
        self.config = config

    def fit(self, job):
        from iclkit.api import Snapshot
        weights = {name: value.clone() for name, value in job.module.state_dict().items()}
        yield Snapshot(step=0, tokens_seen=0, weights=weights, history={})
        if self.config.fail:
            raise RuntimeError("the dog ate it")

@hookimpl
def iclkit_trainers():
    yield TrainerSpec(name="fragile", summary="Fails on request.", config=Config, build="fragile_trainer:Fragile")
"""


def test_a_failing_training_is_recorded_and_the_others_go_on(tiny, found, tmp_path):
    (tmp_path / "fragile_trainer.py").write_text(FRAGILE)
    fragile = plugins.load([tmp_path / "fragile_trainer.py"])
    tiny["trainer"] = {"kind": "fragile"}
    tiny["sweep"] = {"outcome": {"choices": {"bad": {"trainer": {"fail": True}}, "good": {}}}}
    made = plan.load(None, tiny, fragile, out=tmp_path / "run")
    result = engine.run(made, fragile)
    data = open_cube(made.folder).load()
    assert data["status"].sel(outcome=["bad", "good"]).values.ravel().tolist() == [2, 1]
    assert np.isnan(data["loss"].sel(outcome="bad")).all()
    assert np.isfinite(data["loss"].sel(outcome="good", split="topics")).all()
    assert list(map(str, result.failures.values())) == ["RuntimeError: the dog ate it"]
    outcome = json.loads((made.folder / "trainings" / next(iter(result.failures)) / "outcome.json").read_text())
    assert 'raise RuntimeError("the dog ate it")' in outcome["traceback"]
    with pytest.raises(RunFailures, match="the dog ate it"):
        result.check()


def test_a_folder_in_use_is_refused(tiny, planned, found):
    made = planned(tiny)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with engine.lock(made.folder):
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(30)
    try:
        with pytest.raises(StoreError, match="in use by another iclkit process"):
            engine.run(made, found)
    finally:
        leave.set()
        holder.join()


def test_a_lost_cube_is_assembled_again_from_the_parts(tiny, planned, found, counted):
    made = planned(tiny)
    engine.run(made, found)
    before = open_cube(made.folder).load()
    shutil.rmtree(made.folder / "cube.zarr")
    engine.run(planned(tiny), found)
    assert counted["trainings"] == 1
    xr.testing.assert_identical(before, open_cube(made.folder).load())


def test_each_reference_is_computed_once_per_chunk_whatever_the_snapshots(tiny, planned, found, monkeypatch):
    from iclkit import predictors

    asked = []
    own = predictors.Mixture.distribution
    monkeypatch.setattr(predictors.Mixture, "distribution", lambda self, batch: (asked.append(1), own(self, batch))[1])
    tiny["trainer"] = {"kind": "accelerate", "steps": 20, "batch_size": 4, "snapshots": list(range(20))}
    tiny["evaluation"]["sequences"] = 2048  # 2048 x 8 tokens: two chunks of each fresh split
    tiny["data"]["topics"] = 2
    engine.run(planned(tiny), found)
    assert open_cube(planned(tiny).folder).sizes["step"] == 21
    # mixture and population on two chunks of sequences and of topics and on the one of train (20 steps of 4), where
    # the memo takes the log-probabilities from the distribution: 2 references x 5 chunks
    assert len(asked) == 10


def test_final_selects_the_last_step_of_each_cell(tiny, planned, found):
    tiny["sweep"] = {"trainer.steps": [4, 6]}
    engine.run(planned(tiny), found)
    data = open_cube(planned(tiny).folder).load()
    assert data["last_step"].values.tolist() == [4, 6]
    last = final(data)
    np.testing.assert_array_equal(last["loss"].sel(steps=4), data["loss"].sel(steps=4, step=4))
    np.testing.assert_array_equal(last["loss"].sel(steps=6), data["loss"].sel(steps=6, step=6))
    assert data["tokens_seen"].sel(step=6).max() == 6 * 8 * 8


def test_snapshots_that_are_not_kept_go_once_measured(tiny, planned, found):
    tiny["store"] = {"keep": "last"}
    made = planned(tiny)
    engine.run(made, found)
    assert train.TrainingFolder(made.folder / "trainings" / made.trainings[0].id).steps() == [6]
    assert open_cube(made.folder).sizes["step"] == 3
    assert not engine.run(planned(tiny), found).worked


def test_a_prior_runs_first_and_starts_the_main_training(tiny, planned, found):
    tiny |= {"prior": {"data": {"topics": 1}, "trainer": {"steps": 2, "snapshots": [0]}}}
    made = planned(tiny)
    engine.run(made, found).check()
    prior, main = (train.TrainingFolder(made.folder / "trainings" / training.id) for training in made.trainings)
    ended, began = prior.weights(2), main.weights(0)
    assert all((ended[name] == began[name]).all() for name in ended)
    assert open_cube(made.folder)["prior_cost"].values > 0


def test_a_cube_tells_what_was_set_beside_its_config(tiny, found, tmp_path):
    for steps in (2, 3):  # the same cells but for that
        made = plan.load(
            None, tiny, found, assignments=(f"trainer.steps={steps}", "trainer.snapshots=[0]"), out=tmp_path
        )
        engine.run(made, found).check()
        assert json.loads(open_cube(tmp_path).attrs["set"]) == [f"trainer.steps={steps}", "trainer.snapshots=[0]"]


def test_a_prior_of_another_source_is_trained_on_it_and_known_by_it(tiny, planned, found):
    tosses = {"kind": "violations", "source": tiny["source"], "structureless": 1.0}
    tiny |= {"prior": {"source": tosses, "trainer": {"steps": 60, "learning_rate": 0.03}}}
    made = planned(tiny)
    engine.run(made, found).check()
    prior = next(training for training in made.trainings if training.prior is None)
    (main,) = (training for training in made.trainings if training.prior is not None)
    assert prior.identity["source"] != main.identity["source"]
    loss = train.TrainingFolder(made.folder / "trainings" / prior.id).history()["loss"]
    assert loss[-10:].mean() == pytest.approx(np.log(2), abs=0.02)  # fair tosses, as the coins of this config are not
    batch = prior_sequences(main.config, main.config.source.build()).batch(0, 1024)
    last = batch.tokens[batch.topic == batch.topic.max()].double()  # of the coin of .9, were they its own
    assert abs(float(last.mean()) - 0.5) < 4 * 0.5 / last.numel() ** 0.5


BROKEN = SURPRISE.replace("surprise", "broken").replace(
    'return {"broken": -batch.model.log_prob(batch).min(dim=1).values}', 'raise RuntimeError("no such luck")'
)
PICKY = (
    SURPRISE.replace("surprise", "picky")
    .replace("def score(self, batch):", "def finish(self, cell):")
    .replace(
        'return {"picky": -batch.model.log_prob(batch).min(dim=1).values}',
        'from iclkit.api import NotApplicable; raise NotApplicable("not on coins")',
    )
)


def test_a_metric_that_fails_is_told_and_the_others_are_kept(tiny, tmp_path, counted):
    (tmp_path / "broken_metric.py").write_text(BROKEN)
    with_broken = plugins.load([tmp_path / "broken_metric.py"])
    tiny["metrics"] = [{"kind": "loss"}, {"kind": "broken"}]
    made = plan.load(None, tiny, with_broken, out=tmp_path / "run")
    result = engine.run(made, with_broken)
    assert list(map(str, result.failures.values())) == ["measuring broken: RuntimeError: no such luck"]
    data = open_cube(made.folder).load()
    assert data["status"].item() == 2
    assert np.isfinite(data["loss"].sel(split="topics")).all()
    engine.run(made, with_broken)  # only what failed is tried again
    assert counted == {"trainings": 1, "passes": [("loss", "broken"), ("broken",)]}


def test_what_fails_at_one_length_is_measured_at_the_others(tiny, tmp_path):
    short = BROKEN.replace("broken", "short").replace("raise RuntimeError", "if batch.length == 4: raise RuntimeError")
    (tmp_path / "short_metric.py").write_text(short.replace('luck")', 'luck")\n        return {}'))
    with_broken = plugins.load([tmp_path / "short_metric.py"])
    tiny["metrics"], tiny["sweep"] = [{"kind": "loss"}, {"kind": "short"}], {"evaluation.length": [4, 8]}
    made = plan.load(None, tiny, with_broken, out=tmp_path / "run")
    engine.run(made, with_broken)
    data = open_cube(made.folder).load()
    assert data["status"].values.ravel().tolist() == [2, 1]
    assert np.isfinite(data["loss"].sel(length=8, split="topics")).all()


@pytest.mark.parametrize(
    ("name", "made", "error"),
    [("extra", '{"undeclared": 0}', "KeyError: 'undeclared'"), ("odd", '{"odd": torch.zeros(2)}', "IndexError: ")],
)
def test_a_metric_that_makes_what_it_should_not_is_out_alone(tiny, tmp_path, name, made, error):
    score = '{"surprise": -batch.model.log_prob(batch).min(dim=1).values}'
    text = SURPRISE.replace(score, made).replace("surprise", name)
    (tmp_path / f"{name}_metric.py").write_text(f"import torch\n{text}")
    with_it = plugins.load([tmp_path / f"{name}_metric.py"])
    tiny["metrics"] = [{"kind": name}, {"kind": "loss"}]
    wanted = plan.load(None, tiny, with_it, out=tmp_path / "run")
    (failure,) = engine.run(wanted, with_it).failures.values()
    assert str(failure).startswith(f"measuring {name}: {error}")
    assert np.isfinite(open_cube(wanted.folder).load()["loss"].sel(split="topics")).all()


def test_a_metric_that_does_not_apply_is_skipped_with_the_reason_in_the_cube(tiny, tmp_path):
    (tmp_path / "picky_metric.py").write_text(PICKY)
    with_picky = plugins.load([tmp_path / "picky_metric.py"])
    tiny["metrics"] = [{"kind": "loss"}, {"kind": "picky"}]
    made = plan.load(None, tiny, with_picky, out=tmp_path / "run")
    engine.run(made, with_picky).check()
    data = open_cube(made.folder).load()
    assert data["picky_not_applicable"].item() == "not on coins"
    assert data["status"].item() == 1


def test_final_and_the_sentence_live_with_failed_cells(tiny, found, tmp_path):
    (tmp_path / "second_trainer.py").write_text(FRAGILE.replace("fragile", "second"))
    fragile = plugins.load([tmp_path / "second_trainer.py"])
    tiny["trainer"] = {"kind": "second"}
    tiny["sweep"] = {"outcome": {"choices": {"bad": {"trainer": {"fail": True}}, "good": {}}}}
    made = plan.load(None, tiny, fragile, out=tmp_path / "run")
    result = engine.run(made, fragile)
    last = final(open_cube(made.folder).load())
    assert np.isnan(last["loss"].sel(outcome="bad")).all()
    assert np.isfinite(last["loss"].sel(outcome="good", split="topics")).all()
    assert "above the exact optimum" in result.sentences[0]


def test_a_failed_metric_that_is_no_longer_asked_for_is_forgotten(tiny, tmp_path):
    (tmp_path / "third_metric.py").write_text(BROKEN.replace("broken", "third"))
    found = plugins.load([tmp_path / "third_metric.py"])
    tiny |= {"metrics": [{"kind": "loss"}, {"kind": "third"}], "store": {"keep": "last"}}
    failed = engine.run(plan.load(None, tiny, found, out=tmp_path / "run"), found)
    assert next(iter(failed.failures.values())).path.is_file()
    folder = train.TrainingFolder(tmp_path / "run" / "trainings" / next(iter(failed.failures)))
    assert len(folder.steps()) == 3  # what is not measured yet is not thrown away
    tiny["metrics"] = [{"kind": "loss"}]
    made = plan.load(None, tiny, found, out=tmp_path / "run")
    assert not engine.run(made, found).failures
    assert open_cube(made.folder)["status"].item() == 1


@pytest.mark.parametrize("damage", ["part", "snapshot", "outcome", "cube", "progress", "state"])
def test_damaged_files_are_named_or_made_anew(tiny, planned, found, damage):
    made = planned(tiny)
    engine.run(made, found)
    training = made.folder / "trainings" / made.trainings[0].id
    if damage == "part":
        (path,) = (made.folder / "parts").glob("*.npz")
    elif damage == "snapshot":
        path = training / "snapshots" / "00000003.safetensors"
        shutil.rmtree(made.folder / "parts")
    else:
        name = {"outcome": "outcome.json", "progress": "progress.json", "state": "state.safetensors"}.get(damage, "")
        path = training / name if name else made.folder / "cube.zarr" / "zarr.json"
    if damage in ("progress", "state"):  # as if killed on the way
        (training / "outcome.json").unlink()
    path.write_bytes(b"")
    if damage in ("part", "outcome"):
        with pytest.raises(StoreError, match=path.name):
            engine.run(planned(tiny), found)
    elif damage == "snapshot":
        assert path.name in str(engine.run(planned(tiny), found).failures)
    else:
        assert not engine.run(planned(tiny), found).failures
        assert open_cube(made.folder)["status"].item() == 1


def test_a_run_in_which_nothing_applies_still_leaves_a_cube(tiny, planned, found):
    tiny["metrics"] = [{"kind": "squared-error"}]
    made = planned(tiny)
    engine.run(made, found).check()
    assert "squared_error_not_applicable" in open_cube(made.folder)


def test_a_local_plugin_may_not_hide_behind_a_name_that_is_taken(tmp_path):
    from iclkit.errors import PluginError

    (tmp_path / "hiding_metric.py").write_text(SURPRISE.replace('name="surprise", summary', 'name="loss", summary'))
    with pytest.raises(PluginError, match=r'metric "loss" is claimed by .* and .*hiding_metric'):
        plugins.load([tmp_path / "hiding_metric.py"])


def test_the_folder_of_another_config_is_refused(tiny, tmp_path, found):
    text = """
[source]
kind = "coins"
biases = [{bias}, 0.5]
[data]
length = 4
[model]
width = 8
heads = 2
[trainer]
steps = 1
[evaluation]
sequences = 4
"""
    for name, bias in (("one.toml", 0.2), ("two.toml", 0.3)):
        (tmp_path / name).write_text(text.format(bias=bias))
    engine.run(plan.load(tmp_path / "one.toml", None, found, out=tmp_path / "run"), found).check()
    with pytest.raises(StoreError, match="holds the run of another config"):
        engine.run(plan.load(tmp_path / "two.toml", None, found, out=tmp_path / "run"), found)
    (tmp_path / "one.toml").write_text(text.format(bias=0.3))  # the same config, changed, goes on in its folder
    engine.run(plan.load(tmp_path / "one.toml", None, found, out=tmp_path / "run"), found).check()
