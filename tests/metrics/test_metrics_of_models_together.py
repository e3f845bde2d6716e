"""What looks inside models, asks them or disturbs them, all at once in a run; what has no meaning says why."""

from pathlib import Path

import numpy as np
import pytest

from iclkit import engine
from iclkit.cli.cube_diff import differences
from iclkit.cube import open_cube

CORPUS = Path(__file__).parents[1] / "data" / "text"
KINDS = ["icl-accuracy", "induction-heads", "belief-probe", "emergence", "algorithm-mixture", "flatness"]
GINC = {"kind": "ginc", "entities": 3, "properties": 4, "symbols": 8}


@pytest.fixture
def ran(tiny, planned, found):
    def run(out="run", **tables):
        tiny["metrics"] = [{"kind": kind} for kind in KINDS]
        tiny["evaluation"]["sequences"] = 24
        made = planned({**tiny, **tables}, out)
        engine.run(made, found).check()
        return open_cube(made.folder).load().isel(seed=0)

    return run


def test_all_are_measured_at_every_snapshot_and_twice_the_same(ran):
    tables = {"source": GINC, "data": {"length": 24, "topics": 3}}
    data = ran(**tables)
    steps = data["step"].values.tolist()
    for name in ("icl_accuracy", "prefix_matching", "belief_r2", "algorithm_weight", "flatness"):
        shown = data[name].transpose("step", ...).values.reshape(len(steps), -1)
        assert np.isfinite(shown).any(1).all(), name
        assert data[name].attrs["long_name"]
    assert not [name for name in data if str(name).endswith("not_applicable")]
    assert data["flatness_se"].attrs["units"] == "nat"
    again = ran("again", **tables)
    assert not list(differences(data, again))


def test_a_recurrent_network_on_real_tokens_says_what_is_missing(ran):
    data = ran(source={"kind": "lds"}, data={"length": 6, "topics": 2}, model={"kind": "lstm", "width": 8, "layers": 2})
    reasons = {kind: data[f"{kind}_not_applicable".replace("-", "_")].item() for kind in KINDS[:2] + KINDS[4:5]}
    assert "makes no prompts" in reasons["icl-accuracy"]
    assert "these are real" in reasons["induction-heads"]
    assert "real tokens" in reasons["algorithm-mixture"]
    assert data["target"].values.tolist() == ["topic"]
    assert data["layer"].values.tolist() == ["layer_1", "layer_2"]
    assert np.isfinite(data["flatness"]).all()
    assert data["stages"].item()


def test_text_and_a_model_without_attention_say_what_is_missing(ran, tmp_path, monkeypatch):
    monkeypatch.setenv("ICLKIT_CACHE", str(tmp_path / "cache"))
    data = ran(
        source={"kind": "text", "path": str(CORPUS), "topic": "folder", "window": 16},
        data={"length": 16, "topics": 3, "sequences": 64},
        model={"kind": "gru", "width": 8, "layers": 1},
        evaluation={"sequences": 4},
    )
    assert "names no taps that give attention weights" in data["induction_heads_not_applicable"].item()
    assert "makes no prompts" in data["icl_accuracy_not_applicable"].item()
    assert "no hidden state to believe in" in data["belief_probe_not_applicable"].item()
    assert {"uniform", "static-unigram", "context-bigram"} <= set(data["predictor"].values)
    assert np.isfinite(data["algorithm_residual"]).any()
    assert np.isfinite(data["flatness"]).all()
