"""A real job of a tiny config, in a folder below tmp_path."""

import pytest

from iclkit.snapshots import TrainingFolder
from iclkit.train import TrainingJob
from iclkit.world import World


@pytest.fixture
def job_of(planned, tmp_path):
    """Make the job of tables that describe one cell: a fresh one, or `again` on what the last one saved."""
    made = []

    def make(tables, again=False):
        training = planned(tables).trainings[-1]
        if not again:
            made.append(TrainingFolder(tmp_path / f"job-{len(made)}"))
            made[-1].begin({})
        return TrainingJob(training, made[-1], None, World())

    return make
