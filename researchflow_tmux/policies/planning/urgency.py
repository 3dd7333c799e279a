"""Deadlines: which jobs go into the urgent lane now.

A job is urgent when it can still make its deadline (now + P50 ≤ d) and there is no slack left: d − now < κ·W/G + m·P80,
where W is the work of all jobs that can make it and are due no later. In the lane the earliest latest start, s* =
d − P80, comes first. What cannot make its deadline any more leaves the lane, and its room goes to what can: no overload
domino.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from heapq import heapify, heappop

from researchflow_tmux.policies.planning.classes import Entry

KAPPA = 2.0
MARGIN = 8.0
"""κ and m. Nothing that runs is stopped for a deadline, so what starts now may be in the way for long: with κ = 1 and
m = 2, of 400 small sets of jobs whose deadlines could all be met, 12 % had a miss; with these 4.5 %."""

LEAD = 0.25
"""Part of P80 that room is made for an urgent job before it has to be: it may take longer than believed, too."""

Due = tuple[float, int, float, float, float, float, str]
"""(d, id, g·P50, d − P50, d − m·P80, s*, project) of one job: what every decision looks at, without working it out."""


class Deadlines:
    """The waiting jobs that have a deadline, the earliest first."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._due: list[Due] = []
        self._starts: list[tuple[float, int]] = []
        """(s* less what `preemption` wants before it, id)."""

    def add(self, entry: Entry) -> None:
        """A job waits from now on; one without a deadline does not matter here."""
        if entry.deadline_s is not None:
            self._entries[entry.id] = entry
            insort(self._due, _due(entry, entry.deadline_s))
            insort(self._starts, _start(entry, entry.deadline_s))

    def remove(self, job_id: int) -> None:
        """It waits no longer."""
        entry = self._entries.pop(job_id, None)
        if entry is not None and entry.deadline_s is not None:
            del self._due[bisect_left(self._due, _due(entry, entry.deadline_s))]
            del self._starts[bisect_left(self._starts, _start(entry, entry.deadline_s))]

    def next_start_s(self, after_s: float) -> float | None:
        """The first latest start, with a lead of P80/4, that is after `after_s`; None = there is none."""
        place = bisect_left(self._starts, (after_s, 2**62))
        return self._starts[place][0] if place < len(self._starts) else None

    def __bool__(self) -> bool:
        return bool(self._due)

    def first(self) -> int | None:
        """The job with the earliest deadline; None = none has one."""
        return self._due[0][1] if self._due else None

    def lane(self, gpus: int, now_s: float, without: Collection[str] = ()) -> Iterator[Entry]:
        """The urgent jobs on so many GPUs, but those of some projects, the earliest latest start first.

        Use it before anything changes.
        A decision rarely needs more than the first few: they come off a heap, and the others are not sorted.
        """
        work, part = 0.0, KAPPA / gpus
        urgent: list[tuple[float, int]] = []
        for _, job_id, gpu_s, latest_s, early_s, start_s, project in self._due[bisect_left(self._due, (now_s,)) :]:
            if now_s <= latest_s:  # else it cannot make it, whatever is done
                work += gpu_s
                if early_s - part * work < now_s and project not in without:
                    urgent.append((start_s, job_id))
        heapify(urgent)
        while urgent:
            entry = self._entries.get(heappop(urgent)[1])
            if entry is not None:  # else: it started meanwhile
                yield entry


def feasible(entry: Entry, now_s: float) -> bool:
    """Whether it can still make its deadline, if it starts now; one without a deadline can."""
    return entry.deadline_s is None or now_s + entry.estimate.p50_s <= entry.deadline_s


def passed_back(deadline_s: float, p80_s: float) -> float:
    """The deadline that a job due at `deadline_s` leaves to what it waits for."""
    return deadline_s - p80_s


def _start(entry: Entry, deadline_s: float) -> tuple[float, int]:
    return (deadline_s - entry.estimate.p80_s * (1.0 + LEAD), entry.id)


def _due(entry: Entry, deadline_s: float) -> Due:
    p50_s, p80_s = entry.estimate.p50_s, entry.estimate.p80_s
    early_s, start_s = deadline_s - MARGIN * p80_s, deadline_s - p80_s
    return (deadline_s, entry.id, entry.gpu_s, deadline_s - p50_s, early_s, start_s, entry.project)
