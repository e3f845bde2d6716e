"""Help is complete, and commands that only read a config import nothing heavy."""

import subprocess
import sys

import click
import pytest

from iclkit import cli

HEAVY = ("torch", "numpy", "xarray", "zarr", "pandas", "matplotlib", "scipy", "accelerate", "safetensors")

PROBE = """
import sys
from iclkit.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code, left.code
heavy = [name for name in {heavy!r} if name in sys.modules]
sys.stderr.write(f"heavy: {{heavy}}; modules: {{len(sys.modules)}}")
"""


def _leaves(group, words=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, (*words, name))


@pytest.mark.parametrize("words", [(), *_leaves(cli.group)], ids=" ".join)
def test_help_renders(call, words):
    code, out, err = call(*words, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: {' '.join(('iclkit', *words))}" in out


def test_summaries_are_those_of_the_help(call):
    _, out, _ = call("--help")
    for name, summary in cli.COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["check", "tiny.toml"],
        ["plan", "tiny.toml"],
        ["plan", "tiny.toml", "--json"],
        ["plugins", "list"],
        ["plugins", "show", "transformer"],
        ["config", "example"],
        ["config", "schema"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(tiny, args):
    made = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *args],
        cwd=tiny.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    told = made.stderr.rpartition("heavy: ")[2]
    assert told.startswith("[]"), told
    assert int(told.rpartition(" ")[2]) < 700, told
