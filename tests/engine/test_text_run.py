"""A source without any reference goes through the whole engine; what needs a reference says why it is missing."""

from pathlib import Path

import numpy as np
import pytest

from iclkit import engine
from iclkit.cube import open_cube
from iclkit.errors import ConfigError

CORPUS = Path(__file__).parents[1] / "data" / "text"


@pytest.fixture
def text(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("ICLKIT_CACHE", str(tmp_path / "cache"))
    return tiny | {
        "source": {"kind": "text", "path": str(CORPUS), "topic": "folder", "window": 16},
        "data": {"topics": 3, "sequences": 64, "length": 16},
    }


def test_a_run_without_references(text, planned, found):
    made = planned(text)
    result = engine.run(made, found)
    result.check()
    assert result.sentences == ("On topics, no exact optimum is known to compare the loss with.",)
    measured = open_cube(made.folder).load()
    assert np.isfinite(measured["loss"]).all()
    assert {"train", "sequences", "topics"} == set(measured["split"].values)
    for name in ("excess", "regret", "floor", "optimum"):
        assert name not in measured or np.isnan(measured[name]).all()
    assert all("no exact optimum" in kind for kind in measured["excess_kind"].values.flat)
    first, last = (measured["loss"].isel(step=step).mean() for step in (0, -1))
    assert float(last) < float(first)
    assert not engine.run(planned(text), found).worked


def test_training_is_apart_from_evaluation(text, planned):
    from iclkit.data import TrainingSequences
    from iclkit.splits import splits

    config = planned(text).trainings[0].config
    source = config.source.build()
    training = TrainingSequences(config, source)
    train, sequences, topics = splits(config, source, training)
    used = {(int(t), int(n)) for t, n in zip(train.topic, train.number, strict=True)}
    for split in (sequences, topics):
        assert not used & {(int(t), int(n)) for t, n in zip(split.topic, split.number, strict=True)}
        assert int(split.number.min()) > 64
        assert split.chunk(slice(0, 4)).tokens.shape == (4, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"topics": 3, "sequences": 860, "length": 16}}, "data.sequences: 876 sequences .* more than the 871"),
        ({"data": {"topics": 3, "length": 16}}, "data.sequences: .fresh. is not possible: text has 871 sequences"),
        ({"data": {"topics": 4, "sequences": 9, "length": 16}}, "data.topics: 4 topics .* than the 3 that text lists"),
        ({"data": {"topics": 3, "sequences": 9, "length": 17}}, "data.length: 17 is longer than the 16 tokens of text"),
    ],
)
def test_more_than_there_is_is_refused(text, planned, changes, message):
    with pytest.raises(ConfigError, match=message):
        planned(text | changes)
