"""When a training should save next."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OVERHEAD = 0.05
"""The largest part of its time that a training stands still for saving."""


class Pace:
    """Counts time and calls since it was last due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._calls = 0
        self._blocked_s = 0.0

    def blocked(self, seconds: float) -> None:
        """Take note of how long a save held up the training: the next is not due before it was worth it."""
        self._blocked_s = seconds

    def due(self, interval_s: float, steps: int, *, busy: bool) -> bool:
        """Tell whether `interval_s` seconds or `steps` calls went by, and nothing is `busy`; 0 is no interval."""
        now = self._clock()
        if self._since is None:
            self._since = now
        self._calls += 1
        passed_s = now - self._since
        is_time = (interval_s > 0 and passed_s >= interval_s) or 0 < steps <= self._calls
        if busy or not is_time or passed_s < self._blocked_s / MAX_OVERHEAD:
            return False
        self._since, self._calls = now, 0
        return True
