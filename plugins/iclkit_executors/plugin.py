"""Where work runs: in this process, or in worker processes on this machine."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import ExecutorSpec, hookimpl


@frozen(kw_only=True)
class Nothing:
    """No settings but `workers`."""


@hookimpl
def iclkit_executors() -> Iterator[ExecutorSpec]:
    """Yield the built-in executors."""
    yield ExecutorSpec(
        name="inline",
        summary="One training after the other, in this process.",
        config=Nothing,
        build="iclkit_executors.inline:Inline",
        in_process=True,
    )
    yield ExecutorSpec(
        name="processes",
        summary="Worker processes on this machine, one thread each.",
        config=Nothing,
        build="iclkit_executors.processes:make",
        default=True,
    )
