"""A metric that measures nothing: its sentence reads what the others measured."""

from typing import Any


class Diagnosis:
    """Neither scores nor finishes; `iclkit_metrics.diagnosis.rules` says what is looked for."""

    def __init__(self, config: Any):
        del config
