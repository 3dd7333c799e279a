"""Why each waiting job waits under a policy, from the very walk that decides."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation
from researchflow_tmux.domain.units import counted
from researchflow_tmux.engine.decide import Capacity, fit, gate
from researchflow_tmux.engine.planning.making_room import Room
from researchflow_tmux.engine.planning.planner import CHOOSY, Planner, Rehearsal
from researchflow_tmux.policies.planning.classes import Entry, JobKey, class_of
from researchflow_tmux.policies.planning.orders import DAY_S
from researchflow_tmux.policies.planning.urgency import feasible
from researchflow_tmux.policies.planning.walk import Why

SHOWN = 3
FEW = 100
"""For more jobs than these it pays to sort a whole line once."""
GPU_HOUR_S = 3600.0


def explain(
    planner: Planner, room: Capacity, now: datetime, most: int | None = None, only: Collection[int] | None = None
) -> dict[int, Reason]:
    """Why each queued job (the first `most`, or `only` these) is not running, by id; `NEXT` = it would start now."""
    if only is None:
        return dict(islice(_Explaining(planner, room, now, many=most is None).reasons(planner.workload.queued()), most))
    jobs = (planner.workload.jobs[job_id] for job_id in only if job_id in planner.workload.jobs)
    waiting = (job for job in jobs if job.state is JobState.QUEUED)
    return dict(_Explaining(planner, room, now, many=len(only) > FEW).reasons(waiting))


class _Explaining:
    """One decision, looked at from the side of each job."""

    def __init__(self, planner: Planner, room: Capacity, now: datetime, *, many: bool) -> None:
        self._planner = planner
        self._room = room
        self._now = now
        self._done: Rehearsal = planner.rehearse(room, now)
        self._many = many
        self._lines: dict[str, list[list[JobKey]]] = {}
        self._unfit: dict[Hashable, Allocation | Reason] = {}
        """What the GPUs as they are say to jobs that cannot run on all, by what they ask for."""
        self._started = {start.job.id for start in self._done.starts}

    def reasons(self, jobs: Iterable[Job]) -> Iterator[tuple[int, Reason]]:
        """Of each one."""
        for job in jobs:
            yield job.id, self._reason(job)

    def _reason(self, job: Job) -> Reason:
        if job.id in self._started:
            return Reason(code=ReasonCode.NEXT)
        waits = gate(self._planner.workload, self._room, job, self._now)
        entry = self._planner.index.classes.entries.get(job.id)
        if waits is not None or entry is None:
            return waits or self._unspoken(job)
        made = self._planner.room_for(job.id)
        if made is not None:
            return self._made_room(made)
        refused = self._done.refusals.get(entry.id) or self._done.refusals.get((entry.need, entry.asks))
        return self._late(entry, refused or self._passed(entry))

    def _unspoken(self, job: Job) -> Reason:
        """Why the plug-in keeps it: it said so, or was not asked yet."""
        said, name = self._planner.index.said, self._planner.rules.policy.name
        if said is None:
            return Reason(code=ReasonCode.NEXT)
        refused = said.refused.get(job.id)
        if refused is None:
            return Reason(code=ReasonCode.BEHIND, text=f"policy {name} is asked when something may start")
        return Reason(code=ReasonCode.REFUSED, text=refused)

    def _made_room(self, made: Room) -> Reason:
        """Others stop for it."""
        names = [self._planner.workload.jobs[job_id].name for job_id in made.victims]
        until = datetime.fromtimestamp(made.until_s, UTC)
        verb = "saves itself and stops" if len(names) == 1 else "save themselves and stop"
        text = f"{', '.join(names)} {verb} (until {until.astimezone():%H:%M:%S} at the latest)"
        return Reason(code=ReasonCode.MAKING_ROOM, text=text, until=until)

    def _passed(self, entry: Entry) -> Reason:
        walk = self._done.walk
        if walk.reserved is entry:
            return self._reserved(entry)
        match walk.passed.get(entry.id) or walk.passed_classes.get(class_of(entry)):
            case Why.WOULD_DELAY:
                return Reason(code=ReasonCode.WOULD_DELAY, text=self._first())
            case Why.DRAIN:
                most = f"{self._planner.rules.policy.cap_s / DAY_S:.3g} d"
                return Reason(code=ReasonCode.DRAIN, text=f"{self._first()}, which was put off by more than {most}")
            case Why.KEPT:
                return Reason(code=ReasonCode.RESERVED, text=CHOOSY)
            case _:
                return self._no_room(entry) or self._behind(entry)

    def _no_room(self, entry: Entry) -> Reason | None:
        """Why the room has no place for it, apart from those who are before it."""
        if entry.need.gpus == 0:
            return Reason(code=ReasonCode.CPU_FULL)
        floor, need = self._done.walk.floor, entry.need
        hopeless = not floor.could_ever_fit(need)
        choosy = need.may is not None or bool(need.groups)
        if not hopeless and (not choosy or floor.fits(need)):
            return None
        alike = (need, entry.asks)
        if alike not in self._unfit:
            for view in self._room.views:
                view.reserved_for = None
            self._unfit[alike] = fit(self._room, self._planner.workload.jobs[entry.id])
        answer = self._unfit[alike]
        found = isinstance(answer, Reason) and (hopeless or answer.code is ReasonCode.NO_HARDWARE)
        return answer if found and isinstance(answer, Reason) else None

    def _first(self) -> str:
        """The job that has the reservation, or that nothing may pass."""
        reserved = self._done.walk.reserved
        return "" if reserved is None else self._planner.workload.jobs[reserved.id].name

    def _reserved(self, entry: Entry) -> Reason:
        found = self._done.walk.reservation
        kind = str(self._planner.workload.jobs[entry.id].needs.hardware)
        needed = counted(entry.need.gpus, "GPU") + (f" ({kind})" if kind else "")
        if found is None:
            return Reason(code=ReasonCode.FIRST, text=f"{needed} needed, and nothing passes it")
        at = datetime.fromtimestamp(found.at_s, UTC)
        holders = self._planner.holders(found.uuids)
        more = f" and {len(holders) - SHOWN} more" if len(holders) > SHOWN else ""
        ends = f", when {', '.join(holders[:SHOWN])}{more} should have ended" if holders else ""
        return Reason(code=ReasonCode.FIRST, text=f"{needed} from about {at.astimezone():%b %d %H:%M}{ends}", until=at)

    def _behind(self, entry: Entry) -> Reason:
        index = self._planner.index
        place = f"number {self._place(entry)}"
        if not self._planner.rules.policy.fair or len(index.classes.projects) < 2:
            return Reason(code=ReasonCode.BEHIND, text=place)
        used = index.usage.used(entry.project, self._now.timestamp()) / GPU_HOUR_S
        weight = index.usage.weight(entry.project)
        project = f"of project {entry.project}" if entry.project else "of those of no project"
        had = f"{used:.3g} GPU-hours lately (its running jobs to their end)"
        text = f"{place} {project}, which had {had} at weight {weight:g}"
        return Reason(code=ReasonCode.BEHIND, text=text)

    def _late(self, entry: Entry, reason: Reason) -> Reason:
        if entry.deadline_s is None or feasible(entry, self._now.timestamp()):
            return reason
        text = f"{reason}; it would take {entry.estimate.p50_s / GPU_HOUR_S:.3g} h"
        return Reason(code=ReasonCode.DEADLINE, text=text, until=reason.until)

    def _place(self, entry: Entry) -> int:
        """Its place among those that could start: within its project if projects take turns, else among all."""
        line = entry.project if self._planner.rules.policy.fair else ""
        return sum(bisect_left(keys, entry.key) for keys in self._sorted(line)) + 1 - self._started_before(entry)

    def _started_before(self, entry: Entry) -> int:
        fair = self._planner.rules.policy.fair
        entries = (self._planner.index.classes.entries[number] for number in self._started)
        return sum(one.key < entry.key and (not fair or one.project == entry.project) for one in entries)

    def _sorted(self, line: str) -> list[list[JobKey]]:
        """The keys of all in a line: class by class as they are, or put into one list if many will ask."""
        found = self._lines.get(line)
        if found is None:
            classes = self._planner.index.classes
            shelves = classes.projects[line].values() if self._planner.rules.policy.fair else classes.shelves()
            found = [shelf.keys for shelf in shelves]
            if self._many:
                found = [sorted(chain.from_iterable(found))]
            self._lines[line] = found
        return found
