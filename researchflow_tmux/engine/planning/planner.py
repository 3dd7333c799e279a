"""A decision by a policy: the walk of `policies.planning` over what the workload holds and what the room admits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice, tee

from researchflow_tmux.domain.events import Payload
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, Allocation, GpuDevice
from researchflow_tmux.engine.decide import Capacity, Start, ask, goes_on
from researchflow_tmux.engine.planning.index import Index, PlanRules
from researchflow_tmux.engine.planning.making_room import Preemption, Room, Saved, Wave, rooms
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.accounts import Accounts, Claims
from researchflow_tmux.policies.planning.classes import Entry
from researchflow_tmux.policies.planning.estimates import Estimator
from researchflow_tmux.policies.planning.floor import Floor, Reservation, Stay
from researchflow_tmux.policies.planning.usage import Kept as KeptUsage
from researchflow_tmux.policies.planning.walk import Facts, Offer, Promise, Walk
from researchflow_tmux.policies.scarcity import NOTHING_KEPT, Kept, kept_for_choosy

MOST_URGENT = 256
"""So far one decision looks into the lane: many times what can start at once. Those behind wait in the usual order."""


CHOOSY = "one that can run on no other GPU"


class Rehearsal:
    """One decision, and why it went past the others."""

    def __init__(self, walk: Walk, facts: Facts) -> None:
        self.walk = walk
        self.facts = facts
        self.starts: list[Start] = []
        self.refusals: dict[Hashable, Reason] = {}
        """What the room said: by job, or by (need, asks) for all that ask for the same."""
        self.answers: list[tuple[Allocation | Reason, bool]] = []
        """What it said of each job that was offered, and whether for that job alone."""
        self.more = False
        """It ended before all was looked at."""
        self.begun: tuple[dict[str, float], list[Stay], int] = ({}, [], 0)
        """What was free and in use before anything started, if somebody wants to know."""


OnDecided = Callable[["Planner", Rehearsal, datetime], None]


class Planner:
    """Orders the queue of one workload by a policy, following its events. To change rules, make a new one."""

    def __init__(
        self,
        workload: Workload,
        rules: PlanRules,
        estimator: Estimator,
        *,
        devices: Sequence[GpuDevice],
        share: float,
        now: datetime,
        kept: KeptUsage | None = None,
        said: Said | None = None,
        claims: Claims | None = None,
    ) -> None:
        """All but the workload may be left to what is usual.

        `kept` = what an earlier scheduler knew of who used how much, `said` = what a plug-in says of the jobs, `claims`
        = who has an account.
        """
        self.workload = workload
        self.rules = rules
        self.index = Index(
            workload,
            rules,
            estimator,
            devices=devices,
            share=share,
            now=now,
            kept=kept,
            said=said,
            claims=claims,
        )
        self.on_decided: OnDecided | None = None
        """Told of each decision with what it went by, right after it."""
        self._promises: dict[int, Promise] = {}
        self._look_at_s: float | None = None
        self._shared: Iterator[Entry] | None = None
        """The lane of the last decision."""
        self._make_room_at_s = float("inf")
        """When to look again whether room has to be made."""
        self._rooms: dict[int, Room] = {}
        """Room that is being made, by the waiting jobs that get it; as of the last floor."""
        self._given: set[int] = set()
        """Waiting jobs for which room was made: they come first in the lane."""

    def see(self, payload: Payload, at: datetime) -> None:
        """One event was applied to the workload."""
        self.index.see(payload, at)

    def jumped(self, by_s: float) -> None:
        """The wall clock went forward by so much at once: a reservation was not put off by that."""
        self._promises = {job: Promise(promise.first_s + by_s) for job, promise in self._promises.items()}
        self.index.jumped(by_s)

    def decide(self, room: Capacity, now: datetime) -> list[Start]:
        """The jobs to start now, in the policy's order, decide again when `goes_on` says so."""
        self._look_at_s = self._shared = None
        floor = self._floor(room, now.timestamp())
        if room.halted is not None or not floor.open:
            return []
        begun = None if self.on_decided is None else floor.copied()
        done = self._decided(floor, room, now)
        if self.on_decided is not None and begun is not None:
            done.begun = begun
            self.on_decided(self, done, now)
        self._remember(done.walk)
        return done.starts

    def urgent(self, now: datetime) -> Iterable[Entry]:
        """The urgent jobs that wait, those first that must start first."""
        now_s = now.timestamp()
        return self._lane(now_s, self.index.loan_gpu_s * self.index.usage.inflation(now_s))

    def open(self, room: Capacity, now: datetime) -> bool:
        """Whether anything at all may start now."""
        return room.halted is None and self._floor(room, now.timestamp()).open

    def make_room(self, room: Capacity, now: datetime, saved: Saved) -> Wave | None:
        """Whom to stop for a job that would miss its deadline; ask after what `decide` started was planned.

        Ask again for another one, once that was carried out.
        """
        self._make_room_at_s = float("inf")
        if not self.rules.policy.urgent or room.halted is not None or not self.index.deadlines:
            return None
        if not any(self.workload.jobs[attempt.job_id].spec.preemptible for attempt in self.workload.attempts.values()):
            return None
        now_s = now.timestamp()
        floor = self._floor(room, now_s)
        look = Preemption(self.index, self.rules.preempt, self.workload, room, now)
        wave = look.wave(self._shared_lane(now_s), floor, self._rooms, saved)
        self._make_room_at_s = look.again_s
        return wave

    def room_for(self, job_id: int) -> Room | None:
        """The room that is being made for a waiting job, as of the last decision."""
        return self._rooms.get(job_id)

    def holders(self, uuids: Collection[str]) -> list[str]:
        """Names of the jobs whose ends open these GPUs: those for which they are kept, else those that run there."""
        jobs = [job for job, room in self._rooms.items() if room.uuids & set(uuids)] or [
            attempt.job_id
            for attempt in self.workload.attempts.values()
            if any(gpu.uuid in uuids for gpu in attempt.allocation.gpus)
        ]
        return [self.workload.jobs[job].name for job in jobs]

    def rehearse(self, room: Capacity, now: datetime) -> Rehearsal:
        """What would be decided now, with everything that was found out on the way. Books it in `room`."""
        return self._decided(self._floor(room, now.timestamp()), room, now, thorough=True)

    def _decided(self, floor: Floor, room: Capacity, now: datetime, *, thorough: bool = False) -> Rehearsal:
        self.index.settle(now)
        facts = self._facts(now.timestamp(), room.accounts, self._kept(floor, room, now.timestamp()), thorough=thorough)
        done = Rehearsal(Walk(self.index.classes, floor, facts), facts)
        self._take(done, room, now)
        return done

    def due_s(self, now: datetime) -> float | None:
        """Seconds until the reservation should have come true, or room has to be made for a job with a deadline.

        If it has not come true, others may pass again.
        """
        due = self._make_room_at_s if self._look_at_s is None else min(self._look_at_s, self._make_room_at_s)
        return None if due == float("inf") else max(due - now.timestamp(), 1.0)

    def _take(self, done: Rehearsal, room: Capacity, now: datetime) -> None:
        walk, starts = done.walk, done.starts
        started: Counter[str] = Counter()
        while (offer := walk.offer()) is not None:
            job = self.workload.jobs[offer.entry.id]
            self._keep_off(room, offer, walk.reserved)
            answer = ask(self.workload, room, job, started, now)
            alone = job.not_before is not None or job.ram_mib is not None
            done.answers.append((answer, alone))
            if isinstance(answer, Allocation):
                starts.append(Start(job, answer, room.accounts.grants.get(job.id)))
                walk.started(offer, [gpu.uuid for gpu in answer.gpus])
                if goes_on(starts, room):  # the user's ranks are those of before this start
                    done.more = True
                    break
            else:
                walk.refused(offer, alone=alone)
                done.refusals[offer.entry.id if alone else (offer.entry.need, offer.entry.asks)] = answer

    def _keep_off(self, room: Capacity, offer: Offer, reserved: Entry | None) -> None:
        name = CHOOSY if reserved is None else self.workload.jobs[reserved.id].name
        kept = {uuid: self.workload.jobs[each.job].name for each in self._rooms.values() for uuid in each.uuids}
        for view in room.views:
            uuid = view.device.uuid
            view.reserved_for = name if uuid in offer.avoid else kept.get(uuid)

    def _floor(self, room: Capacity, now_s: float) -> Floor:
        free: dict[str, float] = {}
        stays = self.index.stays(now_s)
        for view in room.views:
            if view.blocked is not None:
                continue
            left = 1.0 - view.used - view.others
            if view.settles is not None:  # a GPU in its grace period is taken until that is over
                ends = view.settles.until
                stays.append(Stay(view.device.uuid, left, now_s if ends is None else ends.timestamp()))
                left = 0.0
            free[view.device.uuid] = left
        floor = Floor(free, stays, room.cpu_places)
        self._keep_rooms(floor)
        return floor

    def _keep_rooms(self, floor: Floor) -> None:
        """Count the GPUs that are kept for somebody as taken, from now until that job should have ended."""
        entries = self.index.classes.entries
        self._rooms = {job: each for job, each in rooms(self.workload).items() if job in entries}
        self._given = {job for job in self._given if job in entries} | self._rooms.keys()
        for job, each in self._rooms.items():
            floor.take(entries[job].need, each.uuids & floor.free.keys(), each.until_s + entries[job].estimate.p90_s)

    def _facts(self, now_s: float, accounts: Accounts, kept: Kept = NOTHING_KEPT, *, thorough: bool) -> Facts:
        index, usage = self.index, self.index.usage
        inflation = usage.inflation(now_s)
        return Facts(
            policy=self.rules.policy,
            now_s=now_s,
            ratio=usage.ratio,
            price=lambda project: inflation / usage.weight(project),
            lane=self._lane(now_s, index.loan_gpu_s * inflation) if thorough else self._shared_lane(now_s),
            accounts=accounts,
            promises=self._promises,
            aside=self._rooms,
            kept=kept,
            thorough=thorough,
        )

    def _kept(self, floor: Floor, room: Capacity, now_s: float) -> Kept:
        """What choosy jobs have the first choice of."""
        demand = self.index.classes.demand
        if not demand or not room.rules.keep_scarce_gpus:
            return NOTHING_KEPT
        free = [uuid for uuid, left in floor.free.items() if left > SHARE_TOLERANCE]
        kept = kept_for_choosy(free, floor.free.keys(), demand)
        gathered = self._gathered(floor, kept, room, now_s) if kept.scarce else None
        return kept if gathered is None else kept._replace(gathered=gathered.uuids, until_s=gathered.at_s)

    def _gathered(self, floor: Floor, kept: Kept, room: Capacity, now_s: float) -> Reservation | None:
        """The scarce GPUs that the first job which waits for several of them will get."""
        index, fair = self.index, self.rules.policy.fair
        blocked = [
            (index.usage.ratio(project) if fair else 0.0, shelf.keys[0], shelf.need)
            for project, shelves in index.classes.projects.items()
            for shelf in shelves.values()
            if shelf.need.may is not None
            and shelf.need.gpus > 1
            and shelf.need.may & floor.free.keys() <= kept.scarce
            and floor.could_ever_fit(shelf.need)
            and not floor.fits(shelf.need)
            and room.accounts.refuses(index.classes.entries[shelf.keys[0][-1]].claim) is None
        ]
        return floor.reserve(min(blocked, key=lambda each: each[:2])[2], now_s) if blocked else None

    def _shared_lane(self, now_s: float) -> Iterable[Entry]:
        """The lane of this decision, from its beginning: found out once, for what starts and for whom room is made."""
        if self._shared is None:
            self._shared = iter(self._lane(now_s, self.index.loan_gpu_s * self.index.usage.inflation(now_s)))
        mine, self._shared = tee(self._shared)
        return mine

    def _lane(self, now_s: float, loan: float) -> Iterable[Entry]:
        """The urgent jobs of the projects that are not too far ahead: urgent service is a loan."""
        if not self.index.deadlines:
            return ()
        ratios = {project: self.index.usage.ratio(project) for project in self.index.active}
        most = min(ratios.values(), default=0.0) + loan
        ahead = {project for project, ratio in ratios.items() if ratio > most}
        lane = islice(self.index.deadlines.lane(max(self.index.gpus, 1), now_s, without=ahead), MOST_URGENT)
        if not self._given:
            return lane
        first = [self.index.classes.entries[job] for job in sorted(self._given - self._rooms.keys())]
        return chain(first, (entry for entry in lane if entry.id not in self._given))

    def _remember(self, walk: Walk) -> None:
        if walk.reserved is not None and walk.promise is not None and walk.reservation is not None:
            self._promises[walk.reserved.id] = walk.promise
            self._look_at_s = walk.reservation.at_s
        if len(self._promises) > 64:
            self._promises = {key: one for key, one in self._promises.items() if key in self.index.classes.entries}
