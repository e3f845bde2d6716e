"""Every experiment in its reduced setting: `python -m pytest examples -m ""`; without `-m ""` the fast ones alone."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import report

ALL = [
    pytest.param(
        config,
        id=f"{config.parent.name}-{config.stem}",
        marks=[] if report.experiment_of(config).fast else pytest.mark.slow,
    )
    for config in report.configs()
]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", ALL)
def test_claims_hold_in_the_reduced_setting(config, tmp_path):
    found = report.run(config, tmp_path / "run", reduced=True)
    assert found
    broken = [finding for finding in found if finding.holds is False]
    assert not broken, "\n".join(f"{one.claim}: {'; '.join(map(str, one.rows))}" for one in broken)


@pytest.mark.parametrize("pack", report.PACKS)
def test_every_table_is_of_a_config(pack):
    for table in (report.HERE / pack / "measured").glob("*.csv"):
        assert (report.HERE / pack / f"{table.stem}.toml").exists()
        with table.open(newline="") as file:
            assert all(line["claim"] and line["verdict"] for line in csv.DictReader(file))


def test_a_config_that_nothing_measures_is_told_in_one_line():
    command = [sys.executable, report.HERE / "report.py", report.HERE / "quickstart.toml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "quickstart.toml has no quickstart.py beside it that measures it; these have: " in done.stderr
