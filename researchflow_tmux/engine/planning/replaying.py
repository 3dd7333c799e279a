"""Makes a recorded decision once more, with the code that decides, and tells where it comes out differently. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import AccountUse, owner_of
from researchflow_tmux.domain.decisions import Considered, Decision
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import SHARE_TOLERANCE
from researchflow_tmux.engine.planning.recording import STARTED
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import NOTHING_ASKED, Accounts, Claim, Claims
from researchflow_tmux.policies.planning.classes import Classes, Entry
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.planning.floor import Floor, Need, Stay
from researchflow_tmux.policies.planning.orders import POLICIES, Policy, ordered_by
from researchflow_tmux.policies.planning.walk import Facts, Offer, Promise, Walk
from researchflow_tmux.policies.scarcity import Kept

_TYPES = {field.name: field.type for field in msgspec.structs.fields(Facts)}


def differences(decision: Decision) -> list[str]:
    """Where the same code, given what is recorded, decides differently now; empty = nowhere.

    What the room said of each job (whether a GPU really admits it) is taken from the record; the order, who is looked
    at, the urgent lane, the reservation with its shadow time, backfill, drain and caps are decided anew.
    """
    again = _by_queue(decision) if decision.policy == "queue" else _by_policy(decision)
    return [*again, *_oversubscribed(decision)]


def _oversubscribed(decision: Decision) -> Iterator[str]:
    """Whatever was decided: no GPU is given away twice."""
    left = dict(decision.free)
    for one in decision.considered:
        for place in one.got:
            left[place] = left.get(place, 0.0) - one.share
            if left[place] < -SHARE_TOLERANCE:
                yield f"{one.name} got GPU place {place}, which had no room left"


# A policy -------------------------------------------------------------------------------------------------------------


def _by_policy(decision: Decision) -> list[str]:
    entries = {one.id: _entry(one) for one in decision.considered}
    classes = Classes()
    for entry in entries.values():
        classes.add(entry)
    if decision.overtaken is not None:
        classes.add(_entry(decision.overtaken))
    floor = Floor(
        {_gpu(place): part for place, part in decision.free.items()},
        [Stay(_gpu(place), share, ends_s) for place, share, ends_s in decision.stays],
        decision.cpu_places,
    )
    lane = [entries[one.id] for one in decision.considered if one.lane]
    facts = _facts(decision, lane)
    walk = Walk(classes, floor, facts)
    return [*_walked(walk, facts.accounts, decision), *_reserved(walk, decision)]


def _facts(decision: Decision, lane: Iterable[Entry]) -> Facts:
    more = {name: msgspec.convert(value, _TYPES[name], strict=False) for name, value in decision.facts.items()}
    return Facts(
        policy=_policy(decision),
        now_s=decision.at.timestamp(),
        ratio=lambda project: decision.ratios.get(project, 0.0),
        price=lambda project: decision.prices.get(project, 0.0),
        lane=lane,
        accounts=_accounts(decision.accounts),
        aside=decision.aside,
        kept=Kept(_gpus(decision.choosy), _gpus(decision.scarce), _gpus(decision.gathered), decision.gathered_until_s),
        promises={number: Promise(first_s) for number, first_s in decision.first_s.items()},
        **more,
    )


class _Kept(msgspec.Struct, frozen=True):
    """The accounts of a record."""

    now: datetime
    stop_s: float
    bounds: dict[str, Bounds]
    uses: dict[str, AccountUse]


def _accounts(kept: dict[str, Any]) -> Accounts:
    if not kept:
        return Accounts()
    found = msgspec.convert(kept, _Kept)
    bounds = {owner_of(name): each for name, each in found.bounds.items()}
    uses = {owner_of(name): each for name, each in found.uses.items()}
    return Accounts(Claims(bounds, stop_s=found.stop_s), now=found.now, uses=uses)


def _policy(decision: Decision) -> Policy:
    known = POLICIES.get(decision.policy) or ordered_by(decision.policy)
    return replace(known, cap_s=decision.cap_s)


def _walked(walk: Walk, accounts: Accounts, decision: Decision) -> Iterator[str]:
    """Offer by offer the same job, and on the way to it the same jobs passed for the same reasons?"""
    for one in decision.considered:
        if not one.asked:
            continue
        offer = walk.offer()
        if offer is None or offer.entry.id != one.id:
            yield f"{one.name} was next, and now {'nobody is' if offer is None else f'job {offer.entry.id} is'}"
            return
        if _places(offer) != one.avoid:
            yield f"{one.name} was to avoid GPU places {one.avoid}, and now {_places(offer)}"
        if one.answer == STARTED:
            if offer.entry.claim.owners:
                accounts.commit(offer.entry.claim)
            walk.started(offer, [_gpu(place) for place in one.got])
        else:
            walk.refused(offer, alone=one.alone)
    if not decision.more and (rest := walk.offer()) is not None:
        yield f"nobody was next any more, and now job {rest.entry.id} is"
    for one, look in zip_longest(decision.considered, walk.looks):
        then = None if one is None else (one.id, one.lane, one.early, None if one.asked else one.answer)
        now = None if look is None else (look.entry.id, look.lane, look.early, look.why and look.why.value)
        if then != now:
            yield f"looked at was {then}, and now {now}"
            return


def _reserved(walk: Walk, decision: Decision) -> Iterator[str]:
    now = None if walk.reserved is None else walk.reserved.id
    if now != decision.reserved:
        yield f"the reservation was job {decision.reserved}'s, and is job {now}'s now"
        return
    at_s = None if walk.reservation is None else walk.reservation.at_s
    if at_s != decision.shadow_s:
        yield f"the shadow time was {decision.shadow_s}, and is {at_s} now"
    kept = () if walk.reservation is None else tuple(sorted(map(int, walk.reservation.uuids)))
    if kept != decision.kept:
        yield f"GPU places {decision.kept} were kept, and {kept} are now"


def _entry(one: Considered) -> Entry:
    estimate = Estimate(p50_s=one.p50_s, p80_s=one.p80_s, p90_s=one.p90_s, limit_s=one.limit_s)
    need = Need(
        one.gpus,
        one.share,
        must=_gpus(one.must),
        may=None if one.may is None else _gpus(one.may),
        groups=tuple(map(_gpus, one.groups)),
    )
    minus_priority, failed, key, uprank, number = one.key
    return Entry(
        id=one.id,
        project=one.project,
        need=need,
        estimate=estimate,
        key=(minus_priority, failed, tuple(key) if isinstance(key, list) else key, uprank, number),
        asks=one.asks,
        claim=NOTHING_ASKED if one.claim is None else msgspec.convert(one.claim, Claim),
        ready_s=one.ready_s,
        deadline_s=one.deadline_s,
    )


def _gpu(place: int) -> str:
    """A name that sorts as the place does."""
    return f"{place:08}"


def _gpus(places: Iterable[int]) -> frozenset[str]:
    return frozenset(map(_gpu, places))


def _places(offer: Offer) -> tuple[int, ...]:
    return tuple(sorted(map(int, offer.avoid)))


# The queue's own order ------------------------------------------------------------------------------------------------


def _by_queue(decision: Decision) -> Iterator[str]:
    """The queue of these jobs, put together anew, has them in the order in which they were looked at."""
    jobs = [_job(one) for one in decision.considered]
    order = [job.id for job in Workload(jobs).queued()]
    if order != [one.id for one in decision.considered]:
        yield f"jobs were looked at in the order {[one.id for one in decision.considered]}, and now in {order}"
    started = tuple(one.id for one in decision.considered if one.answer == STARTED)
    if started != decision.started:
        yield f"jobs {decision.started} started, and the room let {started}"


def _job(one: Considered) -> Job:
    minus_priority, failed, queued_s, *_ = one.key
    spec = JobSpec(
        source="record",
        key=str(one.id),
        name=one.name,
        argv=("true",),
        workdir="/",
        env_digest="",
        priority=-minus_priority,
    )
    return Job(
        id=one.id,
        spec=spec,
        slug=str(one.id),
        state=JobState.QUEUED,
        queued_at=datetime.fromtimestamp(queued_s, UTC),
        retries_used=int(failed),
    )
