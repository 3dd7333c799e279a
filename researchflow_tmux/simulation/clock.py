"""A clock that stands still until it is told to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Time of a simulated machine; it never goes back."""

    def __init__(self, start: datetime = EPOCH, boot_id: str = "simulated") -> None:
        self.boot_id = boot_id
        self._start = start
        self._now = start

    def now(self) -> datetime:
        """Simulated wall-clock time, aware, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the simulation began."""
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> datetime:
        """Let `seconds` go by."""
        return self.advance_to(self._now + timedelta(seconds=seconds))

    def advance_to(self, when: datetime) -> datetime:
        """Go on to `when`; a time in the past changes nothing."""
        self._now = max(self._now, when)
        return self._now

    def reboot(self, boot_id: str) -> None:
        """The machine starts anew, under another boot id."""
        self.boot_id = boot_id
