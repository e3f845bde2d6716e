"""Names -> specs, for every kind of component. Two claims on one name are an error that names both."""

import difflib
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen

from iclkit import specs
from iclkit.errors import PluginError

KINDS: dict[str, type] = {
    "source": specs.SourceSpec,
    "model": specs.ModelSpec,
    "trainer": specs.TrainerSpec,
    "metric": specs.MetricSpec,
    "executor": specs.ExecutorSpec,
    "figure": specs.FigureSpec,
    "check": specs.CheckSpec,
    "command": specs.CommandSpec,
}


@frozen(kw_only=True)
class Provider:
    """Who provides a spec: the plugin's name and its distribution with version, or the path of a local file."""

    plugin: str
    distribution: str
    builtin: bool = False
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution})"


@frozen(kw_only=True)
class Entry:
    """A spec and who provides it."""

    spec: Any
    provider: Provider


@frozen(kw_only=True)
class Quarantined:
    """A plugin that could not be used, and why."""

    provider: Provider
    error: str
    traceback: str = ""


@define(kw_only=True)
class Registry:
    """All components that are installed, and the plugins that are broken."""

    entries: dict[tuple[str, str], Entry] = field(factory=dict)
    conflicts: dict[tuple[str, str], tuple[Provider, ...]] = field(factory=dict)
    quarantined: list[Quarantined] = field(factory=list)

    def add(self, kind: str, spec: Any, provider: Provider) -> None:
        """Add a spec. A built-in name stays the built-in's; two others that claim one name are both refused."""
        wanted: Any = KINDS[kind]
        if not isinstance(spec, wanted):
            raise PluginError(f"hook iclkit_{kind}s yielded {spec!r}; it must yield {wanted.__name__}")
        key = kind, str(spec.name)
        present = self.entries.get(key)
        if present is None and key not in self.conflicts:
            self.entries[key] = Entry(spec=spec, provider=provider)
            return
        claimants = self.conflicts.get(key) or ((present.provider,) if present else ())
        self.conflicts[key] = (*claimants, provider)
        if present is not None and not present.provider.builtin:
            del self.entries[key]

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted(name for entry_kind, name in self.entries if entry_kind == kind)

    def all(self, kind: str) -> Iterator[Entry]:
        """All entries of one kind, by name."""
        return (self.entries[kind, name] for name in self.names(kind))

    def get(self, kind: str, name: str) -> Entry:
        """Return the entry of a name; raises PluginError if a broken plugin may be why it is missing."""
        entry = self.entries.get((kind, name))
        if entry is not None:
            return entry
        claimants = self.conflicts.get((kind, name))
        if claimants:
            both = " and ".join(map(str, claimants))
            raise PluginError(
                f'{kind} "{name}" is claimed by {both}: uninstall one, or block one by name with ICLKIT_DISABLE_PLUGINS'
            )
        raise KeyError(self.unknown(kind, name))

    def unknown(self, kind: str, name: str) -> str:
        """Say that a name is unknown, what is near it, what there is, and what is broken."""
        names = self.names(kind)
        near = difflib.get_close_matches(name, names, n=1)
        text = f'no {kind} is called "{name}"'
        text += f' (did you mean "{near[0]}"?)' if near else f"; there are: {', '.join(names) or 'none'}"
        text += "; one of your own needs --plugin FILE.py"
        for broken in self.quarantined:
            text += f"; plugin {broken.provider} is broken and may provide it: {broken.error}"
        return text

    def default(self, kind: str) -> Entry | None:
        """The entry that is used where a config names none."""
        return next((entry for entry in self.all(kind) if entry.spec.default), None)
