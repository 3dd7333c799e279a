"""The real clock: the only module that reads the machine's time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock, monotonic clock and boot id of this machine."""

    def __init__(self) -> None:
        self.boot_id = _boot_id()

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back; for spans."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass between two looks at something that cannot be waited for."""
        time.sleep(seconds)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
