"""Is a GPU lost, and is it back? Pure: judged from what the driver says of it, reading by reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from researchflow_tmux.domain.resources import GpuReading

LOST_READINGS = 2
"""Readings in a row that say so: a single one is no fact."""
WELL_S = 60.0
"""A lost GPU that reads well for so long is used again; for twice as long after each further loss."""
MAX_WELL_S = 3600.0
FATAL_XIDS = {
    48: "a memory error that could not be corrected",
    62: "its microcontroller halted",
    64: "a faulty memory row could not be replaced",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
    119: "its system processor does not answer",
    120: "its system processor failed",
    140: "a memory error that could not be recovered from",
}
"""Critical errors after which the driver's maker asks for a reset of the GPU or the machine. Others are told only: most
are a job's own doing (13, 31, 43 …)."""


class Verdict(msgspec.Struct, frozen=True):
    """A GPU that is lost from now on, or back."""

    uuid: str
    index: int
    lost: bool
    why: str = ""
    well_until_s: float | None = None
    """Monotonic time of the last reading before that said nothing bad; None = there is none."""


class GpuHealth:
    """Follows the readings of all GPUs."""

    def __init__(self) -> None:
        self._bad: dict[str, int] = {}
        self._last_well_s: dict[str, float] = {}
        self._well_since_s: dict[str, float] = {}

    def see(self, readings: Iterable[GpuReading], at_s: float, losses: Mapping[str, int]) -> list[Verdict]:
        """What follows from one reading of every GPU.

        A GPU that is merely unreadable, or is not mentioned, is neither lost by that nor well.

        Args:
            readings: One of each GPU that the driver lists.
            at_s: The monotonic time at which they were read.
            losses: By UUID, of the GPUs that count as lost now: how often they were lost so far.
        """
        readings = list(readings)
        for uuid in self._well_since_s.keys() - {reading.uuid for reading in readings}:
            del self._well_since_s[uuid]
        verdicts = (self._judge(reading, at_s, losses.get(reading.uuid)) for reading in readings)
        return [verdict for verdict in verdicts if verdict is not None]

    def _judge(self, reading: GpuReading, at_s: float, losses: int | None) -> Verdict | None:
        uuid = reading.uuid
        fatal = next((xid for xid in reading.xids if xid in FATAL_XIDS), None)
        bad = reading.lost or fatal is not None
        self._bad[uuid] = self._bad.get(uuid, 0) + 1 if bad else 0
        if losses is not None:
            return self._back(reading, at_s, losses, well=not bad and reading.error is None)
        if fatal is not None or self._bad[uuid] >= LOST_READINGS:
            why = f"Xid {fatal}: {FATAL_XIDS[fatal]}" if fatal is not None else reading.error or "the driver lost it"
            self._well_since_s.pop(uuid, None)
            return Verdict(uuid, reading.index, lost=True, why=why, well_until_s=self._last_well_s.get(uuid))
        if not bad and reading.error is None:
            self._last_well_s[uuid] = at_s
        return None

    def _back(self, reading: GpuReading, at_s: float, losses: int, *, well: bool) -> Verdict | None:
        uuid = reading.uuid
        if not well:
            self._well_since_s.pop(uuid, None)
            return None
        since_s = self._well_since_s.setdefault(uuid, at_s)
        if at_s - since_s < well_s(losses):
            return None
        del self._well_since_s[uuid]
        self._last_well_s[uuid] = at_s
        return Verdict(uuid, reading.index, lost=False)


def well_s(losses: int) -> float:
    """How long a GPU has to read well after it was lost for the `losses`-th time."""
    return min(WELL_S * 2.0 ** min(max(losses - 1, 0), 30), MAX_WELL_S)


def harmless_xids(reading: GpuReading) -> list[int]:
    """Critical errors that say nothing against the GPU itself."""
    return [xid for xid in reading.xids if xid not in FATAL_XIDS]
