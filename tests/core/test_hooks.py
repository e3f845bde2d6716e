"""Every hook: documented with a runnable example, and called when it should be."""

import logging
import re
import sys
import textwrap
import types

import pytest

from iclkit import engine, hookspecs, plugins
from iclkit.registry import KINDS

HOOKS = [name for name in dir(hookspecs) if name.startswith("iclkit_")]
OBSERVERS = [name for name in HOOKS if name.removeprefix("iclkit_").rstrip("s") not in KINDS]


def _example(hook):
    text = textwrap.dedent("    " + getattr(hookspecs, hook).__doc__)
    return textwrap.dedent(text.partition("Example::")[2])


def _module(source, name="acme_example"):
    module = types.ModuleType(name)
    sys.modules[name] = module  # attrs resolves annotations there
    exec(source, module.__dict__)
    return module


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_arguments_and_an_example_that_runs(hook):
    function = getattr(hookspecs, hook)
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    for argument in arguments:
        assert re.search(rf"^    {argument} : ", function.__doc__, re.MULTILINE), f"{hook} does not explain {argument}"
    module = _module(_example(hook))
    found = plugins.Plugins()
    found._register(module, plugins.Provider(plugin="example", distribution="example 1"))
    assert hasattr(module, hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_named_after_it(hook):
    assert callable(globals().get(f"test_{hook}"))


def _yielded(hook, kind):
    (spec,) = getattr(_module(_example(hook)), hook)()
    assert isinstance(spec, KINDS[kind])
    return spec


def test_iclkit_sources():
    spec = _yielded("iclkit_sources", "source")
    assert spec.facts(spec.config()).space.size == 6


def test_iclkit_models():
    spec = _yielded("iclkit_models", "model")
    assert spec.unlimited(spec.config())


def test_iclkit_trainers():
    assert _yielded("iclkit_trainers", "trainer").config().steps == 100


def test_iclkit_metrics():
    assert _yielded("iclkit_metrics", "metric").variables[0].dims == ("step", "split")


def test_iclkit_executors():
    assert not _yielded("iclkit_executors", "executor").in_process


def test_iclkit_figures():
    assert _yielded("iclkit_figures", "figure").needs == ("loss",)


def test_iclkit_checks():
    assert _yielded("iclkit_checks", "check").run == "acme_checks:disk"


def test_iclkit_commands():
    assert _yielded("iclkit_commands", "command").command == "acme_upload:command"


@pytest.fixture
def heard(tiny, planned, monkeypatch):
    """Run a tiny training with an observer of everything; return what it heard, by hook."""
    calls = {hook: [] for hook in OBSERVERS}
    body = "\n".join(
        f"@hookimpl\ndef {hook}({', '.join(_arguments(hook))}):\n    calls['{hook}'].append(dict({_keywords(hook)}))"
        for hook in OBSERVERS
    )
    observer = types.ModuleType("observer")
    observer.calls = calls
    exec(f"from iclkit.api import hookimpl\n{body}", observer.__dict__)
    found = plugins.load()
    found._register(observer, plugins.Provider(plugin="observer", distribution="observer 1"))
    monkeypatch.setattr(engine, "load", lambda files: found)  # what an in-process worker loads
    engine.run(planned(tiny), found)
    return calls


def _arguments(hook):
    code = getattr(hookspecs, hook).__code__
    return code.co_varnames[: code.co_argcount]


def _keywords(hook):
    return ", ".join(f"{name}={name}" for name in _arguments(hook))


def test_iclkit_run_started(heard):
    assert len(heard["iclkit_run_started"][0]["plan"].trainings) == 1


def test_iclkit_training_started(heard):
    assert len(heard["iclkit_training_started"]) == 1


def test_iclkit_snapshot(heard):
    assert [call["step"] for call in heard["iclkit_snapshot"]] == [0, 3, 6]
    assert heard["iclkit_snapshot"][-1]["history"]["loss"].shape[1] == 8


def test_iclkit_training_finished(heard):
    assert heard["iclkit_training_finished"][0]["outcome"]["status"] == "done"


def test_iclkit_run_finished(heard):
    assert heard["iclkit_run_finished"][0]["cube_path"].is_dir()


def test_an_observer_that_fails_is_logged_and_stops_nothing(tiny, planned, caplog):
    found = plugins.load()
    broken = _module(
        "from iclkit.api import hookimpl\n@hookimpl\ndef iclkit_run_started(plan):\n    raise RuntimeError('ouch')"
    )
    found._register(broken, plugins.Provider(plugin="broken", distribution="broken 1"))
    with caplog.at_level(logging.ERROR):
        result = engine.run(planned(tiny), found)
    assert not result.failures
    assert "ouch" in caplog.text
