"""Grants while jobs run: more as long as there is budget, less when it was lowered; and who was stopped comes back.

A runner ends its job before what was granted is used up, whether or not a scheduler lives. So a grant grows in small
parts, each durable before the runner hears of it, and what nobody granted nobody uses.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta

from msgspec.structs import replace

from researchflow_tmux.domain.accounts import Grant, Hours, Owner, added, hours_of, owner_of
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Running, Stopping
from researchflow_tmux.domain.events import AttemptGranted, AttemptPlanned, JobChanged, JobRespecified, Payload
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.by_hand import stop_attempt
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.policies.accounts.account import RESOURCES
from researchflow_tmux.policies.accounts.accounts import Accounts, Claim
from researchflow_tmux.policies.accounts.periods import spread
from researchflow_tmux.policies.retry import BUDGET

LEAD_S = 20.0
"""So long before its runner would begin to end it, an attempt is granted more."""
MORE_S = 300.0
"""How much at least, if there is so much."""
GROWTH = 0.25
"""The part of what it has run so far by which a grant grows."""
OVERDUE_S = 5.0
"""An attempt that runs for so long after its grant is told to end: its runner is one of an old version."""
LEAST_S = 1.0
"""A smaller change is none."""


class Granting:
    """Looks after the grants of one engine's attempts."""

    def __init__(self, context: Context) -> None:
        self._it = context
        self.active = True
        """One that only stands in for a scheduler leaves budgets as they are."""
        self._held = {job.id for job in context.workload.jobs.values() if _is_held(job.state, job.reason)}
        """Jobs that wait for budget after they were stopped."""
        self._told: dict[AttemptKey, float | None] = {}
        """What each runner was told last."""
        self._raised: dict[AttemptKey, Grant] = {}
        """What was granted before the last look, where that granted more."""
        self._due_s = float("inf")
        context.workload.watchers.append(self._see)

    def look(self, now: datetime) -> None:
        """Change grants by what there is now, and queue what there is budget for again."""
        self._due_s = float("inf")
        self._raised = {}
        if not self.active:
            return
        live = [attempt for attempt in self._it.workload.attempts.values() if not isinstance(attempt.phase, Ended)]
        if not self._it.accounting.claims.bounds and not self._held and all(one.grant is None for one in live):
            return
        accounts = self._it.accounting.accounts(now)
        for attempt in sorted(live, key=lambda attempt: attempt.planned_at, reverse=True):
            self._adjust(attempt, accounts, now)
        self._bring_back(accounts, now)
        self._mind_periods(accounts, now)

    def take_back(self, owners: Container[str], now: datetime) -> None:
        """Undo what the last look granted more on these accounts: nobody else could be told of it."""
        for key, before in self._raised.items():
            attempt = self._it.workload.attempts.get(key)
            if attempt is not None and any(owner in owners for owner in before.owners):
                self._it.apply(AttemptGranted(job_id=attempt.job_id, number=attempt.number, grant=before), now)
        self._raised = {}

    def due_s(self) -> float:
        """Seconds until the next look is due, as of the last one."""
        return self._due_s

    def tell(self) -> None:
        """Let the runners know what was saved about their grants; call it only then."""
        attempts = self._it.workload.attempts if self.active else {}
        if len(self._told) > len(attempts):
            self._told = {key: told for key, told in self._told.items() if key in attempts}
        for attempt in attempts.values():
            grant = attempt.grant
            if grant is None or isinstance(attempt.phase, Ended):
                continue
            if (attempt.key not in self._told or self._told[attempt.key] != grant.seconds) and self._it.host.grant(
                attempt
            ):
                self._told[attempt.key] = grant.seconds

    # -- one attempt ---------------------------------------------------------------------------------------------------

    def _adjust(self, attempt: Attempt, accounts: Accounts, now: datetime) -> None:
        claim = accounts.claim(self._it.workload.jobs[attempt.job_id])
        grant = _widened(attempt.grant, claim, now, self._it.clock.monotonic())
        if grant is None:
            return
        owners = tuple(map(owner_of, grant.owners))
        seconds = self._seconds(attempt, grant, owners, claim, accounts, now)
        if seconds != grant.seconds:
            change = _difference(grant, seconds, self._it)
            for owner in owners:
                account = accounts.get(owner)
                if account is not None:
                    account.grant(change)
            grant = replace(grant, seconds=seconds)
        if grant != attempt.grant:
            before = attempt.grant
            if before is not None and before.seconds is not None and (grant.seconds or 0.0) > before.seconds:
                self._raised[attempt.key] = before
            granted = AttemptGranted(job_id=attempt.job_id, number=attempt.number, grant=grant)
            self._it.apply(granted, now)
        elapsed_s = self._it.accounting.elapsed_s(attempt) if attempt.grant == grant else 0.0
        overdue = grant.seconds is not None and grant.seconds + OVERDUE_S < elapsed_s < float("inf")
        if overdue and isinstance(attempt.phase, Running):
            job = self._it.workload.jobs[attempt.job_id]
            stop_attempt(Book(self._it.workload, now), job, by=BUDGET, grace_s=self._it.rules.stop_grace_s)

    def _seconds(
        self,
        attempt: Attempt,
        grant: Grant,
        owners: tuple[Owner, ...],
        claim: Claim,
        accounts: Accounts,
        now: datetime,
    ) -> float | None:
        """For how long it may run in all, from now on."""
        bounds = [account.bounds for owner in owners if (account := accounts.get(owner)) is not None]
        if not any(each.uses_budget(grant.rate) for each in bounds):
            return None
        elapsed_s = self._it.accounting.elapsed_s(replace(attempt, grant=grant))
        if elapsed_s == float("inf"):  # the machine was restarted: it will turn out to be lost
            return grant.seconds
        stop_s = accounts.stop_s
        has_s = elapsed_s if grant.seconds is None else grant.seconds
        excess_s = max(_excess_s(accounts, owner, grant) for owner in owners)
        if excess_s > 0:
            return min(has_s, max(elapsed_s + stop_s + LEAST_S, has_s - excess_s))
        left_s = has_s - elapsed_s - stop_s - LEAD_S
        wanted_s = 0.0 if claim.unknown else claim.want_s
        if isinstance(attempt.phase, Stopping) or (left_s > 0 and has_s >= wanted_s):
            self._due_s = min(self._due_s, left_s if left_s > 0 else float("inf"))
            return has_s
        limited = self._it.workload.jobs[attempt.job_id].spec.request.time_limit_s is not None
        more_s = 0.0 if limited else max(elapsed_s * GROWTH, MORE_S)
        want_s = max(wanted_s, elapsed_s + stop_s + LEAD_S + more_s)
        begins = grant.at + timedelta(seconds=has_s)
        got_s = accounts.affordable_s(owners, grant.rate, begins, want_s - has_s) if want_s > has_s else 0.0
        if got_s < LEAST_S and grant.seconds is not None:
            return has_s
        return has_s + got_s

    # -- who was stopped -----------------------------------------------------------------------------------------------

    def _bring_back(self, accounts: Accounts, now: datetime) -> None:
        for job_id in sorted(self._held):
            refused = accounts.refuses(accounts.claim(self._it.workload.jobs[job_id]))
            if refused is None or refused.code is ReasonCode.CAP:
                reason = Reason(code=ReasonCode.REQUEUED, text="there is budget again")
                self._it.apply(JobChanged(job_id=job_id, state=JobState.QUEUED, reason=reason), now)

    def _mind_periods(self, accounts: Accounts, now: datetime) -> None:
        """Look again when a period begins for which something waits."""
        if not self._held and not self._it.workload.queue_length:
            return
        for account in accounts.all():
            if account.bounds.hourly and account.span.ends is not None:
                self._due_s = min(self._due_s, max((account.span.ends - now).total_seconds(), LEAST_S))

    def _see(self, payload: Payload, _at: datetime) -> None:
        match payload:
            case AttemptPlanned(attempt=attempt) if attempt.grant is not None:
                self._told[attempt.key] = attempt.grant.seconds
            case JobChanged(job_id=job_id, state=state, reason=reason):
                (self._held.add if _is_held(state, reason) else self._held.discard)(job_id)
            case JobRespecified(job_id=job_id, job=job):
                (self._held.add if _is_held(job.state, job.reason) else self._held.discard)(job_id)
            case _:
                pass


def _is_held(state: JobState, reason: Reason | None) -> bool:
    return state is JobState.HELD and reason is not None and reason.code is ReasonCode.BUDGET


def _widened(grant: Grant | None, claim: Claim, now: datetime, monotonic_s: float) -> Grant | None:
    """The grant with the accounts that came into being since; None = it is still on nobody's account."""
    if grant is None:
        owners = tuple(map(str, claim.owners))
        return Grant(owners=owners, rate=claim.rate, at=now, since_s=monotonic_s) if owners else None
    kinds = {owner_of(owner).kind for owner in grant.owners}
    more = tuple(str(owner) for owner in claim.owners if owner.kind not in kinds)
    return replace(grant, owners=(*grant.owners, *more)) if more else grant


def _excess_s(accounts: Accounts, owner: Owner, grant: Grant) -> float:
    """For how long the attempt would have to run less, for a lowered budget to hold."""
    account = accounts.get(owner)
    if account is None:
        return 0.0
    excess, each = account.excess(account.span.key), hours_of(grant.rate, 1.0)
    used = (name for name in RESOURCES if getattr(each, name) > 0)
    seconds = max((getattr(excess, name) / getattr(each, name) for name in used), default=0.0)
    return seconds if seconds > LEAST_S / 1000 else 0.0


def _difference(grant: Grant, seconds: float | None, context: Context) -> dict[str, Hours]:
    """By how much the hours of each period change."""
    zone = context.accounting.zone
    before = spread(grant.rate, grant.at, grant.seconds or 0.0, zone)
    after = spread(grant.rate, grant.at, seconds or 0.0, zone)
    negative = {key: Hours(gpu=-each.gpu, cpu=-each.cpu, memory=-each.memory) for key, each in before.items()}
    return added(after, negative)
