"""How often certificates fail where the topic structure of held-out units is violated in degrees, and what mends them.

Run as a script it prints the rates: `python -m pytest tests/bounds/test_bounds_violated.py -s`.
"""

import sys

import numpy as np
import pytest
import torch

from iclkit.api import LogProbs
from iclkit_bounds import betting
from iclkit_bounds.certificates import sequences
from iclkit_bounds.certificates.targets import TARGETS
from iclkit_bounds.concentration import binomial_tail
from iclkit_bounds.contamination import under_mixture, under_total_variation
from iclkit_bounds.smoothing import seq_mix

V, T, DELTA = 5, 24, 0.1
DRAWS, HELD, EACH, FRESH = 200, 80, 2, 400
DEGREES = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4]


@pytest.fixture(scope="module")
def worlds(small_worlds):
    """Mean losses of clean, foreign and switching topics, float64 (R, HELD), true losses (R,), and the limit."""
    rng = np.random.default_rng(11)
    start = np.tile(np.concatenate([np.log1p(np.arange(24)), np.zeros(8)]), (DRAWS, 1))
    make = small_worlds.sources["dirichlet"]
    world = lambda matrices, each: small_worlds.Worlds(small_worlds.sequences(rng, matrices, each))  # noqa: E731
    weights = world(make(rng, (DRAWS, 20)), 3).trained(start, 10)

    def means(matrices, each=EACH):
        found = seq_mix(world(matrices, each).log_probs(weights).sum(-1), T, V)
        return found.losses.reshape(DRAWS, -1, each).mean(-1), float(found.upper)

    clean, upper = means(make(rng, (DRAWS, HELD)))
    foreign, _ = means(rng.dirichlet(np.full(V, 0.02), size=(DRAWS, HELD, V)))  # nearly always the same next token
    truth = means(make(rng, (DRAWS, FRESH)), 1)[0].mean(-1)
    return clean, foreign, truth, upper, rng.random((DRAWS, HELD))


def rate(limits, truth):
    return int((limits < truth).sum())


def acceptable(failures):
    return failures == 0 or 1 - binomial_tail(failures - 1, DRAWS, DELTA) >= 0.01


def test_foreign_topics_break_the_plain_bound_and_not_the_corrected_ones(worlds, capsys):
    clean, foreign, truth, upper, chance = worlds
    plain, mixture, distance, size = [], [], [], []
    for degree in DEGREES:
        limit = betting.upper_limit(np.where(chance < degree, foreign, clean), upper, DELTA)
        plain.append(rate(limit, truth))
        mixture.append(rate(under_mixture(limit, upper, degree), truth))
        distance.append(rate(under_total_variation(limit, upper, degree), truth))
        size.append(float(under_mixture(limit, upper, degree).mean()))
    with capsys.disabled():
        sys.stdout.write(
            f"\nforeign share {DEGREES}: failures of {DRAWS} plain {plain}, corrected {mixture} and {distance}" + "\n"
        )
        sys.stdout.write(
            f"mean corrected limit {np.round(size, 3).tolist()} of {upper:.3f}; true loss {truth.mean():.3f}" + "\n"
        )
    assert acceptable(plain[0])
    assert not acceptable(plain[-1])
    assert np.all(np.diff(plain) >= 0)
    assert all(map(acceptable, [*mixture, *distance]))
    assert size[3] < np.log(V)  # a tenth of foreign topics leaves something to certify


def test_repeated_topics_break_the_bound_until_they_are_counted_once(worlds, capsys):
    clean, _, truth, upper, chance = worlds
    repeated, once = [], []
    for degree in DEGREES:
        copies = chance < degree
        copies[:, 0] = False  # all copies are of the first topic
        repeated.append(rate(betting.upper_limit(np.where(copies, clean[:, :1], clean), upper, DELTA), truth))
        limits = [betting.upper_limit(row[~gone], upper, DELTA) for row, gone in zip(clean, copies, strict=True)]
        once.append(rate(np.array(limits), truth))
    with capsys.disabled():
        sys.stdout.write(
            f"\nrepeated share {DEGREES}: failures of {DRAWS} as they are {repeated}, counted once {once}" + "\n"
        )
    assert acceptable(repeated[0])
    assert not acceptable(repeated[-1])
    assert all(map(acceptable, once))


def test_repeated_sequences_break_the_bound_until_each_is_counted_once(capsys):
    """Half of the sequences repeat a lower number of their topic; a model knows by heart what it was trained on."""
    rng = np.random.default_rng(5)
    topics, trained, held, upper = 4, 20, 60, 2.0
    seen = (sequences.Extent(topics=topics, sequences=trained),)
    truth, plain, once = np.array([0.4, 0.8, 1.0, 1.4]), [], []
    for _ in range(DRAWS):
        losses = upper * rng.beta(2 * truth, 2 * (upper - truth), size=(trained + held + 1, topics)).T
        losses[:, : trained + 1] = 0.02
        number = np.tile(np.arange(trained + held + 1), (topics, 1))
        for place in range(2, trained + held + 1):
            lower = number[np.arange(topics), rng.integers(1, place, topics)]
            number[:, place] = np.where(rng.random(topics) < 0.5, lower, place)
        number = number[:, trained + 1 :]
        table = LogProbs(
            values=-torch.tensor(np.take_along_axis(losses, number, 1).reshape(-1, 1)),
            topic=torch.arange(1, topics + 1).repeat_interleave(held),
            number=torch.tensor(number.ravel()),
        )
        kept = sequences.unrepeated(table, TARGETS["sequences"], seen)
        assert len(kept.topic) % topics == 0
        plain.append(betting.upper_limit(-table.values[:, 0].numpy(), upper, DELTA))
        once.append(betting.upper_limit(-kept.values[:, 0].numpy(), upper, DELTA))
    failures = [rate(np.array(limits), truth.mean()) for limits in (plain, once)]
    with capsys.disabled():
        sys.stdout.write(f"\nhalf of the sequences repeated: failures of {DRAWS} {failures[0]}, once {failures[1]}\n")
    assert not acceptable(failures[0])
    assert acceptable(failures[1])
    assert np.mean(once) < 0.7 * upper  # and says something
