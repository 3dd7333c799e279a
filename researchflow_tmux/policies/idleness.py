"""Which GPUs have had nothing to do for a while. Pure: time is what the caller says."""

from __future__ import annotations

from collections.abc import Collection


class IdleGpus:
    """Follows which GPUs are free, and tells each one once when it has been so for long enough.

    Everything begins anew with a new scheduler: what nobody watched was not seen idle.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def see(self, free: Collection[str], now_s: float, after_s: float | None) -> dict[str, float]:
        """Note which GPUs are free now; return those that have just become idle, with the seconds since when.

        Args:
            free: UUIDs of the GPUs that could be used and have no job.
            now_s: A monotonic time.
            after_s: What counts as idle; None = nothing does.
        """
        self._since = {uuid: self._since.get(uuid, now_s) for uuid in free}
        self._told &= self._since.keys()
        if after_s is None:
            return {}
        idle = {uuid: now_s - since for uuid, since in self._since.items() if now_s - since >= after_s}
        new = {uuid: idle_s for uuid, idle_s in idle.items() if uuid not in self._told}
        self._told |= new.keys()
        return new

    def due_s(self, now_s: float, after_s: float | None) -> float:
        """Seconds until a free GPU becomes idle if nothing happens; infinity = none will."""
        if after_s is None:
            return float("inf")
        waiting = (since for uuid, since in self._since.items() if uuid not in self._told)
        return max(min(waiting, default=float("inf")) + after_s - now_s, 0.0)
