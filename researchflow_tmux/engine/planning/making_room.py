"""Which running jobs make room for one with a deadline, over the attempts of a workload; see `planning.preemption`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from researchflow_tmux.domain.attempt import Attempt, Stopping
from researchflow_tmux.domain.attempt import Running as RunningPhase
from researchflow_tmux.engine.by_hand import KILL_SLACK_S
from researchflow_tmux.engine.decide import Capacity, gate
from researchflow_tmux.engine.planning.index import Index, project_of
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning import preemption
from researchflow_tmux.policies.planning.classes import Entry
from researchflow_tmux.policies.planning.floor import Floor
from researchflow_tmux.policies.planning.preemption import PreemptRules, Running

Saved = Callable[[Attempt], datetime | None]
"""When the last checkpoint of an attempt was saved; None = none is known."""
MOST_LOOKED_AT = 64
"""So far one decision looks into the lane for jobs to make room for."""
MOST_BLOCKED = 8
"""So many urgent jobs are looked at in one decision whose room comes too late, by the expected ends."""


class Room(NamedTuple):
    """Room that is being made for a job."""

    job: int
    uuids: frozenset[str]
    """GPUs that are kept for it."""
    victims: tuple[int, ...]
    """Jobs that have been told to end, and have not yet."""
    until_s: float
    """They will have ended by then."""


class Wave(NamedTuple):
    """Stop these to make room for that one."""

    urgent: int
    victims: tuple[int, ...]
    keeps: tuple[str, ...]


def rooms(workload: Workload) -> dict[int, Room]:
    """The room that is being made now, by job: it stands in the attempts that end for it, so no crash forgets it."""
    found: dict[int, Room] = {}
    for attempt in workload.attempts.values():
        phase = attempt.phase
        if not isinstance(phase, Stopping) or phase.room_for is None:
            continue
        ends_s = phase.kill_at.timestamp() - KILL_SLACK_S
        before = found.get(phase.room_for, Room(phase.room_for, frozenset(), (), ends_s))
        found[phase.room_for] = Room(
            phase.room_for,
            before.uuids.union(phase.keeps),
            (*before.victims, attempt.job_id),
            max(before.until_s, ends_s),
        )
    return found


class Preemption:
    """One look for room that has to be made now."""

    def __init__(self, index: Index, rules: PreemptRules, workload: Workload, room: Capacity, now: datetime) -> None:
        self._index = index
        self._rules = rules
        self._workload = workload
        self._room = room
        self._now = now
        self._now_s = now.timestamp()
        self.again_s = float("inf")
        """When to look again, though nothing happened."""

    def wave(self, lane: Iterable[Entry], floor: Floor, aside: Mapping[int, Room], saved: Saved) -> Wave | None:
        """What to stop for the first of `lane` that needs it now; `floor` = after all starts of this decision."""
        self.again_s = self._next_begin_s()
        running: list[Running] | None = None
        for entry in self._blocked(islice(lane, MOST_LOOKED_AT), floor, aside):
            running = list(self._running()) if running is None else running
            found = self._for(entry, floor, running, saved)
            if found is not None:
                return found
        return None

    def _blocked(self, lane: Iterable[Entry], floor: Floor, aside: Mapping[int, Room]) -> Iterator[Entry]:
        """The urgent jobs that only need room, would get it too late, and can wait no longer."""
        looked = 0
        for entry in lane:
            waits = entry.id in self._index.classes.entries and entry.id not in aside and entry.need.gpus > 0
            if not waits or self._now_s < preemption.must_begin_s(entry, self._rules):
                continue
            if not preemption.would_make_it(entry, self._rules, self._now_s) or not self._only_room(entry, floor):
                continue
            reservation = floor.reserve(entry.need, self._now_s)
            if preemption.comes_too_late(entry, None if reservation is None else reservation.at_s):
                yield entry
            looked += 1
            if looked == MOST_BLOCKED:
                return

    def _only_room(self, entry: Entry, floor: Floor) -> bool:
        """Whether nothing else keeps it."""
        if floor.fits(entry.need) or not floor.could_ever_fit(entry.need):
            return False
        return gate(self._workload, self._room, self._workload.jobs[entry.id], self._now) is None

    def _for(self, entry: Entry, floor: Floor, running: list[Running], saved: Saved) -> Wave | None:
        able = [one for one in running if preemption.may_be_stopped(one, self._rules, self._now_s)]
        if len(able) < len(running):
            freed_s = (preemption.protected_until_s(one, self._rules) for one in running)
            self.again_s = min(self.again_s, *(at_s for at_s in freed_s if at_s > self._now_s), float("inf"))
        index, free = self._index, self._free_for(entry, floor)
        left = preemption.spare(self._has(), index.usage.weight, index.active, entry.project)
        victims = preemption.choose(entry.need, free, able, left, lambda one: self._cost_gpu_s(one, saved))
        if not victims:
            return None
        kept = preemption.keeps(entry.need, free, victims)
        return Wave(entry.id, tuple(each.running.job for each in victims), tuple(sorted(kept)))

    def _has(self) -> Counter[str]:
        """GPUs that each project has; those that are being made free count for whom they are kept."""
        has: Counter[str] = Counter()
        for attempt in self._workload.attempts.values():
            phase = attempt.phase
            heir = phase.room_for if isinstance(phase, Stopping) else None
            job = self._workload.jobs.get(attempt.job_id if heir is None else heir)
            has["" if job is None else project_of(job)] += len(attempt.allocation.gpus)
        return has

    def _cost_gpu_s(self, one: Running, saved: Saved) -> float:
        attempt = self._workload.live_attempt(one.job)
        at = None if attempt is None else saved(attempt)
        return preemption.cost_of(one, None if at is None else at.timestamp(), self._now_s)

    def _free_for(self, entry: Entry, floor: Floor) -> dict[str, float]:
        """What is free on the GPUs that are large enough for it."""
        wanted_mib = self._workload.jobs[entry.id].needs.gpu_memory_mib or 0
        small = {
            view.device.uuid
            for view in self._room.views
            if view.device.total_mib is not None and view.device.total_mib < wanted_mib
        }
        return {uuid: part for uuid, part in floor.free.items() if uuid not in small}

    def _running(self) -> Iterator[Running]:
        """The jobs that may be stopped at all."""
        for attempt in self._workload.attempts.values():
            job = self._workload.jobs[attempt.job_id]
            gpus = attempt.allocation.gpus
            if not job.spec.preemptible or not isinstance(attempt.phase, RunningPhase) or not gpus or not gpus[0].share:
                continue
            yield Running(
                job=job.id,
                project=project_of(job),
                gpus=frozenset(gpu.uuid for gpu in gpus),
                share=gpus[0].share,
                started_s=attempt.phase.started_at.timestamp(),
                times=job.preemptions,
                estimate=self._index.estimate(job),
                deadline_s=self._index.due_s(job),
            )

    def _next_begin_s(self) -> float:
        grace_s = self._rules.grace_s
        next_s = self._index.deadlines.next_start_s(self._now_s + grace_s)
        return float("inf") if next_s is None else next_s - grace_s
