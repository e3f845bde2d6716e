"""Who hears how a run goes: the terminal's view, or nobody."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from iclkit.plan import Plan, Training


class Reporter(Protocol):
    """Hears how a run goes; the terminal's view is one."""

    def begin(self, plan: Plan, waiting: Sequence[Training]) -> None:
        """Hear what will be trained or measured."""

    def ended(self, training: Training, outcome: Mapping[str, Any]) -> None:
        """Hear that a training and its passes ended."""

    def say(self, line: str) -> None:
        """Hear a line for the user."""


class Silent:
    """Reports nothing."""

    def begin(self, plan: Plan, waiting: Sequence[Training]) -> None:
        """Hear nothing."""

    def ended(self, training: Training, outcome: Mapping[str, Any]) -> None:
        """Hear nothing."""

    def say(self, line: str) -> None:
        """Hear nothing."""
