"""A plugin that implements a hook which does not exist."""

from iclkit.api import hookimpl


@hookimpl
def iclkit_sauces():
    yield "ketchup"
