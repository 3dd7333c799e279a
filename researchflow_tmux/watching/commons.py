"""What the scheduler process does about the other workspaces of its machine, beside deciding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from researchflow_tmux.adapters.machine_projects import version_of
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.wiring import Parts

Reload = Callable[[dict[str, Any]], dict[str, Any]]


class CommonsWatching:
    """Of one scheduler: notices others' leases, publishes its page, takes over a changed file of the machine."""

    def __init__(self, parts: Parts, engine: Engine, reload: Reload) -> None:
        """`reload` reads the settings again; in its answer `error` says why it did not take them over."""
        self._parts, self._engine, self._reload = parts, engine, reload
        self._version = version_of(parts.environ)
        self._directories: frozenset[str] = frozenset()
        """Where the machine's file is."""
        self._lease_dirs: frozenset[str] = frozenset()

    def sweep(self) -> None:
        """What no notice may have told."""
        self._lease_dirs = self._parts.watch_leases(self._engine.room)
        self._directories = self._parts.watch_commons()
        self._mind_the_file()

    def look(self, wakeup: Wakeup) -> None:
        """What the wait brought."""
        room = self._engine.room
        if wakeup.directories & self._lease_dirs and room.foreign_tickets():
            room.forget()
        if wakeup.directories & self._directories:
            self._mind_the_file()

    def publish(self) -> None:
        """Say how we stand, at most once a second."""
        commons = self._engine.commons
        if commons is not None:
            commons.publish(self._parts.clock.now(), soon=True)

    def _mind_the_file(self) -> None:
        version = version_of(self._parts.environ)
        if version == self._version:
            return
        self._version = version
        error = self._reload({}).get("error")
        if error is not None:
            text = f"the projects of this machine changed, and cannot be taken over: {error}"
            self._engine.notice(text, level="warning")
