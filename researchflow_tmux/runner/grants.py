"""How long an attempt may run by the budgets that it is charged to: in the spec, and later in `ATTEMPT_DIR/grant`.

The file is written by a scheduler that granted more, or less. Without it, and without any scheduler, what the spec says
holds: the runner begins to end its job so early that everything is over before the grant is.
"""

from __future__ import annotations

import os
import time

from researchflow_tmux.runner import files, jsontext, kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SAVE_S = 5.0
REAP_S = 2.0
"""For the last signal, for collecting what it ends, and for the record."""
_MOST = 1e15


def save_s(grace_s: float) -> float:
    """Return how long a job that is to go on later may take to save itself before it is told to end."""
    return min(grace_s / 2, SAVE_S)


def stop_s(grace_s: float) -> float:
    """Return how long it takes at most to stop a job: to save, between the polite signal and the last one, to reap."""
    return save_s(grace_s) + grace_s + REAP_S


def write(attempt_dir: str, grant: dict[str, Any] | None) -> None:
    """Let the runner have this grant from its next look on (send SIGWINCH); atomic. None = no budget limits it."""
    files.replace(os.path.join(attempt_dir, "grant"), jsontext.dumps({"grant": grant}).encode())


class Grant:
    """What the attempt may use: `seconds` from the moment of the grant on; None = no budget limits it.

    That moment is `since_s` by the monotonic clock of the boot `boot_id`, and `at` by the clock on the wall.
    """

    def __init__(self, attempt_dir: str, granted: dict[str, Any] | None, grace_s: float) -> None:
        self._dir = attempt_dir
        self._stop_s = stop_s(grace_s)
        self._seconds: float | None = None if granted is None else 0.0  # also if it turns out to say nothing
        self._since: tuple[float, float] | None = None
        self._began = 0.0  # monotonic: the clock on the wall may be set while the job runs
        self._take(granted)
        self.look()

    def look(self) -> None:
        """Read again what is granted; what cannot be read changes nothing."""
        content = jsontext.load_dict(files.read(os.path.join(self._dir, "grant")) or b"")
        if content is not None and "grant" in content:
            self._take(content["grant"])

    def stop_at(self) -> float | None:
        """Return when the job must be told to end, by the monotonic clock; None = never."""
        return None if self._seconds is None else self._began + self._seconds - self._stop_s

    def used_up(self) -> bool:
        """Tell whether there is no time left to run anything."""
        stop_at = self.stop_at()
        return stop_at is not None and stop_at <= time.monotonic()

    def _take(self, granted: Any) -> None:
        if granted is None:
            self._seconds = None
            return
        if not isinstance(granted, dict):
            return
        values: list[Any] = [granted.get(name) for name in ("seconds", "at", "since_s")]
        if not all(isinstance(value, int | float) and abs(value) < _MOST for value in values):
            return  # among others NaN, and what is infinite
        seconds, at, since_s = values
        if (at, since_s) != self._since:
            self._since = (at, since_s)
            same_boot = granted.get("boot_id") == kernel.boot_id()
            self._began = since_s if same_boot else time.monotonic() - max(time.time() - at, 0.0)
        self._seconds = float(seconds)
