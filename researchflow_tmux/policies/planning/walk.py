"""The start loop: walk the classes in the policy's order, start what fits, keep room for the first that does not.

A walk changes nothing but itself: it reads the classes from the front, counts what it hands out, and is thrown away.
What really started is told to `classes` and `usage` by the events of the engine. So the same walk answers "why".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

import msgspec

from researchflow_tmux.policies.accounts.accounts import NO_ACCOUNTS, Accounts, Claim
from researchflow_tmux.policies.planning.classes import Classes, ClassKey, Entry, Shelf, class_of, least_s
from researchflow_tmux.policies.planning.floor import NOTHING, Floor, Need, Reservation
from researchflow_tmux.policies.planning.frontier import Frontier
from researchflow_tmux.policies.planning.orders import Policy
from researchflow_tmux.policies.scarcity import NOTHING_KEPT, Kept

WIDE = 0.5
"""A job is wide if it needs several GPUs and more than this part of all: no two of them run side by side."""
MOST_REFUSED = 64
"""Single jobs of classes with shorter ones that the accounts may refuse; after that the whole class is left out."""


class Why(Enum):
    """Why the walk went past a job or a whole class."""

    CAP = "cap"
    """By the accounts: a cap, or a budget."""
    CAPACITY = "capacity"
    RESERVED = "reserved"
    WOULD_DELAY = "would_delay"
    DRAIN = "drain"
    KEPT = "kept"


class Promise(msgspec.Struct, frozen=True):
    """The reservation of one job from decision to decision."""

    first_s: float
    """When it was first expected to start."""


class Offer(NamedTuple):
    """This job next, if a GPU admits it."""

    entry: Entry
    avoid: frozenset[str]
    """Not on these GPUs: it would delay the job that has them reserved."""


class Look(NamedTuple):
    """One job that a walk looked at."""

    entry: Entry
    early: bool
    """Before its turn."""
    lane: bool
    """In the urgent lane."""
    why: Why | None
    """Why it was gone past; None = it was offered."""
    avoid: frozenset[str]


class Facts(msgspec.Struct, kw_only=True):
    """What a walk goes by, besides the classes and the floor."""

    policy: Policy
    now_s: float
    ratio: Callable[[str], float] = lambda _project: 0.0
    """U_p/w_p on the inflated clock."""
    price: Callable[[str], float] = lambda _project: 0.0
    """What one more GPU-second adds to that."""
    lane: Iterable[Entry] = ()
    """The urgent jobs, in their order; read as far as needed."""
    accounts: Accounts = NO_ACCOUNTS
    """What projects and users may have. What starts is booked there by whoever starts it."""
    promises: Mapping[int, Promise] = {}
    """Of earlier decisions, by job."""
    aside: Collection[int] = ()
    """Jobs for which GPUs are kept that are not free yet: they have had their turn."""
    kept: Kept = NOTHING_KEPT
    """GPUs of which jobs that cannot run on any other have the first choice."""
    thorough: bool = False
    """Go past every job even if there is no room at all: somebody wants to know why."""


class Walk:
    """One decision. Ask `offer`, and tell `started` or `refused`, until there is no offer."""

    def __init__(self, classes: Classes, floor: Floor, facts: Facts) -> None:
        self._entries = classes.entries
        self._shelves = classes.projects
        self.floor = floor
        self._it = facts
        self._charged: dict[str, float] = {}
        """What projects were charged for starts of this decision."""
        self._lane = iter(facts.lane)
        self._urgent = next(self._lane, None)
        self._wide = facts.policy.gathers
        """Whether a wide job may still go before its turn: there is room for one at most."""
        self._done: set[int] = set(facts.aside)
        """Jobs that were dealt with before their turn: their class comes to them once more."""
        self._refusals = 0
        """Single jobs that the accounts refused."""
        self._refused: set[Hashable] = set()
        self.reserved: Entry | None = None
        self.reservation: Reservation | None = None
        self.promise: Promise | None = None
        self._open = facts.thorough or floor.open
        """Something may still start: there is room, and the policy lets others pass."""
        self.overtaken: Entry | None = None
        """Whose turn it was when a wide job went before its turn."""
        self.looks: list[Look] = []
        """All jobs that were looked at, in that order."""
        self._chosen = False
        """Choosy jobs have chosen."""
        self._kept = facts.kept if facts.policy.backfills else NOTHING_KEPT
        self.passed: dict[int, Why] = {}
        """Single jobs the walk went past."""
        self.passed_classes: dict[ClassKey, Why] = {}
        """Classes it went past, from where it stood in them on."""
        self._frontier = Frontier(classes.projects, self._ratio, self._affordable if facts.accounts else None)

    def offer(self) -> Offer | None:
        """The next job that counting lets start; None = there is none."""
        while self._open and ((found := self._head()) is not None or self._once_more()):
            if found is None:
                continue
            entry, early = found
            why, avoid = self._judge(entry)
            self.looks.append(Look(entry, early, entry is self._urgent, why, avoid))
            if why is None:
                return Offer(entry, avoid)
            self._pass(entry, why, early=early)
        return None

    def started(self, offer: Offer, uuids: Collection[str]) -> None:
        """It got these GPUs."""
        entry = offer.entry
        self._done.add(entry.id)
        self.floor.take(entry.need, uuids, self._it.now_s + entry.estimate.total_s(0.0))
        self._open = self._it.thorough or self.floor.open
        self._step(entry)
        if entry.claim.owners and self._it.accounts.longest_s(entry.claim.purse) < entry.claim.least_s:
            self._frontier.keep(self._affordable)
        if self._it.policy.fair:
            charge = entry.gpu_s * self._it.price(entry.project)
            self._charged[entry.project] = self._charged.get(entry.project, 0.0) + charge
            self._frontier.charge(entry.project, charge)

    def refused(self, offer: Offer, *, alone: bool) -> None:
        """It may not start; `alone` = something of its own is in the way, else of all that ask for the same."""
        entry = offer.entry
        if offer.avoid & self._kept.uuids:  # it may have what choosy jobs leave
            self._pass(entry, Why.KEPT, early=alone or self._frontier.head != entry.id)
            return
        self._step(entry)
        if not alone:
            asked = (entry.need, entry.asks)
            self._refused.add(asked)
            self._frontier.keep(lambda shelf: shelf.key[1:3] != asked)

    def _ratio(self, project: str) -> float:
        return self._it.ratio(project) + self._charged.get(project, 0.0) if self._it.policy.fair else 0.0

    def _once_more(self) -> bool:
        """Choosy jobs have chosen: what they left is for those that were kept off it. False = nobody was."""
        kept_off = {key for key, why in self.passed_classes.items() if why is Why.KEPT}
        singles = {job_id for job_id, why in self.passed.items() if why is Why.KEPT}
        again, self._chosen = self._chosen, True
        self._kept = self._kept._replace(uuids=NOTHING)
        if again or (not kept_off and not singles):
            return False
        for key in kept_off:
            del self.passed_classes[key]
        for job_id in singles:
            del self.passed[job_id]
            self._done.discard(job_id)
            kept_off.add(class_of(self._entries[job_id]))
        self._frontier = Frontier(self._shelves, self._ratio)
        self._frontier.keep(lambda shelf: shelf.key in kept_off and shelf.key[1:3] not in self._refused)
        return True

    # -- the next one --------------------------------------------------------------------------------------------------

    def _head(self) -> tuple[Entry, bool] | None:
        """The job to look at now, and whether that is before its turn."""
        while self._urgent is not None:
            if (self._urgent.need, self._urgent.asks) not in self._refused:
                return self._urgent, True
            self._urgent = next(self._lane, None)
        while (job_id := self._frontier.head) is not None:
            if job_id not in self._done:
                entry = self._entries[job_id]
                wide = self._while_there_is_room(entry)
                self.overtaken = entry if wide is not None else self.overtaken
                return (entry, False) if wide is None else (wide, True)
            self._frontier.step()
        return None

    def _while_there_is_room(self, first: Entry) -> Entry | None:
        """A wide job of the same project, as long as the room for one is there: to gather it anew would cost more.

        Only one that had come by K of the job whose turn it is: whoever it passes has a K no smaller, so came no more
        than C before it.
        """
        least = max(WIDE * self.floor.gpus, 1.0)
        if not self._wide or self.reservation is not None or first.need.gpus > least or not self._room_beyond(least):
            return None
        shelves = self._shelves[first.project].values()
        wide = (shelf for shelf in shelves if shelf.need.gpus > least and self.floor.fits(shelf.need))
        for *_, job_id in sorted(shelf.keys[0] for shelf in wide):
            entry = self._entries[job_id]
            alike = entry.key[:2] == first.key[:2]  # in priority, and in having failed
            if alike and entry.ready_s <= first.key[2] and job_id not in self._done:
                self._wide = False
                return entry
        return None

    def _room_beyond(self, gpus: float) -> bool:
        return self.floor.fits(Need(math.floor(gpus) + 1))

    def _step(self, entry: Entry) -> None:
        if self._urgent is entry:
            self._urgent = next(self._lane, None)
        elif self._frontier.head == entry.id:
            self._frontier.step()
            return
        self._done.add(entry.id)

    def _pass(self, entry: Entry, why: Why, *, early: bool) -> None:
        if early or not self._all_alike(entry, why):
            self.passed[entry.id] = why
            self._step(entry)
        else:
            self.passed_classes[self._frontier.drop()] = why
        if self.reserved is entry and self.reservation is not None and self._open:
            self._frontier.keep(self._may_backfill)

    def _all_alike(self, entry: Entry, why: Why) -> bool:
        """Whether what keeps this job keeps all of its class that come after it."""
        if why is Why.CAP:
            self._refusals += 1
            return self._refusals > MOST_REFUSED or not self._within(entry.claim, least_s(entry))
        if why in (Why.CAPACITY, Why.KEPT):
            return True
        if why is Why.DRAIN and entry.estimate.limit_s is None:
            return True
        return why in (Why.WOULD_DELAY, Why.DRAIN) and self._too_long(least_s(entry))

    # -- may it start? -------------------------------------------------------------------------------------------------

    def _judge(self, entry: Entry) -> tuple[Why | None, frozenset[str]]:
        """None and the GPUs to avoid, or why not."""
        need = entry.need
        fits = self.floor.fits(entry.need)
        if not fits and self.reservation is not None:
            return Why.CAPACITY, NOTHING
        if self._it.accounts and not self._it.accounts.admits(entry.claim):
            return Why.CAP, NOTHING
        if not fits:
            return self._no_room(entry), NOTHING
        avoid = self._left_to_others(entry)
        if avoid and not self.floor.fits(need, avoid):
            return Why.KEPT, NOTHING
        if self.reservation is None or need.gpus == 0:
            return None, avoid
        if self._ends_in_time(entry):
            return None, avoid
        if self._draining:
            return Why.DRAIN, NOTHING
        beside = self.reservation.uuids | avoid
        if self.floor.fits(need, beside):
            return None, beside
        return (Why.KEPT if avoid and self.floor.fits(need, self.reservation.uuids) else Why.WOULD_DELAY), NOTHING

    def _left_to_others(self, entry: Entry) -> frozenset[str]:
        """The scarce GPUs that it may not have."""
        if not self._keeps_off(entry):
            return NOTHING
        ends_before = self._it.now_s + entry.estimate.most_s <= self._kept.until_s
        return self._kept.uuids if ends_before else self._kept.uuids | self._kept.gathered

    def _keeps_off(self, entry: Entry) -> bool:
        """Whether the job leaves scarce GPUs to others: it can do without, is not urgent, and has not waited for C."""
        need = entry.need
        if not self._kept.scarce or not need.gpus or need.must or need.may is not None or entry is self._urgent:
            return False
        if self._it.now_s - entry.ready_s > self._it.policy.cap_s:
            return False
        return self.floor.gpus - len(self._kept.scarce) >= need.gpus

    def _no_room(self, entry: Entry) -> Why:
        """Blocked only by capacity: the first one of those gets the reservation."""
        taken = self.reservation is not None or not self._it.policy.reserves
        if entry.need.gpus == 0 or taken or not self.floor.could_ever_fit(entry.need):
            return Why.CAPACITY
        if not self._it.policy.backfills:
            self.reserved = entry
            # Nothing passes it but jobs that take no GPU.
            self._frontier.keep(lambda shelf: not shelf.need.gpus)
            self._open = self._it.thorough or self.floor.cpu_places > 0
            return Why.RESERVED
        need = entry.need
        if self._keeps_off(entry):
            need = need._replace(may=frozenset(self.floor.free) - self._kept.scarce)
        self.reservation = self.floor.reserve(need, self._it.now_s)
        if self.reservation is None:
            return Why.CAPACITY
        self.reserved = entry
        self.promise = self._it.promises.get(entry.id, Promise(self.reservation.at_s))
        return Why.RESERVED

    def _may_backfill(self, shelf: Shelf) -> bool:
        """Whether anything of a class could start now beside the reservation."""
        assert self.reservation is not None
        if not self.floor.fits(shelf.need):
            self.passed_classes[shelf.key] = Why.CAPACITY
            return False
        if not shelf.need.gpus or not self._too_long(shelf.least_s):
            return True
        if self._draining or not self.floor.fits(shelf.need, self.reservation.uuids):
            self.passed_classes[shelf.key] = Why.DRAIN if self._draining else Why.WOULD_DELAY
            return False
        return True

    def _affordable(self, shelf: Shelf) -> bool:
        """Whether the accounts could let anything of a class start now."""
        if not shelf.claim.purse.owners or self._within(shelf.claim, shelf.least_s):
            return True
        self.passed_classes[shelf.key] = Why.CAP
        return False

    def _within(self, claim: Claim, least_s: float) -> bool:
        """Whether the accounts let the shortest jobs of a class start, of which this is one's claim."""
        needs_s = claim.need_s if claim.unknown else least_s
        return needs_s <= self._it.accounts.longest_s(claim.purse)

    def _ends_in_time(self, entry: Entry) -> bool:
        if self._draining and entry.estimate.limit_s is None:
            return False
        return not self._too_long(entry.estimate.most_s)

    def _too_long(self, seconds: float) -> bool:
        return self.reservation is not None and self._it.now_s + seconds > self.reservation.at_s

    @property
    def _draining(self) -> bool:
        """The reserved job was put off by more than C."""
        if self.promise is None or self.reservation is None:
            return False
        return self.reservation.at_s - self.promise.first_s > self._it.policy.cap_s
