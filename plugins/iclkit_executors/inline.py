"""The executor that runs each call at once, in this process."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Inline(Executor):
    """Runs what is submitted before `submit` returns."""

    def __init__(self, config: Any, workers: int):
        del config, workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run the call and return its finished future."""
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # the future carries it, as every executor's does
            future.set_exception(error)
        return future
