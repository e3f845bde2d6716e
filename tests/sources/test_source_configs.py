"""Bad parameters name the field and say what is allowed; the plugin module is light."""

import subprocess
import sys

import pytest

FAIR = (((0.5,),), ((0.5,),))
STUCK = (((0.5, 0.0), (0.0, 0.5)), ((0.5, 0.0), (0.0, 0.5)))

BAD = [
    ("coins", {"biases": ()}, "biases", "at least one coin"),
    ("coins", {"biases": (0.1, 0.2), "weights": (1.0,)}, "weights", "has 1 entries, but there are 2 biases"),
    ("coins", {"biases": (0.1, 0.2), "weights": (1.0, 0.0)}, "weights", "must all be positive and finite"),
    ("coins", {"biases": (0.1,), "alpha": 1.0}, "alpha", "leave it out where biases are given"),
    ("coins", {"weights": (1.0,)}, "weights", "give biases too"),
    ("hmm", {"matrices": ()}, "matrices", "one matrix per token"),
    (
        "hmm",
        {"matrices": (((0.5,),), ((0.4,),))},
        "matrices",
        "row 0 summed over tokens and next states must be 1, not 0.9",
    ),
    ("hmm", {"matrices": (((1.5,),), ((-0.5,),))}, "matrices", "must be probabilities, 0 to 1; that of token 0"),
    ("hmm", {"matrices": (((0.5,),), ((0.5, 0.0),))}, "matrices", "1 by 1 like the first; that of token 1 is not"),
    ("hmm", {"matrices": FAIR, "start": (0.5, 0.5)}, "start", "has 2 entries, but there are 1 states"),
    ("hmm", {"matrices": STUCK, "start": (0.5, 0.4)}, "start", "sum to 1, not to 0.9"),
    ("hmm", {"matrices": STUCK}, "start", "2 closed classes"),
    ("mr-name", {"p": 0.8, "q": 0.3}, "p", "p + q must be at most 1, not 1.1"),
    ("mr-name", {"names": 3, "weights": (1.0, 1.0)}, "weights", "has 2 entries, but there are 3 names"),
]


@pytest.mark.parametrize(("kind", "fields", "key", "text"), BAD)
def test_problems_name_the_field(kit, kind, fields, key, text):
    assert text in kit.problems(kind, **fields)[key]


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        ({"weights": (1.0,)}, "weights", "has 1 entries, but there are 2 components"),
        ({"vocabularies": ((0, 1),)}, "vocabularies", "has 1 maps, but there are 2 components"),
        ({"vocabularies": ((0, 1), (0, 1))}, "vocabularies[1]", "maps 2 tokens, but component 1 has 3"),
        ({"vocabularies": ((0, 0), (0, 1, 2))}, "vocabularies[0]", "maps several tokens to 0"),
        ({"vocabularies": ((0, 1), (0, 1, -1))}, "vocabularies[1]", "at least 0"),
    ],
)
def test_problems_of_mixtures(kit, fields, key, text):
    parts = (kit.component("even"), kit.component("mess3"))
    assert text in kit.problems("mixture", components=parts, **fields)[key]
    assert "at least one source" in kit.problems("mixture", components=())["components"]


def test_stationary_start_of_a_chain_with_transient_states(kit):
    matrices = (((0.5, 0.0), (0.0, 0.25)), ((0.0, 0.5), (0.0, 0.75)))
    source = kit.make("hmm", matrices=matrices)
    assert source.family.start.tolist() == [[0.0, 1.0]]


def test_facts(kit):
    assert kit.component("mr-name", names=3).facts.space.size == 6
    assert kit.component("coins", biases=(0.1, 0.2), weights=(1.0, 3.0)).facts.topics.weights == (0.25, 0.75)
    assert not hasattr(kit.component("coins").facts.topics, "weights")
    assert kit.component("hmm", matrices=FAIR).facts.topics.weights == (1.0,)


def test_the_plugin_module_is_light():
    code = (
        "import sys, iclkit_sources.plugin as p; list(p.iclkit_sources()); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'xarray', 'zarr')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
