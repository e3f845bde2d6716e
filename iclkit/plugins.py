"""Finding plugins. A broken one is quarantined: the tool works, says so, and fails only when it is asked for.

Entry points of the group `iclkit` are filtered by name before anything is imported: `ICLKIT_PLUGINS` lists the
third-party plugins that are allowed (empty: none), `ICLKIT_DISABLE_PLUGINS` those that are blocked, built-ins
included. A local file is a plugin too.
"""

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from iclkit import hookspecs
from iclkit.errors import PluginError, UsageError
from iclkit.registry import KINDS, Provider, Quarantined, Registry

GROUP = "iclkit"
DISTRIBUTION = "iclkit"

_logger = logging.getLogger(__name__)


class Plugins:
    """The plugins in use: the registry of their components and the observers among them."""

    def __init__(self, files: Sequence[Path] = ()):
        self.files = tuple(Path(file).resolve() for file in files)
        self.registry = Registry()
        self._manager = pluggy.PluginManager("iclkit")
        self._manager.add_hookspecs(hookspecs)
        for provider, load in (*_installed(), *map(_local, self.files)):
            try:
                self._register(load(), provider)
            except Exception as error:  # whatever a plugin does, the tool works
                self._quarantine(provider, error)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every observer; what one raises is logged and the others are told all the same."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except Exception:
                _logger.exception("observer %s of plugin %s failed", hook, implementation.plugin_name)

    def _register(self, module: ModuleType, provider: Provider) -> None:
        _refuse_unknown_hooks(module)
        found = [
            (kind, spec)
            for kind in KINDS
            if (hook := getattr(module, f"iclkit_{kind}s", None)) is not None
            for spec in hook()
        ]
        self._manager.register(module, str(provider))
        for kind, spec in found:
            self.registry.add(kind, spec, provider)

    def _quarantine(self, provider: Provider, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        self.registry.quarantined.append(Quarantined(provider=provider, error=line, traceback=text))


def _refuse_unknown_hooks(module: ModuleType) -> None:
    for name in dir(module):
        if not name.startswith("iclkit_") or not hasattr(getattr(module, name), "iclkit_impl"):
            continue
        if not hasattr(hookspecs, name):
            known = ", ".join(hook for hook in dir(hookspecs) if hook.startswith("iclkit_"))
            raise PluginError(f"{name} is not a hook of iclkit; the hooks are: {known}")


def _installed() -> Iterator[tuple[Provider, Any]]:
    allowed, blocked = _names("ICLKIT_PLUGINS"), _names("ICLKIT_DISABLE_PLUGINS") or set()
    seen = set()
    found = list(importlib.metadata.entry_points(group=GROUP))
    for entry in sorted(found, key=lambda entry: (not _is_builtin(entry), entry.name)):
        distribution = entry.dist
        label = f"{distribution.name} {distribution.version}" if distribution else "unknown"
        builtin = _is_builtin(entry)
        if entry.name in blocked or (not builtin and allowed is not None and entry.name not in allowed):
            continue
        provider = Provider(plugin=entry.name, distribution=label, builtin=builtin)
        if (provider, entry.value) not in seen:  # a distribution can be found twice on sys.path
            seen.add((provider, entry.value))
            yield provider, entry.load


def _is_builtin(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == DISTRIBUTION


def _names(variable: str) -> set[str] | None:
    value = os.environ.get(variable)
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def _local(path: Path) -> tuple[Provider, Any]:
    """Make a plugin of a file, importable under its stem so that its `build` strings resolve."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: there is no such file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def load() -> ModuleType:
        present = sys.modules.get(path.stem)
        if present is not None:
            if getattr(present, "__file__", None) != str(path):
                raise PluginError(f"the file's name hides the module {path.stem}: rename the file")
            return present
        hidden = importlib.util.find_spec(path.stem)
        if hidden is not None and (hidden.origin is None or Path(hidden.origin).resolve() != path):
            raise PluginError(f"the file's name hides the module {path.stem}: rename the file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"--plugin {path}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise
        return module

    return Provider(plugin=path.stem, distribution=str(path), digest=digest), load


def load(files: Iterable[str | Path] = ()) -> Plugins:
    """Find the installed plugins and these files. A file that cannot be loaded is an error at once."""
    plugins = Plugins([Path(file) for file in files])
    local = {str(file) for file in plugins.files}
    for broken in plugins.registry.quarantined:
        if broken.provider.distribution in local:
            raise PluginError(f"--plugin {broken.provider.distribution}: {broken.error}")
    for (kind, name), claimants in plugins.registry.conflicts.items():
        if any(claimant.digest for claimant in claimants):
            both = " and ".join(map(str, claimants))
            raise PluginError(f'{kind} "{name}" is claimed by {both}: rename the one in your file')
    return plugins
