"""Metrics and progress: small facts that a running job writes for whoever watches it.

They never stop a training: a file that cannot be written is said once in the log.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time

from . import disk
from .errors import reason
from .manifest import jsonable, utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

log = logging.getLogger("rfsched")
PAUSE_S = 0.25
"""The shortest time between two writes of progress."""


class Metrics:
    """Appends one JSON line per metric to `path`; without a path only remembers the latest values."""

    def __init__(self, path: str | None, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        self._before = b""
        self._said = False
        self.latest: dict[str, float] = {}
        """The value of each metric logged last by this process."""

    def add(self, name: str, value: float, step: int | None = None) -> None:
        """Append `{"name", "value", "step", "at", "attempt"}`; a value that is not finite is the string "nan" or "inf".

        One write each: lines of several processes do not mix. `TypeError` or `ValueError` for what is no number.
        """
        number = float(value)
        self.latest[name] = number
        if self._path is None:
            return
        whole = None if step is None else int(step)
        record = {"name": str(name), "value": jsonable(number), "step": whole, "at": utc(time.time())}
        line = json.dumps({**record, "attempt": self._attempt}).encode() + b"\n"
        try:
            self._append(self._path, line)
        except OSError as error:
            if not self._said:
                log.warning("rfsched: metrics are not recorded: %s: %s", self._path, reason(error))
            self._said = True

    def _append(self, path: str, line: bytes) -> None:
        # Opened each time: the file may be moved away, and a forked process must not share a broken line.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            data = self._before + line
            # A disk filling up may take half a line: the next one then starts with a line break.
            self._before = b"" if os.write(fd, data) == len(data) else b"\n"
        finally:
            os.close(fd)


class Progress:
    """Keeps `{"fraction", "done", "total", "at"}` in the file `path`, replaced whole; without a path does nothing."""

    def __init__(self, path: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next = 0.0
        self._said = False

    def set(self, done: float, total: float | None = None) -> None:
        """Say how far the work is: a fraction from 0 to 1, or `done` of `total` (any unit).

        Costs a microsecond between writes, of which there are at most four a second; the end is always written.
        `ValueError` for what is not a number.
        """
        if math.isnan(done) or (total is not None and math.isnan(total)):
            raise ValueError(f"progress({done}, {total}): not a number")
        now = self._clock()
        finished = done >= (1 if total is None else total)
        if self._path is None or (now < self._next and not finished):
            return
        self._next = now + PAUSE_S
        try:
            disk.replace(self._path, json.dumps(_facts(done, total)).encode())
        except OSError as error:
            if not self._said:
                log.warning("rfsched: progress is not recorded: %s: %s", self._path, reason(error))
            self._said = True


def _facts(done: float, total: float | None) -> dict[str, Any]:
    whole = 1.0 if total is None else total
    fraction = min(max(done / whole, 0.0), 1.0) if whole > 0 and math.isfinite(whole) else None
    counts = {"done": None, "total": None} if total is None else {"done": jsonable(done), "total": jsonable(total)}
    return {"fraction": fraction, **counts, "at": utc(time.time())}
