"""The completion file of the user's script: it counts only if it changed since the launch."""

from __future__ import annotations

import os
import time

from researchflow_tmux.runner import files


class Marker:
    """Watches one marker path against its state when the object was made; without a path it is never there."""

    __slots__ = ("_baseline", "path")

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._baseline = self._state()

    def is_new(self) -> bool:
        """Tell whether a marker is there that differs in inode, time or size from the one at the launch."""
        state = self._state()
        return state is not None and state != self._baseline

    def write(self, title: str, tag: str) -> str:
        """Write the marker on behalf of a script that writes none; return why not, or ""."""
        if self.path is None:
            return ""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            files.replace(self.path, f"{title} completed\nattempt {tag}\nfinished at {at}\n".encode(), 0o666)
        except OSError as error:
            return f"the completion file {self.path} could not be written: {error.strerror}"
        return ""

    def _state(self) -> tuple[int, int, int] | None:
        try:
            entry = os.stat(self.path) if self.path is not None else None
        except OSError:
            return None
        return None if entry is None else (entry.st_ino, entry.st_mtime_ns, entry.st_size)
