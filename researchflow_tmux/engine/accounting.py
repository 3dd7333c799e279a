"""The accounts of projects and users over time: what was used, what is granted to what runs, and what others use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

import msgspec

from researchflow_tmux.domain.accounts import NO_HOURS, NO_USE, AccountUse, Hours, Owner, Rate, added, owner_of
from researchflow_tmux.domain.attempt import Attempt, Ended
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.projects import Period
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.accounts import NO_ACCOUNTS, Accounts, Claims
from researchflow_tmux.policies.accounts.periods import pruned, spread
from researchflow_tmux.policies.accounts.settling import settled
from researchflow_tmux.ports import Clock

META_ACCOUNT = "account "
"""In the store's meta table, before the name of an owner: what its ended attempts used, by period."""

NOTHING_RUNS = Rate()
Settled = dict[str, Hours]


def kept_accounts(meta: Mapping[str, str]) -> dict[Owner, Settled]:
    """What earlier schedulers saved."""
    found = {}
    for key, value in meta.items():
        if key.startswith(META_ACCOUNT):
            found[owner_of(key.removeprefix(META_ACCOUNT))] = msgspec.json.decode(value, type=Settled)
    return found


class Accounting:
    """Follows the attempts of one workload. What it settles is saved together with the ends it is about."""

    def __init__(
        self, workload: Workload, kept: Mapping[Owner, Settled], clock: Clock, zone: tzinfo | None = None
    ) -> None:
        """`zone` = the calendar of budgets; None = that of the machine."""
        self.claims = Claims({})
        """Who has an account. Put others in when the settings change."""
        self.others: Mapping[Owner, AccountUse] = {}
        """What other workspaces use of the same accounts, as last heard."""
        self.others_used: Mapping[str, float] = {}
        """Decayed GPU-seconds that other workspaces used lately of the machine's projects, as last heard."""
        self.unknown: Mapping[Owner, str] = {}
        """Of which accounts that is not fully known, and why."""
        self.zone = zone
        self._workload = workload
        self._settled: dict[Owner, Settled] = dict(kept)
        self._clock = clock

    def accounts(self, now: datetime) -> Accounts:
        """The accounts for one decision."""
        if not self.claims.bounds:
            return NO_ACCOUNTS
        uses = self._uses(thorough=False)
        for owner, use in self.others.items():
            uses[owner] = uses.get(owner, NO_USE).plus(use)
        monotonic_s = self._clock.monotonic()
        return Accounts(self.claims, now=now, monotonic_s=monotonic_s, uses=uses, zone=self.zone, unknown=self.unknown)

    def own_uses(self) -> dict[Owner, AccountUse]:
        """What this workspace uses of each account: what others are to hear of it."""
        return self._uses(thorough=True)

    def _uses(self, *, thorough: bool) -> dict[Owner, AccountUse]:
        """By owner; `thorough` = in periods of every kind, and not only of those that budgets have."""
        running: dict[Owner, Rate] = {}
        granted: dict[Owner, dict[str, Hours]] = {}
        for attempt in self._workload.attempts.values():
            if attempt.grant is None:
                continue
            for name in attempt.grant.owners:
                owner = owner_of(name)
                running[owner] = running.get(owner, NOTHING_RUNS).plus(attempt.grant.rate)
                bounds = self.claims.bounds.get(owner)
                if not thorough and (bounds is None or not bounds.hourly):
                    continue
                own = granted.setdefault(owner, {})
                kind = None if thorough or bounds is None else bounds.period
                for period, each in self._granted(attempt, kind).items():
                    before = own.get(period)
                    own[period] = each if before is None else before.plus(each)
        return {
            owner: AccountUse(
                running=running.get(owner, NOTHING_RUNS),
                settled=self._settled.get(owner, {}),
                granted=granted.get(owner, {}),
            )
            for owner in self._settled.keys() | running
        }

    def settle(self, attempt: Attempt, ended: Ended) -> dict[str, str]:
        """An attempt ended: it is charged for what it used. Returns what is to be saved with its end."""
        grant = attempt.grant
        if grant is None:
            return {}
        hours = settled(grant, ended, self.elapsed_s(attempt), self.zone)
        meta = {}
        for owner in map(owner_of, grant.owners) if hours else ():
            own = self._settled[owner] = pruned(added(self._settled.get(owner, {}), hours))
            meta[f"{META_ACCOUNT}{owner}"] = msgspec.json.encode(own).decode()
        return meta

    def settled_of(self, owner: Owner, period: str) -> Hours:
        """What of a period is used by what has ended, in all workspaces that are known of."""
        own = self._settled.get(owner, {}).get(period, NO_HOURS)
        return own.plus(self.others.get(owner, NO_USE).settled.get(period, NO_HOURS))

    def elapsed_s(self, attempt: Attempt) -> float:
        """Seconds since its grant began to count, whatever was done to the clock; infinite after a reboot."""
        if attempt.grant is None:
            return 0.0
        if attempt.boot_id != self._clock.boot_id:
            return float("inf")
        return max(self._clock.monotonic() - attempt.grant.since_s, 0.0)

    def why_used_up(self, job: Job, now: datetime) -> Reason:
        """Which budget keeps a job that was stopped for one, as far as it can still be told."""
        accounts = self.accounts(now)
        refused = accounts.refuses(accounts.claim(job))
        if refused is not None and refused.code is ReasonCode.BUDGET:
            return refused
        return Reason(code=ReasonCode.BUDGET, text="what it was granted is used up")

    def _granted(self, attempt: Attempt, kind: Period | None) -> Mapping[str, Hours]:
        """What it may use, by period; without a limit, what it has used so far."""
        grant = attempt.grant
        if grant is None or isinstance(attempt.phase, Ended):  # it is settled; only its processes are left
            return {}
        if grant.seconds is None:
            so_far_s = self.elapsed_s(attempt)
            return spread.__wrapped__(
                grant.rate, grant.at, so_far_s if so_far_s < float("inf") else 0.0, self.zone, kind
            )
        return spread(grant.rate, grant.at, grant.seconds, self.zone, kind)
