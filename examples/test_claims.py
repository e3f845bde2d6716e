"""Every experiment in its reduced setting: `python -m pytest examples -m ""`; without `-m ""` the fast ones alone."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import report  # noqa: E402

ALL = [(pack, experiment) for pack in report.PACKS for experiment in report.experiments(pack).values()]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("pack", "experiment"),
    [
        pytest.param(
            pack, experiment, id=f"{pack}-{experiment.name}", marks=[] if experiment.fast else pytest.mark.slow
        )
        for pack, experiment in ALL
    ],
)
def test_claims_hold_in_the_reduced_setting(pack, experiment, tmp_path):
    found = report.run(pack, experiment, tmp_path / "run", reduced=True)
    assert found
    broken = [finding for finding in found if finding.holds is False]
    assert not broken, "\n".join(f"{one.claim}: {'; '.join(map(str, one.rows))}" for one in broken)


@pytest.mark.parametrize("pack", report.PACKS)
def test_every_config_is_an_experiment_and_every_table_is_read(pack):
    place = report.HERE / pack
    names = set(report.experiments(pack))
    assert {path.stem for path in place.glob("*.toml")} == names
    for table in (place / "measured").glob("*.csv"):
        assert table.stem in names
        with table.open(newline="") as file:
            assert all(line["claim"] and line["verdict"] for line in csv.DictReader(file))
