"""What was measured of one GPU, and how much of its memory that leaves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.domain.resources import GpuReading


class GpuLoad(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reading, by whose processes it is. None = unknown."""

    total_mib: int | None = None
    used_mib: int | None = None
    by_holder: dict[str, int] = {}
    """MiB of the processes of each job that can be told; jobs none of whose processes can be seen are not in it."""
    strangers_mib: int = 0
    """MiB of the processes that belong to no job."""
    processes: int | None = None
    util_pct: float | None = None
    """Average over the window."""
    util_known_at: datetime | None = None
    """When it will be known, if readings go on coming."""


class Holder(msgspec.Struct, frozen=True):
    """A job on a GPU: ours, or of another workspace."""

    key: str
    declared_mib: int = 0


def load_of(
    reading: GpuReading | None,
    owners: Mapping[int, str],
    *,
    util_pct: float | None = None,
    util_known_at: datetime | None = None,
) -> GpuLoad:
    """The reading sorted by `owners` (pid → key of the job it belongs to). None or an error = nothing is known."""
    if reading is None or reading.error is not None:
        return GpuLoad()
    by_holder: dict[str, int] = {}
    strangers = 0
    vague = set()
    for process in reading.processes or ():
        holder = owners.get(process.pid)
        if holder is None:
            strangers += process.used_mib or 0
        elif process.used_mib is None:
            vague.add(holder)
        else:
            by_holder[holder] = by_holder.get(holder, 0) + process.used_mib
    return GpuLoad(
        total_mib=reading.total_mib,
        used_mib=reading.used_mib,
        by_holder={holder: used for holder, used in by_holder.items() if holder not in vague},
        strangers_mib=strangers,
        processes=None if reading.processes is None else len(reading.processes),
        util_pct=util_pct,
        util_known_at=util_known_at,
    )


def memory_in_use(load: GpuLoad, holders: Sequence[Holder]) -> int | None:
    """MiB in use or promised; None = unknown. Never less than what is measured.

    Of a job whose use can be seen, the larger of that and what it declared counts. Of the others together, the larger
    of what they declared and the memory that nobody explains: where the driver shows no processes (in a container),
    that is theirs. Memory that nobody explains is the others' where no such job is.
    """
    if load.used_mib is None:
        return None
    seen = sum(load.by_holder.values())
    hidden = max(0, load.used_mib - seen - load.strangers_mib)
    known = {holder.key for holder in holders}
    left_over = sum(used for key, used in load.by_holder.items() if key not in known)  # ended since the reading
    counted = sum(
        max(holder.declared_mib, load.by_holder[holder.key]) for holder in holders if holder.key in load.by_holder
    )
    quiet = [holder.declared_mib for holder in holders if holder.key not in load.by_holder]
    return load.strangers_mib + left_over + counted + (max(sum(quiet), hidden) if quiet else hidden)


def memory_of(load: GpuLoad | None, holders: Iterable[Holder]) -> int:
    """MiB that end with these jobs: of each the larger of what it declared and what can be seen of it."""
    seen = load.by_holder if load is not None else {}
    return sum(max(holder.declared_mib, seen.get(holder.key, 0)) for holder in holders)


def processes_on(load: GpuLoad, holders: Collection[Holder]) -> int | None:
    """Processes on the GPU, with one for each job that has not opened it yet; None = unknown."""
    if load.processes is None:
        return None
    return load.processes + sum(holder.key not in load.by_holder for holder in holders)
