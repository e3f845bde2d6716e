"""The named processes: printed floors, three independent ways to a floor, explicit matrices from files."""

import itertools
import math
import zipfile

import numpy as np
import pytest
import torch

from iclkit_sources.machines.entropy_rate import entropy_rate
from iclkit_sources.machines.enumeration import mixture_floor
from iclkit_sources.machines.mixed_states import present

LN2 = math.log(2)
FIVE_THREE = ("golden-mean", {"ones": 5, "zeros": 3})
PROCESSES = {  # table 2.1, bits: h_1, h_2, ...; then h, h in nats, E and its printed digits
    ("golden-mean", ()): ([0.91830, 0.66667, 0.66667], 0.666667, 0.462098, 0.25163, 5),
    ("even", ()): (
        [
            0.91830,
            0.87419,
            0.79248,
            0.77043,
            0.72957,
            0.71855,
            0.69812,
            0.69261,
            0.68239,
            0.67964,
            0.67453,
            0.67315,
        ],
        0.666667,
        0.462098,
        0.91830,
        5,
    ),
    ("golden-mean", (("ones", 5), ("zeros", 3))): (
        [0.99108, 0.76164, 0.66667, 0.52832, 0.44444, 0.22222, 0.22222],
        0.222222,
        0.154033,
        2.28104,
        5,
    ),
    ("teddy-bear", ()): (
        [1.58496, 1.11341, 0.87228, 0.60609, 0.57922, 0.56890, 0.55425, 0.54529, 0.54185, 0.53696],
        0.528321,
        0.366204,
        2.2396,
        4,
    ),
    ("sns", ()): ([0.81128, 0.68872, 0.68004, 0.67842, 0.67803, 0.67792], 0.677867, 0.469862, 0.14723, 5),
    ("zero-one-random", ()): ([1, 0.91830, 0.66667, 0.33333, 0.33333], 0.333333, 0.231049, 1.58496, 5),
    ("rrxor", ()): ([1, 1, 0.91830, 0.90672, 0.86371, 0.83333, 0.81001, 0.77883], 0.666667, 0.462098, 2.25, 2),
}
TABLE = [(kind, dict(fields), *printed) for (kind, fields), printed in PROCESSES.items()]
IDS = [f"{kind} {fields}" for kind, fields, *_ in TABLE]


def binary_entropy(p):
    return entropy(p, 1 - p)


def entropy(*chances):
    return -sum(p * math.log(p) for p in chances if p > 0)


@pytest.mark.parametrize(("kind", "fields", "floors", "bits", "nats", "total", "digits"), TABLE, ids=IDS)
def test_printed_numbers(kit, kind, fields, floors, bits, nats, total, digits):
    source = kit.make(kind, **fields)
    floor, rate = source.optimum("population", None, None, 300), source.entropy_rate(None, None)
    np.testing.assert_allclose(floor.values[: len(floors)] / LN2, floors, atol=5.1e-6)
    assert rate.values.shape == rate.error.shape == (1,)
    assert rate.error[0] < 1e-12
    assert rate.values[0] / LN2 == pytest.approx(bits, abs=5.1e-7)
    assert rate.values[0] == pytest.approx(nats, abs=5.1e-7)
    assert floor.values[-1] == pytest.approx(rate.values[0], abs=floor.error[-1] + rate.error[0] + 1e-12)
    assert (floor.values - rate.values).sum() / LN2 == pytest.approx(total, abs=5.1 * 10.0 ** -(digits + 1))


def block_entropies(machines, length):
    """Return H(0) .. H(length) of one machine by enumerating all words."""
    vectors, found = machines.start[0][None], [0.0]
    for _ in range(length):
        vectors = torch.einsum("ns,vst->nvt", vectors, machines.transitions[0]).flatten(0, 1)
        found.append(float(torch.special.entr(vectors.sum(1)).sum()))
    return np.array(found)


FINITE = [(kind, fields) for kind, fields, *_ in TABLE if kind != "sns"] + [("days-of-week", {}), ("coin", {"p": 0.3})]


@pytest.mark.parametrize(("kind", "fields"), FINITE, ids=[f"{kind} {fields}" for kind, fields in FINITE])
def test_three_ways_to_a_floor(kit, kind, fields):
    machines = kit.make(kind, **fields).family
    weights = torch.ones(1, dtype=torch.float64)
    presentation = present(machines, weights)
    np.testing.assert_allclose(presentation.matrix.sum(1), 1, atol=1e-14)
    graph, levels = presentation.floor(40), mixture_floor(machines, weights, 40)
    assert graph.method == "mixed-state-matrix"
    assert (np.abs(graph.values - levels.values) <= graph.error + levels.error).all()
    assert max(graph.error.max(), levels.error.max()) < 1e-11
    blocks = np.diff(block_entropies(machines, 5 if machines.vocabulary > 3 else 10))
    np.testing.assert_allclose(graph.values[: len(blocks)], blocks, atol=1e-12)
    power = np.linalg.matrix_power(presentation.matrix, 29)[0] @ presentation.entropy
    assert graph.values[29] == pytest.approx(power, abs=1e-13)


@pytest.mark.parametrize(("kind", "beliefs"), [("golden-mean", 3), ("even", 4), ("rrxor", 36)])
def test_the_graph_has_the_known_beliefs(kit, kind, beliefs):
    source = kit.make(kind)
    assert len(present(source.family, torch.ones(1, dtype=torch.float64))) == beliefs
    long = source.optimum("population", None, None, 20_000)
    assert long.method == "mixed-state-matrix"
    assert long.values[-1] == pytest.approx(2 / 3 * LN2, abs=1e-12)
    assert long.error.max() < 1e-9


def test_an_infinite_graph_is_given_up(kit):
    weights = torch.ones(1, dtype=torch.float64)
    assert present(kit.make("mess3").family, weights) is None
    assert present(kit.make("rrxor").family, weights, limit=35) is None


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_entropy_rates_in_closed_form(kit, p):
    for kind, fields, rate in [
        ("coin", {"p": p}, binary_entropy(p)),
        ("golden-mean", {"p": p}, binary_entropy(p) / (1 + p)),
        ("even", {"p": p}, binary_entropy(p) / (1 + p)),
        ("golden-mean", {"p": p, "ones": 5, "zeros": 3}, binary_entropy(p) / (1 + 7 * p)),
        ("golden-mean", {"p": p, "ones": 2, "zeros": 4}, binary_entropy(p) / (1 + 5 * p)),
        ("teddy-bear", {"p": p / 2, "q": p / 4}, entropy(1 - 0.75 * p, p / 2, p / 4) / (1 + 2 * p)),
        ("zero-one-random", {"p": p}, binary_entropy(p) / 3),
        ("rrxor", {"p1": p, "p2": 0.3}, (binary_entropy(p) + binary_entropy(0.3)) / 3),
    ]:
        found = kit.make(kind, **fields).entropy_rate(None, None)
        assert found.method == "closed-form"
        assert found.values[0] == pytest.approx(rate, abs=1e-13), kind


STATIONARY = [
    ("coin", {"p": 0.2}),
    ("golden-mean", {"p": 0.3, "ones": 5, "zeros": 3}),
    ("teddy-bear", {"p": 0.2, "q": 0.3}),
    ("sns", {"p": 0.2, "q": 0.7}),
    ("zero-one-random", {"p": 0.3}),
    ("rrxor", {"p1": 0.2, "p2": 0.7}),
    ("leaky-rrxor", {"eps": 0.3}),
    ("matching-parens", {"p": 0.3, "q": 0.6, "n": 4}),
    ("days-of-week", {}),
]


@pytest.mark.parametrize(("kind", "fields"), STATIONARY)
def test_processes_are_stationary(kit, kind, fields):
    machines = kit.make(kind, **fields).family
    chain = machines.transitions[0].sum(0)
    np.testing.assert_allclose(chain.sum(1), 1, atol=1e-14)
    np.testing.assert_allclose(machines.start[0] @ chain, machines.start[0], atol=1e-14)
    assert (machines.start >= 0).all()


def words_of(kit, source, length):
    """Return the words of positive probability, as strings."""
    size = source.family.vocabulary
    words = list(itertools.product(range(size), repeat=length))
    log_prob = source.population().log_prob(kit.batch_of(words)).nan_to_num(nan=-torch.inf, neginf=-torch.inf).sum(1)
    return {"".join(map(str, word)) for word, value in zip(words, log_prob, strict=True) if value > -torch.inf}


def test_grammars(kit):
    golden = words_of(kit, kit.make("golden-mean", ones=3, zeros=2), 9)
    assert "001110010" not in golden
    assert "011100111" in golden
    assert all(len(run) == 3 for word in golden for run in word.strip("1").split("0") if run)
    parens = words_of(kit, kit.make("matching-parens", n=2), 7)
    assert "0121120" not in parens  # 1 and 2 open and close: 0 only outside
    assert "0121122" in parens
    assert not any("111" in word or "222" in word for word in parens)
    teddy = words_of(kit, kit.make("teddy-bear"), 7)
    assert "0222000" in teddy
    assert "0222011" not in teddy
    assert "0222001" in teddy


def test_days_of_week(kit):
    log_probs = kit.make("days-of-week").population().distribution(kit.batch_of([[2, 7, 8, 9, 0]])).log_probs.exp()
    after = [1 / 15] * 7
    for position, tomorrow in ((1, 3), (2, 4), (3, 3)):  # Wednesday, its tomorrow, the yesterday of that
        expected = [*after, *[1 / 15] * 4]
        expected[tomorrow] = 5 / 15
        np.testing.assert_allclose(log_probs[0, position], expected, atol=1e-14)
    weekend = [1 / 15] * 11
    weekend[0] = weekend[6] = 3 / 15  # Saturday or Sunday
    np.testing.assert_allclose(log_probs[0, 4], weekend, atol=1e-14)


@pytest.mark.parametrize("kind", ["sns", "mess3", "leaky-rrxor", "days-of-week"])
def test_rates_without_closed_form_are_bracketed(kit, kind):
    source = kit.make(kind)
    rate = source.entropy_rate(None, None)
    floor = source.optimum("population", None, None, 12 if kind != "days-of-week" else 60)
    assert rate.method == "belief-enumeration"
    assert rate.values[0] - rate.error[0] <= np.nanmin(floor.values + floor.error)
    if kind == "mess3":
        assert rate.values[0] == pytest.approx(1.088888, abs=1e-6)
        assert rate.error[0] < 1e-7
    if kind == "days-of-week":
        assert rate.values[0] == pytest.approx(floor.values[-1], abs=1e-11)


def test_a_rate_averages_topics_and_closed_classes(kit):
    """A start that may settle in a fair coin or in a process of period 2."""
    zero = ((0.0, 0.25, 0.0, 0.0), (0.0, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 0.0))
    one = ((0.0, 0.0, 0.75, 0.0), (0.0, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
    source = kit.make("hmm", matrices=(zero, one), start=(1.0, 0.0, 0.0, 0.0))
    assert source.entropy_rate(None, None).values[0] == pytest.approx(LN2 / 4, abs=1e-13)
    parts = tuple(kit.component(kind) for kind in ("even", "sns", "zero-one-random"))
    mixed, topics, weights = kit.listed("mixture", components=parts, weights=(1.0, 2.0, 3.0))
    rate = mixed.entropy_rate(topics, weights)
    expected = (0.462098120373 + 2 * 0.469861723 + 3 * LN2 / 3) / 6
    assert rate.values[0] == pytest.approx(expected, abs=1e-8)
    assert entropy_rate(topics[:1], weights[:1]).values[0] == pytest.approx(2 / 3 * LN2, abs=1e-13)


MATRICES = np.array([[[0.5, 0.0], [0.2, 0.3]], [[0.0, 0.5], [0.1, 0.4]]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("start", [None, (0.25, 0.75)])
def test_matrices_from_a_file(kit, tmp_path, order, save, start):
    arrays = {"transitions": np.asarray(MATRICES, order=order), "unrelated": np.arange(3)}
    save(tmp_path / "a.npz", **arrays | ({} if start is None else {"start": np.array(start)}))
    source = kit.make("hmm", file=tmp_path / "a.npz")
    given = kit.make("hmm", matrices=tuple(tuple(map(tuple, each)) for each in MATRICES.tolist()), start=start)
    assert torch.equal(source.family.transitions, given.family.transitions)
    assert torch.equal(source.family.start, given.family.start)
    assert kit.component("hmm", file=tmp_path / "a.npz").facts.space.size == 2


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"matrices": MATRICES}, "must hold an array named transitions"),
        ({"transitions": MATRICES[0]}, "array transitions must have shape (V, S, S), not (2, 2)"),
        ({"transitions": MATRICES.astype(object)}, "array transitions must be of type float64 or float32, not |O"),
        (
            {"transitions": MATRICES * [[1.0], [0.9]]},
            "array transitions: row 1 summed over tokens and next states must be 1",
        ),
        ({"transitions": MATRICES, "start": np.ones(3) / 3}, "array start: has 3 entries, but there are 2 states"),
    ],
)
def test_a_bad_file_is_named(kit, tmp_path, arrays, text):
    np.savez(tmp_path / "a.npz", **arrays)
    assert text in kit.problems("hmm", file=tmp_path / "a.npz")["file"]


def test_a_file_that_is_none(kit, tmp_path):
    assert "there is no file" in kit.problems("hmm", file=tmp_path / "a.npz")["file"]
    (tmp_path / "a.npz").write_bytes(b"nothing")
    assert "is no readable .npz file" in kit.problems("hmm", file=tmp_path / "a.npz")["file"]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("transitions.npy", b"nothing")
    assert "not in the format of numpy.save" in kit.problems("hmm", file=tmp_path / "a.npz")["file"]
    assert "give matrices or a file" in kit.problems("hmm")["matrices"]
    both = {"matrices": (((1.0,),),), "file": tmp_path / "a.npz"}
    assert "leave them out beside a file" in kit.problems("hmm", **both)["matrices"]
    assert "put an array named start" in kit.problems("hmm", file=tmp_path / "a.npz", start=(1.0,))["start"]


@pytest.mark.parametrize(
    ("kind", "fields", "key", "text"),
    [
        ("teddy-bear", {"p": 0.7, "q": 0.4}, "p", "p + q must be at most 1, not 1.1"),
        ("fanizza", {"lamb": 0.9}, "lamb", "negative probability"),
        ("post-quantum", {"alpha": 1.5, "beta": 0.5}, "beta", "alpha + beta must not be 2"),
        ("tom-quantum", {"alpha": 0.0, "beta": 0.0}, "alpha", "must not both be 0"),
    ],
)
def test_bad_parameters_name_the_field(kit, kind, fields, key, text):
    assert text in kit.problems(kind, **fields)[key]
