"""Plugins as they are installed: broken ones, quarrelling ones, good ones, and local files."""

import json
import textwrap

import pytest


def test_import_error_is_quarantined(spawn, tiny):
    assert spawn("check", tiny, cases=["import_error"])[0] == 0
    code, out, _ = spawn("plugins", "list", cases=["import_error"])
    assert code == 0
    assert "broken: acme-broken (acme-broken 1.0): ModuleNotFoundError: No module named 'no_such_module_at_all'" in out
    code, out, _ = spawn("doctor", cases=["import_error"])
    assert code == 0
    assert "1 broken plugin" in out
    assert "broken: acme-broken" in out
    _, text, _ = spawn("doctor", "--json", cases=["import_error"])
    assert json.loads(text)["broken"][0]["plugin"] == "acme-broken"


def test_name_that_a_broken_plugin_may_provide(spawn, tiny):
    code, _, err = spawn("check", tiny, "--set", "source={kind='acme-source'}", cases=["import_error"])
    assert code == 4
    assert "no_such_module_at_all" in err
    code, _, err = spawn("acme-command", cases=["import_error"])
    assert code == 4
    assert "no_such_module_at_all" in err
    code, out, err = spawn("plugins", "show", "acme-broken", cases=["import_error"])
    assert code == 4
    assert "Traceback" in out


def test_built_in_name_stays_the_built_in(spawn, tiny):
    code, out, _ = spawn("plugins", "list", cases=["duplicate_builtin"])
    assert code == 0
    assert 'conflict: source "coins" is claimed by' in out
    assert "acme-coins 2.0" in out
    assert "used: sources (iclkit" in out
    assert spawn("check", tiny, cases=["duplicate_builtin"])[0] == 0


def test_two_plugins_claim_one_name(spawn, tiny):
    code, out, _ = spawn("plugins", "list", "--json", cases=["two_claim_one"])
    assert code == 0
    (conflict,) = json.loads(out)["conflicts"]
    assert conflict["used"] is None
    assert conflict["claimed_by"] == ["acme-one (acme-one 1.1)", "acme-two (acme-two 1.2)"]
    assert spawn("check", tiny, cases=["two_claim_one"])[0] == 0
    asked = ("check", tiny, "--set", "source={kind='shared'}")
    code, _, err = spawn(*asked, cases=["two_claim_one"])
    assert code == 4
    assert "acme-one 1.1" in err
    assert "acme-two 1.2" in err
    assert spawn(*asked, cases=["two_claim_one"], ICLKIT_DISABLE_PLUGINS="acme-two")[0] == 0


def test_unknown_hook(spawn, tiny):
    code, out, _ = spawn("plugins", "list", cases=["unknown_hook"])
    assert code == 0
    assert "broken: acme-hook (acme-hook 0.3)" in out
    assert "iclkit_sauces is not a hook" in out
    assert spawn("check", tiny, cases=["unknown_hook"])[0] == 0


def test_good_plugin_and_its_command(spawn):
    code, out, _ = spawn("--help", cases=["good"])
    assert code == 0
    assert "greet" in out
    assert "Greet somebody." in out
    assert spawn("greet", "you", cases=["good"])[:2] == (0, "hello you\n")
    code, _, err = spawn("lost", cases=["good"])
    assert code == 4
    assert "acme-good 3.1" in err
    assert "acme_gone" in err


def test_checks_of_doctor(spawn):
    code, out, _ = spawn("doctor", cases=["good"])
    assert code == 0
    assert "ok: mood: fine, thank you" in out
    code, out, _ = spawn("doctor", cases=["good"], ACME_MOOD="bad")
    assert code == 1
    assert "FAILED: mood" in out


@pytest.mark.parametrize(
    ("environ", "there"),
    [
        ({}, True),
        ({"ICLKIT_PLUGINS": "acme-good"}, True),
        ({"ICLKIT_PLUGINS": ""}, False),
        ({"ICLKIT_PLUGINS": "another"}, False),
        ({"ICLKIT_DISABLE_PLUGINS": "acme-good"}, False),
    ],
)
def test_allow_and_block(spawn, environ, there):
    _, out, _ = spawn("plugins", "list", "--json", cases=["good"], **environ)
    names = {component["name"] for component in json.loads(out)["components"]}
    assert ("fair-die" in names) is there
    assert "coins" in names


LOCAL = """
import torch
from iclkit.api import Categorical, Facts, Listed, SourceSpec, Uniform, frozen, hookimpl, option


@frozen(kw_only=True)
class Die:
    sides: int = option("number of sides", default=6, at_least=2)


class Rolls:
    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        return Rolls(self.numbers[index])


class FairDie:
    def __init__(self, config):
        self.sides = config.sides

    def topics(self, numbers, key):
        return Rolls(numbers)

    def sample(self, topics, topic, number, length, key):
        uniform = key[:, None].fold(torch.arange(length)).uniform()
        return (uniform * self.sides).long(), None

    def oracle(self):
        return Uniform(self.sides)


@hookimpl
def iclkit_sources():
    yield SourceSpec(
        name="fair-die",
        summary="A fair die: nothing to learn in context.",
        config=Die,
        build="my_die:FairDie",
        facts=lambda config: Facts(space=Categorical(config.sides), topics=Listed(weights=(1.0,))),
    )
"""


def test_local_plugin_in_two_workers(spawn, tiny):
    path = tiny.with_name("my_die.py")
    path.write_text(textwrap.dedent(LOCAL))
    asked = (tiny, "--set", "source={kind='fair-die', sides=3}", "--set", "sweep.seed=[0, 1]", "--plugin", path)
    assert spawn("check", *asked)[0] == 0
    code, out, err = spawn("run", *asked, "--workers", 2)
    assert code == 0, err
    assert "2 trainings, 2 workers" in err
    assert "cube: " in out
    code, out, err = spawn("assemble", "runs/tiny")  # it remembers --set and --plugin
    assert code == 0, err
    path.write_text("raise RuntimeError('no die today')")
    code, _, err = spawn("check", *asked)
    assert code == 4
    assert "no die today" in err
