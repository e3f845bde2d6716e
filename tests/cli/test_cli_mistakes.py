"""What goes wrong is said in one clear line, with the right exit code."""

import json

import pytest

from iclkit import cli, engine
from iclkit.errors import StoreError

SIX = """
colour = "red"

[source]
kind = "coins"
biases = [0.2, 1.4]

[data]
topics = "frsh"
length = 0

[model]
kind = "transformer"
widht = 32

[trainer]
kind = "accelerate"
steps = 2.5
"""


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_six_mistakes_are_six_lines(call, tmp_path, command):
    path = tmp_path / "six.toml"
    path.write_text(SIX)
    code, out, err = call(command, path)
    assert (code, out) == (3, "")
    lines = err.splitlines()
    assert len(lines) == 6, err
    for start in ("colour: ", "source.biases: ", "data.topics: ", "data.length: ", "model.widht: ", "trainer.steps: "):
        assert any(line.startswith(start) for line in lines), (start, err)
    assert 'did you mean "width"' in err


def test_good_config_is_ok(call, tiny):
    code, out, err = call("check", tiny, "--set", "data.topics=2")
    assert (code, err) == (0, "")
    assert out.startswith("ok: 1 training")


def test_config_that_is_not_there(call, tiny):
    code, _, err = call("run", tiny.with_name("tinny.toml"))
    assert code == 3
    assert "there is no such file" in err
    assert "tiny.toml" in err.partition("did you mean")[2]
    assert len(err.splitlines()) == 1


def test_config_that_is_a_folder(call, tiny):
    code, _, err = call("check", tiny.parent)
    assert code == 3
    assert "is a folder" in err
    assert "tiny.toml" in err


def test_config_that_is_not_toml(call, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[source\nkind = coins\n")
    code, _, err = call("check", path)
    assert code == 3
    assert "not valid TOML" in err
    assert "line 1" in err


def test_config_that_is_not_text(call, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe\x00")
    code, _, err = call("check", path)
    assert code == 3
    assert len(err.splitlines()) == 1


def test_set_without_equals(call, tiny):
    code, _, err = call("check", tiny, "--set", "model.layers")
    assert code == 2
    assert "KEY=VALUE" in err


def test_set_is_read_as_toml_and_checked(call, tiny):
    code, _, err = call("check", tiny, "--set", "model.layers=four")
    assert code == 3
    assert err.startswith("model.layers: expected an integer")


def test_plugin_file_that_is_not_there(call, tiny):
    code, _, err = call("check", tiny, "--plugin", "nowhere.py")
    assert code == 2
    assert "there is no such file" in err


def test_unknown_command_and_option(call, tiny):
    code, _, err = call("rnu", tiny)
    assert code == 2
    assert 'did you mean "run"' in err
    code, _, err = call("run", tiny, "--wokers", 2)
    assert code == 2
    assert "--workers" in err
    assert call("run", tiny, "--workers", 0)[0] == 2


def test_unknown_training(call, tiny):
    code, _, err = call("train", tiny, "zzz")
    assert code == 6
    assert "iclkit plan" in err


def test_no_cube_and_no_run(call, tmp_path):
    for args in (["cube", "show", tmp_path], ["plot", tmp_path], ["assemble", tmp_path]):
        code, _, err = call(*args)
        assert code == 6, args
        assert len(err.splitlines()) == 1


def test_assemble_before_anything_is_measured(call, tiny):
    code, _, err = call("assemble", tiny, "--out", tiny.parent / "out")
    assert code == 6
    assert "nothing is measured" in err
    assert not (tiny.parent / "out").exists()


def test_run_folder_in_use(call, tiny):
    folder = tiny.parent / "out"
    with engine.lock(folder):
        code, _, err = call("run", tiny, "--out", folder)
    assert code == 6
    assert "in use" in err
    assert not (folder / "config.toml").exists()


def test_run_folder_that_cannot_be_written(call, tiny):
    code, _, err = call("run", tiny, "--out", "/proc/nowhere")
    assert code == 6
    assert len(err.splitlines()) == 1


def test_unexpected_error_is_one_line_and_a_traceback_with_v(call, tiny, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("iclkit.plan.load", fail)
    code, _, err = call("check", tiny)
    assert (code, err) == (1, "iclkit: unexpected ZeroDivisionError: by nought (run with -v for the traceback)\n")
    for args in (["-v", "check", tiny], ["check", tiny, "-v"]):
        code, _, err = call(*args)
        assert code == 1
        assert "Traceback" in err


def test_interruption(call, tiny, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("iclkit.plan.load", interrupt)
    code, _, err = call("check", tiny)
    assert code == cli.INTERRUPTED == 130
    assert "interrupted" in err


def test_store_error_of_a_command(call, tiny, monkeypatch):
    def fail(*args, **kwargs):
        raise StoreError("the shelf is full")

    monkeypatch.setattr("iclkit.plan.load", fail)
    assert call("plan", tiny)[0] == 6


def test_plan_and_its_twin_agree(call, tiny):
    args = ("plan", tiny, "--set", "sweep.seed=[0, 1]", "--set", 'sweep.length={zip={"data.length"=[4,8]}}')
    code, out, _ = call(*args)
    assert code == 0
    _, text, _ = call(*args, "--json")
    told = json.loads(text)
    assert [dim["size"] for dim in told["dims"]] == [2, 2]
    assert len(told["trainings"]) == told["cells"] == 4
    for training in told["trainings"]:
        assert training["id"] in out
        assert training["where"] in out
        assert training["state"] == "to do"
    assert not list(tiny.parent.glob("runs/*"))
