"""Waiting jobs and walks over them, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from researchflow_tmux.policies.accounts.accounts import NO_ACCOUNTS, NOTHING_ASKED, Accounts, Claim
from researchflow_tmux.policies.planning.classes import Classes, Entry
from researchflow_tmux.policies.planning.estimates import Estimate, certain
from researchflow_tmux.policies.planning.floor import Floor, Need, Stay
from researchflow_tmux.policies.planning.orders import POLICIES, Policy, work_of
from researchflow_tmux.policies.planning.walk import Facts, Promise, Walk, Why
from researchflow_tmux.policies.scarcity import NOTHING_KEPT, Kept

HOUR = 3600.0
DAY = 86_400.0


def entry(
    number: int,
    gpus: int = 1,
    takes_s: float = HOUR,
    *,
    ready_s: float = 0.0,
    project: str = "",
    priority: int = 0,
    limit_s: float | None = None,
    deadline_s: float | None = None,
    estimate: Estimate | None = None,
    policy: Policy = POLICIES["balanced"],
    need: Need | None = None,
    claim: Claim = NOTHING_ASKED,
) -> Entry:
    known = estimate or certain(takes_s, limit_s)
    key = policy.key(ready_s, work_of(gpus, known), policy)
    return Entry(
        id=number,
        project=project,
        need=need or Need(gpus),
        estimate=known,
        key=(-priority, False, key, 0.0, number),
        ready_s=ready_s,
        deadline_s=deadline_s,
        claim=claim,
    )


def classes(*entries: Entry) -> Classes:
    made = Classes()
    for one in entries:
        made.add(one)
    return made


def floor(gpus: int, *busy_until_s: float, cpu_places: int = 0) -> Floor:
    """So many GPUs, of which the first ones are taken until those times."""
    names = [f"g{index}" for index in range(gpus)]
    taken = dict(zip(names, busy_until_s, strict=False))
    free = {name: 0.0 if name in taken else 1.0 for name in names}
    return Floor(free, [Stay(name, 1.0, ends_s) for name, ends_s in taken.items()], cpu_places)


class Outcome:
    """What a walk came to, when every offer was taken."""

    def __init__(self, walk: Walk, room: Floor, accounts: Accounts) -> None:
        self.walk = walk
        self.started: list[int] = []
        self.avoided: dict[int, frozenset[str]] = {}
        while (offer := walk.offer()) is not None:
            assert len(self.started) < 1000
            self.started.append(offer.entry.id)
            self.avoided[offer.entry.id] = offer.avoid
            may = offer.entry.need.may
            able = [uuid for uuid, free in room._free.items() if free > 0.5 and uuid not in offer.avoid]
            able = [uuid for uuid in able if may is None or uuid in may]
            assert len(able) >= offer.entry.need.gpus, "an offer fits"
            if offer.entry.claim.owners:
                accounts.commit(offer.entry.claim)
            walk.started(offer, able[: offer.entry.need.gpus])

    @property
    def reserved(self) -> int | None:
        return None if self.walk.reserved is None else self.walk.reserved.id

    def why(self, one: Entry) -> Why | None:
        from researchflow_tmux.policies.planning.classes import class_of

        return self.walk.passed.get(one.id) or self.walk.passed_classes.get(class_of(one))


def walk(
    waiting: Sequence[Entry],
    room: Floor,
    *,
    policy: Policy = POLICIES["balanced"],
    ratios: Mapping[str, float] | None = None,
    accounts: Accounts = NO_ACCOUNTS,
    lane: Sequence[Entry] = (),
    promises: Mapping[int, Promise] | None = None,
    kept: Kept = NOTHING_KEPT,
) -> Outcome:
    facts = Facts(
        policy=policy,
        now_s=0.0,
        ratio=lambda project: (ratios or {}).get(project, 0.0),
        price=lambda _project: 1.0,
        accounts=accounts,
        lane=lane,
        promises=promises or {},
        kept=kept,
    )
    return Outcome(Walk(classes(*waiting), room, facts), room, accounts)
