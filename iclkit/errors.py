"""The errors a user can meet, one exit code each.

Every message says what is wrong, where, what is allowed and what to do. The command line prints the message
alone; a traceback is shown only with `-v`.
"""

from collections.abc import Iterable, Sequence

from attrs import frozen


class IclkitError(Exception):
    """The root of all errors that iclkit raises on purpose."""

    exit_code = 1


class UsageError(IclkitError):
    """A command or function was called in a way that cannot work."""

    exit_code = 2


@frozen
class Problem:
    """One thing wrong with a config: the path of the key and what is wrong there."""

    path: str
    message: str

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return text.replace("\n", "\\n")  # one problem, one line, whatever a key is called


class ConfigError(IclkitError):
    """A config is invalid; `problems` holds every problem found, one line each."""

    exit_code = 3

    def __init__(self, problems: Iterable[Problem]):
        self.problems: Sequence[Problem] = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(IclkitError):
    """A plugin is broken, or two plugins claim one name."""

    exit_code = 4


class RunFailures(IclkitError):
    """A run finished, but some of its trainings failed."""

    exit_code = 5


class StoreError(IclkitError):
    """A run folder or cube is locked, missing, or not what it should be."""

    exit_code = 6


class NotApplicable(IclkitError):
    """Raised by a metric that has no meaning for a cell; the reason is stored and the others go on."""


class TrainingDiverged(IclkitError):
    """The loss of a training became NaN or infinite; earlier snapshots are kept."""
