"""All accounts during one decision: whether a job may start by them, and what it is granted when it does.

A job starts only if its budgets hold what it needs: g·L for a job with a time limit L, which is certain; else g·P80 by
what its like took; else, with nothing known of it, enough to do something and to be stopped in good order. So much is
committed, and at most what is left: the hours of two jobs are never the same hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from typing import NamedTuple

import msgspec

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Grant, Owner, Rate
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.policies.accounts.account import Account, Bounds
from researchflow_tmux.policies.accounts.periods import spread

ASSUMED_S = 3600.0
"""What is granted to a job of which nothing is known, if there is so much. More follows while it runs."""


LAUNCH_S = 60.0
"""Granted on top: a grant counts from its decision on, and what was not used is given back."""
LEAST_S = 1.0
MOST_S = 366 * 86400.0
"""No job asks for more at once, whatever its time limit is: more is granted while it runs."""
AT_MOST = 0.25
"""The part of what is left that a job of which nothing is known is granted at once: others want to start as well."""
MOST_ALIKE = 20_000
"""Kinds of jobs of which the claim is remembered: many jobs are alike, and share the very object that says so."""


class Purse(msgspec.Struct, frozen=True, eq=False):
    """Who pays for what at a time: one object for all jobs that are alike in that, equal to itself alone."""

    owners: tuple[Owner, ...]
    """Those that have an account; none = nobody pays."""
    rate: Rate


class Claim(NamedTuple):
    """What a job asks of the accounts."""

    purse: Purse
    need_s: float = 0.0
    """It starts only if the budgets hold so much."""
    least_s: float = 0.0
    """The part of that which is no guess."""
    want_s: float = 0.0
    """So much is committed, if there is so much."""
    unknown: bool = False
    """Nothing is known of how long it takes, and it has no time limit."""

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Those that have an account; none = nothing is asked."""
        return self.purse.owners

    @property
    def rate(self) -> Rate:
        """What it has while it runs."""
        return self.purse.rate


NOTHING_ASKED = Claim(Purse((), Rate()))


def rate_of(job: Job) -> Rate:
    """What the job has while it runs."""
    needs = job.needs
    return Rate(gpus=needs.gpus, cpus=needs.cpus or 1, memory_mib=needs.memory_mib or 0)


def owners_of(job: Job) -> Iterable[Owner]:
    """Who pays for the job."""
    if job.spec.project is not None:
        yield Owner("project", job.spec.project)
    if job.spec.user is not None:
        yield Owner("user", job.spec.user)


class Claims:
    """What jobs ask of the accounts that there are."""

    def __init__(
        self,
        bounds: Mapping[Owner, Bounds],
        *,
        stop_s: float = 0.0,
        known_s: Callable[[Job], float | None] = lambda _job: None,
    ) -> None:
        """For these accounts.

        Args:
            bounds: Whoever has an account, and its limits.
            stop_s: How long it takes at most to stop a job in good order.
            known_s: P80 of how long a job takes; None = nothing is known of it.
        """
        self.bounds = bounds
        self.stop_s = stop_s
        self._known_s = known_s
        self._purses: dict[tuple[tuple[Owner, ...], Rate], Purse] = {}
        self._alike: dict[tuple[str | None, str | None, int], tuple[ResourceRequest, Purse, Claim | None]] = {}

    def of(self, job: Job) -> Claim:
        """What one job asks for."""
        if not self.bounds:
            return NOTHING_ASKED
        needs = job.needs
        key = (job.spec.project, job.spec.user, id(needs))
        found = self._alike.get(key)
        if found is None or found[0] is not needs:
            purse = self._purse(job)
            found = (needs, purse, self._of(job, purse))
            if len(self._alike) < MOST_ALIKE:
                self._alike[key] = found
        _, purse, claim = found
        return claim if claim is not None else self._guessed(job, purse)

    def _of(self, job: Job, purse: Purse) -> Claim | None:
        """The claim of all jobs that are alike in who pays and in what they ask for; None = it differs."""
        if not any(self.bounds[owner].uses_budget(purse.rate) for owner in purse.owners):
            return Claim(purse, unknown=True) if purse.owners else NOTHING_ASKED
        limit_s = job.spec.request.time_limit_s
        if limit_s is None:
            return None
        limit_s = min(limit_s, MOST_S)
        need_s = max(limit_s, min(limit_s + self.stop_s, self._least_s))
        return Claim(purse, need_s, need_s, limit_s + self.stop_s + LAUNCH_S)

    def _guessed(self, job: Job, purse: Purse) -> Claim:
        least_s, known_s = self._least_s, self._known_s(job)
        if known_s is None:
            return Claim(purse, least_s, least_s, ASSUMED_S + self.stop_s, unknown=True)
        known_s = min(known_s, MOST_S)
        return Claim(purse, max(known_s, least_s), least_s, known_s + self.stop_s + LAUNCH_S)

    def _purse(self, job: Job) -> Purse:
        owners, rate = tuple(owner for owner in owners_of(job) if owner in self.bounds), rate_of(job)
        found = self._purses.get((owners, rate))
        if found is None:
            found = self._purses[owners, rate] = Purse(owners, rate)
        return found

    @property
    def _least_s(self) -> float:
        return max(2 * self.stop_s, LEAST_S)


class Accounts:
    """Asked by each decision. `book` what starts: the next job is asked with that in mind."""

    def __init__(
        self,
        claims: Claims | None = None,
        *,
        now: datetime | None = None,
        monotonic_s: float = 0.0,
        uses: Mapping[Owner, AccountUse] | None = None,
        zone: tzinfo | None = None,
        unknown: Mapping[Owner, str] | None = None,
    ) -> None:
        """Without `claims` nobody has an account.

        Args:
            claims: Who has an account.
            now: The time of the decision; needed with `claims`.
            monotonic_s: The same by the clock that nobody sets.
            uses: What is in use of the accounts, of this workspace and all others.
            zone: The calendar by which periods begin; None = that of the machine.
            unknown: Of which accounts the use is not fully known, and why: nothing more is taken of those with limits.
        """
        self._unknown = unknown or {}
        self._claims = claims or Claims({})
        self.at_first: Mapping[Owner, AccountUse] = uses or {}
        """What was in use before anything was booked here."""
        self._accounts: dict[Owner, Account] = {}
        if self._claims.bounds:
            assert now is not None
            self._accounts = {
                owner: Account(owner, own, (uses or {}).get(owner, NO_USE), now, zone)
                for owner, own in self._claims.bounds.items()
            }
        self.now = now
        self._monotonic_s = monotonic_s
        self.grants: dict[int, Grant] = {}
        """What was booked, by job."""
        self._zone = zone
        self._seen: dict[Claim, Reason | None] = {}
        self._ranges: dict[Purse, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._accounts)

    @property
    def stop_s(self) -> float:
        """How long it takes at most to stop a job in good order."""
        return self._claims.stop_s

    @property
    def bounds(self) -> Mapping[Owner, Bounds]:
        """Whoever has an account, and its limits."""
        return self._claims.bounds

    def get(self, owner: Owner) -> Account | None:
        """The account of somebody, who may have none."""
        return self._accounts.get(owner)

    def all(self) -> Iterable[Account]:
        """Every account."""
        return self._accounts.values()

    def claim(self, job: Job) -> Claim:
        """What a job asks for."""
        return self._claims.of(job)

    def refuses(self, claim: Claim) -> Reason | None:
        """Why the accounts do not let it start; None = they do."""
        if not claim.owners:
            return None
        if claim not in self._seen:
            self._seen[claim] = self._refuses(claim)
        return self._seen[claim]

    def longest_s(self, purse: Purse) -> float:
        """No job that needs longer than this can start now on a purse; negative = none at all can."""
        return self._range_s(purse)[1]

    def admits(self, claim: Claim) -> bool:
        """Whether the accounts let it start: `refuses`, sooner."""
        if not claim.purse.owners or 0.0 <= claim.need_s <= self._range_s(claim.purse)[0]:
            return True
        return self.refuses(claim) is None

    def _range_s(self, purse: Purse) -> tuple[float, float]:
        found = self._ranges.get(purse)
        if found is None:
            surely_s = longest_s = float("inf")
            for owner in purse.owners:
                account = self._accounts[owner]
                low_s, high_s = account.range_s(purse.rate) if self._not_known(account) is None else (-1.0, -1.0)
                surely_s, longest_s = min(surely_s, low_s), min(longest_s, high_s)
            found = self._ranges[purse] = (surely_s, longest_s)
        return found

    def book(self, job: Job) -> Grant | None:
        """A job starts that was not refused: what it is granted. None = it is on nobody's account."""
        claim = self.claim(job)
        if not claim.owners:
            return None
        grant = self.grants[job.id] = self.commit(claim)
        return grant

    def commit(self, claim: Claim) -> Grant:
        """Take what is claimed off its accounts, as far as it is there."""
        assert self.now is not None
        seconds = self._seconds(claim)
        hours = {} if seconds is None else spread(claim.rate, self.now, seconds, self._zone)
        for owner in claim.owners:
            self._accounts[owner].take(claim.rate, hours)
        self._seen.clear()
        self._ranges.clear()
        owners = tuple(map(str, claim.owners))
        return Grant(owners=owners, rate=claim.rate, at=self.now, since_s=self._monotonic_s, seconds=seconds)

    def affordable_s(self, owners: Iterable[Owner], rate: Rate, begins: datetime, want_s: float) -> float:
        """For how long from `begins` on all these let `rate` go on, at most `want_s`."""
        for owner in owners:
            account = self._accounts.get(owner)
            if account is not None and self._not_known(account) is not None:
                return 0.0
            if account is not None:
                want_s = account.affordable_s(rate, begins, want_s)
        return want_s

    def _seconds(self, claim: Claim) -> float | None:
        assert self.now is not None
        if not claim.want_s:
            return None
        if not claim.unknown:
            return self.affordable_s(claim.owners, claim.rate, self.now, claim.want_s)
        part_s = AT_MOST * self.affordable_s(claim.owners, claim.rate, self.now, claim.want_s / AT_MOST)
        return max(part_s, self.affordable_s(claim.owners, claim.rate, self.now, claim.least_s))

    def _not_known(self, account: Account) -> Reason | None:
        why = self._unknown.get(account.owner)
        if why is None or not account.bounds.limited:
            return None
        return Reason(code=ReasonCode.CAP, text=f"what others use of {account.owner} is not known: {why}")

    def _refuses(self, claim: Claim) -> Reason | None:
        for owner in claim.owners:
            reason = self._not_known(self._accounts[owner]) or self._accounts[owner].refuses(
                claim.rate, claim.need_s, claim.least_s
            )
            if reason is not None:
                return reason
        return None


NO_ACCOUNTS = Accounts()
