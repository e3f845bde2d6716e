"""The page on comparing cells does what it says: its config is run and its code executed, in order."""

import contextlib
import io
import re
from pathlib import Path

import pytest

import iclkit

PAGE = Path(__file__).parents[2] / "docs/how-to/compare-cells.md"


def test_compare_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["toml", "console", *["python"] * 6]
    Path("coins_by_k.toml").write_text(blocks[0][1])
    assert blocks[1][1] == "$ iclkit run coins_by_k.toml\n"
    iclkit.run("coins_by_k.toml")
    names, printed = {}, []
    for _, text in blocks[2:]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(text, names)
        printed.append(out.getvalue())
    assert "mean" in printed[0]
    assert "inf" in printed[0]
    assert "covers" in printed[1]
    excess, law, few = names["excess"].mean("seed"), names["law"], names["map"].mean("seed")
    assert excess.sel(topics=1) > 3 * excess.sel(topics=16) > 0  # more topics, better on fresh ones
    assert law["high"] < 0
    assert few.values == pytest.approx(excess.values)
    assert "correlation" in printed[4]
    assert printed[5] == "excess has no dimension 'sede'; it has topics, seed\n"
