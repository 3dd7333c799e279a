"""From a decision to its record: a snapshot right after it, which is put into words later, off the way of a launch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from researchflow_tmux.domain.decisions import Considered, Decision
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import Allocation
from researchflow_tmux.engine.planning.planner import Planner, Rehearsal
from researchflow_tmux.engine.workload import order_key
from researchflow_tmux.policies.accounts.accounts import Accounts
from researchflow_tmux.policies.planning.walk import Facts, Look, Why

STARTED = "started"
MOST_LOOKS = 5_000
"""Jobs of one decision that are kept: what is behind has a place in the summary only."""
MOST_WAITING = 2_000
"""Decisions that are kept until somebody writes them."""
OWN_FIELDS = frozenset(
    {"policy", "now_s", "ratio", "price", "lane", "accounts", "aside", "kept", "promises", "thorough"}
)
"""Of `Facts`: what a record has elsewhere, or what says nothing about the past. All others are kept as they are."""
_FACTS = tuple(field for field in Facts.__struct_fields__ if field not in OWN_FIELDS)

Answer = Allocation | Reason


class Rough(NamedTuple):
    """What must be noted at once, because it changes with the next event."""

    at: datetime
    waiting: int
    done: Rehearsal
    ratios: dict[str, float]
    prices: dict[str, float]
    facts: dict[str, Any]
    first_s: dict[int, float]
    aside: tuple[int, ...]
    names: Mapping[int, Job]


class QueueRough(NamedTuple):
    """The same of a decision by the queue's own order: jobs with what was answered, in order."""

    at: datetime
    waiting: int
    free: dict[str, float]
    cpu_places: int
    walked: Sequence[tuple[Job, Answer]]
    started: tuple[int, ...]
    more: bool


class Recorder:
    """Notes decisions; what is like the one before and started nothing is left out."""

    def __init__(self) -> None:
        self._rough: list[Rough | QueueRough] = []
        self._last: object = None
        self._places: dict[str, int] = {}

    def see(self, planner: Planner, done: Rehearsal, now: datetime) -> None:
        """A policy decided."""
        walk, facts = done.walk, done.facts
        looks = walk.looks
        if not done.starts:
            like = (facts.policy.name, walk.reservation, [(look.entry.id, look.why) for look in looks])
            if like == self._last:
                return
            self._last = like
        else:
            self._last = None
        projects = {look.entry.project for look in looks}
        promises = facts.promises
        rough = Rough(
            at=now,
            waiting=planner.workload.queue_length,
            done=done,
            ratios={project: facts.ratio(project) for project in projects},
            prices={project: facts.price(project) for project in projects},
            facts={name: _copied(getattr(facts, name)) for name in _FACTS},
            first_s={walk.reserved.id: promises[walk.reserved.id].first_s}
            if walk.reserved is not None and walk.reserved.id in promises
            else {},
            aside=tuple(sorted(facts.aside)),
            names=planner.workload.jobs,
        )
        self._note(rough)

    def see_queue(self, rough: QueueRough) -> None:
        """The queue's own order decided."""
        like = None if rough.started else [(job.id, _code(answer)) for job, answer in rough.walked]
        if like is None or like != self._last:
            self._note(rough)
        self._last = like

    def _note(self, rough: Rough | QueueRough) -> None:
        if len(self._rough) < MOST_WAITING:
            self._rough.append(rough)

    def take(self) -> list[Decision]:
        """The decisions since the last call."""
        rough, self._rough = self._rough, []
        return [self._by_queue(each) if isinstance(each, QueueRough) else self._by_policy(each) for each in rough]

    # -- in words ------------------------------------------------------------------------------------------------------

    def _by_policy(self, rough: Rough) -> Decision:
        done = rough.done
        walk, policy = done.walk, done.facts.policy
        free, stays, cpu_places = done.begun
        self._know(free)
        reservation = walk.reservation
        places = self._places
        return Decision(
            at=rough.at,
            policy=policy.name,
            waiting=rough.waiting,
            free={places[uuid]: part for uuid, part in free.items()},
            cpu_places=cpu_places,
            considered=self._considered(rough),
            overtaken=self._overtaken(rough),
            started=tuple(start.job.id for start in done.starts),
            more=done.more,
            cap_s=policy.cap_s,
            ratios=rough.ratios,
            prices=rough.prices,
            accounts=_accounts(done.facts.accounts, walk.looks),
            aside=rough.aside,
            facts=rough.facts,
            choosy=self._all(done.facts.kept.uuids),
            scarce=self._all(done.facts.kept.scarce),
            gathered=self._all(done.facts.kept.gathered),
            gathered_until_s=done.facts.kept.until_s,
            stays=()
            if reservation is None
            else tuple((places[stay.uuid], stay.share, stay.ends_s) for stay in stays if stay.uuid in free),
            first_s=rough.first_s,
            reserved=None if walk.reserved is None else walk.reserved.id,
            shadow_s=None if reservation is None else reservation.at_s,
            kept=() if reservation is None else self._all(reservation.uuids),
            passed=dict(Counter(why.value for why in walk.passed_classes.values())),
        )

    def _considered(self, rough: Rough) -> tuple[Considered, ...]:
        asks: dict[Hashable, int] = {}
        answers = iter(rough.done.answers)
        found = []
        for look in rough.done.walk.looks[:MOST_LOOKS]:
            answer, alone = next(answers) if look.why is None else (None, False)
            number = asks.setdefault(look.entry.asks, len(asks))
            job = rough.names.get(look.entry.id)  # it may have been cleaned away since
            name = f"job {look.entry.id}" if job is None else job.name
            found.append(self._one(look, name, answer, number, alone=alone))
        return tuple(found)

    def _overtaken(self, rough: Rough) -> Considered | None:
        walk = rough.done.walk
        first = walk.overtaken
        if first is None or any(look.entry is first for look in walk.looks):
            return None
        look = Look(first, early=False, lane=False, why=Why.CAPACITY, avoid=frozenset())
        return self._one(look, "", None, -1, alone=False)

    def _one(self, look: Look, name: str, answer: Answer | None, asks: int, *, alone: bool) -> Considered:
        entry = look.entry
        need, estimate = entry.need, entry.estimate
        got = answer.gpus if isinstance(answer, Allocation) else ()
        return Considered(
            id=entry.id,
            name=name,
            key=entry.key,
            gpus=need.gpus,
            answer=look.why.value if look.why is not None else _code(answer),
            text=answer.text if isinstance(answer, Reason) else "",
            asked=look.why is None,
            on=tuple(gpu.index for gpu in got),
            got=tuple(self._place(gpu.uuid) for gpu in got),
            project=entry.project,
            lane=look.lane,
            early=look.early,
            avoid=self._all(look.avoid),
            alone=alone,
            ready_s=entry.ready_s,
            deadline_s=entry.deadline_s,
            p50_s=estimate.p50_s,
            p80_s=estimate.p80_s,
            p90_s=estimate.p90_s,
            limit_s=estimate.limit_s,
            share=need.share,
            must=self._all(need.must),
            may=None if need.may is None else self._all(need.may),
            groups=tuple(self._all(group) for group in need.groups),
            claim=entry.claim if entry.claim.owners else None,
            asks=asks,
        )

    def _by_queue(self, rough: QueueRough) -> Decision:
        self._know(rough.free)
        considered = []
        for job, answer in rough.walked[:MOST_LOOKS]:
            got = answer.gpus if isinstance(answer, Allocation) else ()
            negative, failed, queued_at, number = order_key(job)
            one = Considered(
                id=job.id,
                name=job.name,
                key=(negative, failed, queued_at.timestamp(), 0.0, number),
                gpus=job.needs.gpus,
                answer=_code(answer),
                text=answer.text if isinstance(answer, Reason) else "",
                asked=True,
                on=tuple(gpu.index for gpu in got),
                got=tuple(self._place(gpu.uuid) for gpu in got),
                project=job.spec.project or "",
                share=got[0].share if got else 1.0,
            )
            considered.append(one)
        return Decision(
            at=rough.at,
            policy="queue",
            waiting=rough.waiting,
            free={self._place(uuid): part for uuid, part in rough.free.items()},
            cpu_places=rough.cpu_places,
            considered=tuple(considered),
            started=rough.started,
            more=rough.more,
        )

    def _know(self, uuids: Iterable[str]) -> None:
        """GPUs go by their place in the order of their UUIDs, so that ties are broken as they were."""
        if not self._places.keys() >= set(uuids):
            known = sorted({*self._places, *uuids})
            self._places = {uuid: place for place, uuid in enumerate(known)}

    def _place(self, uuid: str) -> int:
        return self._places.setdefault(uuid, len(self._places))

    def _all(self, uuids: Iterable[str]) -> tuple[int, ...]:
        return tuple(sorted(map(self._place, uuids))) if uuids else ()


def _code(answer: Answer | None) -> str:
    return answer.code.value if isinstance(answer, Reason) else STARTED


def _accounts(accounts: Accounts, looks: Iterable[Look]) -> dict[str, Any]:
    """What the accounts of those that were looked at allowed before anything started."""
    owners = {owner for look in looks for owner in look.entry.claim.owners}
    if not owners:
        return {}
    return {
        "now": accounts.now,
        "stop_s": accounts.stop_s,
        "bounds": {str(owner): accounts.bounds[owner] for owner in sorted(owners)},
        "uses": {str(owner): accounts.at_first[owner] for owner in sorted(owners) if owner in accounts.at_first},
    }


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else msgspec.to_builtins(value)
