import pytest
import torch
from attrs import evolve

from iclkit import plan
from iclkit.data import TOP, TrainingSequences
from iclkit.splits import allocate, splits


def _cell(found, tiny, **data):
    tiny["data"] |= data
    config = plan.load(None, tiny, found).cells[0].config
    source = config.source.build()
    return config, source, TrainingSequences(config, source)


DRAWN = {"kind": "coins", "alpha": 1.0, "beta": 1.0}


def test_smaller_data_are_a_prefix_of_larger(found, tiny):
    tiny["source"] = DRAWN
    _, _, small = _cell(found, tiny, topics=2, sequences=3)
    _, _, large = _cell(found, tiny, topics=5, sequences=10)
    few, many = next(small.all(100)), next(large.all(100))
    for row in range(len(few)):
        same = (many.topic == few.topic[row]) & (many.number == few.number[row])
        assert torch.equal(many.tokens[same][0], few.tokens[row])


def test_a_batch_is_the_same_whoever_asks_and_in_whatever_order(found, tiny):
    for data in ({}, {"topics": 2}, {"topics": 2, "sequences": 5}, {"sequences": 3}):
        tables = tiny | {"data": {"length": 8}, "source": DRAWN}
        _, _, one = _cell(found, tables, **data)
        _, _, other = _cell(found, tables, **data)
        later = other.batch(700, 8)
        halves = [other.batch(3, 8, slice(0, 4)), other.batch(3, 8, slice(4, 8))]
        assert torch.equal(one.batch(3, 8).tokens, torch.cat([half.tokens for half in halves]))
        assert torch.equal(one.batch(700, 8).tokens, later.tokens)


def test_an_epoch_visits_every_sequence_once_in_an_order_of_its_own(found, tiny):
    _, _, data = _cell(found, tiny | {"source": DRAWN}, topics=3, sequences=8)
    seen = []
    for step in range(6):  # two epochs of 24 in batches of 8
        batch = data.batch(step, 8)
        seen += list(zip(batch.topic.tolist(), batch.number.tolist(), strict=True))
    assert len(set(seen[:24])) == len(set(seen[24:])) == 24
    assert seen[:24] != seen[24:]


@pytest.mark.parametrize("size", [5, 7, 64])
def test_every_epoch_is_whole_where_batches_do_not_divide_it(found, tiny, size):
    _, _, data = _cell(found, tiny | {"source": DRAWN}, topics=3, sequences=4)
    batches = [data.batch(step, size) for step in range(60 // size + 1)]
    seen = [pair for batch in batches for pair in zip(batch.topic.tolist(), batch.number.tolist(), strict=True)]
    assert all(len(set(seen[start : start + 12])) == 12 for start in range(0, 48, 12))


@pytest.mark.parametrize("weights", [[1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]], ids=["epochs", "by-weight"])
def test_kept_data_are_small_and_the_same_as_sampled_ones(found, tiny, monkeypatch, weights):
    tables = tiny | {"source": tiny["source"] | {"weights": weights}, "data": {"length": 8, "bos": False}}
    _, _, kept = _cell(found, tables, sequences=5)
    _, _, sampled = _cell(found, tables, sequences=5)
    for step in (0, 3, 700):
        ours = kept.batch(step, 8)
        with monkeypatch.context() as patch:
            patch.setattr("iclkit.data._KEPT_BYTES", 0)
            theirs = sampled.batch(step, 8)
        assert all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in ("tokens", "mask", "number"))
        assert ours.tokens.dtype == torch.int64
        assert not ours.mask[:, 0].any()
        assert ours.mask[:, 1:].all()
    assert kept._kept.tokens.dtype == torch.uint8
    assert kept.count == 15
    assert torch.allclose(kept.weights, torch.tensor(weights, dtype=torch.float64))


def test_a_subset_is_the_first_topics_and_sequences_and_no_more_than_there_are(found, tiny):
    _, _, data = _cell(found, tiny | {"source": DRAWN}, topics=4, sequences=6)
    part, whole = next(data.subset(2, 3).all(100)), next(data.all(100))
    assert data.subset(2, 3).count == 6
    assert part.topic.tolist() == [0, 0, 0, 1, 1, 1]
    assert part.number.tolist() == [1, 2, 3, 1, 2, 3]
    assert torch.equal(part.tokens, whole.tokens[(whole.topic < 2) & (whole.number <= 3)])
    for asked in ({"topics": 5}, {"sequences": 7}):
        with pytest.raises(ValueError, match="was asked for, there are"):
            data.subset(**asked)
    _, _, fresh = _cell(found, {**tiny, "source": DRAWN, "data": {"length": 8}})
    assert fresh.count is None
    assert fresh.weights is None
    with pytest.raises(ValueError, match="no end"):
        next(fresh.all(8))


def test_fresh_sequences_never_repeat_and_fresh_topics_neither(found, tiny):
    _, _, data = _cell(found, tiny | {"source": DRAWN})
    numbers = torch.cat([data.batch(step, 8).topics.numbers[data.batch(step, 8).topic] for step in range(600)])
    assert len(numbers.unique()) == len(numbers)


def test_topics_without_end_with_n_sequences_each(found, tiny):
    _, _, data = _cell(found, tiny | {"source": DRAWN}, sequences=3)
    pairs = []
    for step in range(6):
        batch = data.batch(step, 8)
        pairs += list(zip(batch.topics.numbers[batch.topic].tolist(), batch.number.tolist(), strict=True))
    assert len(set(pairs)) == 48
    assert {number for _, number in pairs} == {1, 2, 3}
    assert max(topic for topic, _ in pairs) == 16


def test_listed_topics_are_trained_on_by_weight(found, tiny):
    tiny["source"]["weights"] = [0.7, 0.2, 0.1]
    _, _, data = _cell(found, tiny)
    topic = torch.cat([data.batch(step, 64).topic for step in range(200)])
    shares = topic.bincount() / len(topic)
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.02, rtol=0)


def test_evaluation_does_not_change_with_k_or_n_and_meets_no_training_sequence(found, tiny):
    tables = tiny | {"source": DRAWN}
    made = {}
    for name, data in {"a": {"topics": 2, "sequences": 3}, "b": {"topics": 2, "sequences": 50}}.items():
        config, source, training = _cell(found, tables, **data)
        made[name] = {split.name: split for split in splits(config, source, training)}
    for name in ("sequences", "topics"):
        first, second = (made[key][name].chunk(slice(0, 16)).tokens for key in "ab")
        assert torch.equal(first, second)
        assert (made["a"][name].number > TOP - 20).all()
    assert (made["a"]["topics"].topic > TOP - 20).all()


def test_splits_say_which_reference_is_optimal(found, tiny):
    config, source, training = _cell(found, tiny, topics=2)
    assert {s.name: (s.optimum, s.lawful) for s in splits(config, source, training)} == {
        "train": ("mixture", False),
        "sequences": ("mixture", True),
        "topics": ("population", True),
    }
    config, source, training = _cell(found, tiny, topics="fresh")
    assert {s.name: s.optimum for s in splits(config, source, training)} == {
        "train": "population",
        "topics": "population",
    }


def test_train_split_is_what_was_trained_on(found, tiny):
    config, source, training = _cell(found, tiny | {"source": DRAWN}, topics=3, sequences=4)
    train = splits(config, source, training)[0]
    batch = train.chunk(slice(0, len(train)))
    everything = next(training.all(100))
    pairs = set(zip(train.topic.tolist(), train.number.tolist(), strict=True))
    assert len(pairs) == len(train) == 12
    for row in range(len(train)):
        same = (everything.topic == batch.topic[row]) & (everything.number == batch.number[row])
        assert torch.equal(everything.tokens[same][0], batch.tokens[row])


@pytest.mark.parametrize("count", [7, 100])
def test_allocation_shows_every_topics_scatter_and_is_proportional_beyond(found, tiny, count):
    config, _, _ = _cell(found, tiny)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for seed in range(5):
        changed = evolve(config, seeds=evolve(config.seeds, evaluation=seed))
        topic = allocate(weights, count, changed)
        assert (topic.diff() >= 0).all()
        assert (abs(topic.bincount(minlength=3) - 2 - (count - 6) * weights) <= 1).all()


def test_fewer_sequences_than_topics_are_a_sample_of_them(found, tiny):
    config, source, training = _cell(found, tiny | {"source": DRAWN, "evaluation": {"sequences": 10}}, topics=40)
    sequences = splits(config, source, training)[1]
    assert len(sequences.topic.unique()) == len(sequences) == 10
    assert sequences.weights is None


def test_train_split_holds_nothing_that_was_not_trained_on(found, tiny):
    """Topics without end, N = 3 each, batches of 8 over 6 steps: 16 topics, 48 sequences."""
    tables = tiny | {"source": DRAWN, "evaluation": {"sequences": 1000}}
    config, source, training = _cell(found, tables, sequences=3)
    met = set()
    for step in range(6):
        batch = training.batch(step, 8)
        met |= set(zip(batch.topics.numbers[batch.topic].tolist(), batch.number.tolist(), strict=True))
    train = splits(config, source, training)[0]
    assert set(zip(train.topic.tolist(), train.number.tolist(), strict=True)) == met
