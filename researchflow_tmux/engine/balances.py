"""How each account stands, for showing: used, granted to what runs, and the limits."""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.domain.accounts import NO_HOURS, Hours, Owner, Rate, owner_of
from researchflow_tmux.domain.attempt import Attempt, Ended
from researchflow_tmux.engine.accounting import Accounting
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.account import Account, Bounds
from researchflow_tmux.policies.accounts.periods import spread


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """One account now. Hours are those of the period that is under way, of all workspaces that are known of."""

    owner: Owner
    bounds: Bounds
    running: Rate
    used: Hours
    """By what has ended, and by what runs so far."""
    granted: Hours
    """What runs may use besides."""
    period: str
    """`month 2026-11-01`."""
    ends: datetime | None
    """When the next period begins; None = never."""


def balances(accounting: Accounting, workload: Workload, now: datetime) -> list[Balance]:
    """Every account, projects first, by name."""
    live = [one for one in workload.attempts.values() if not isinstance(one.phase, Ended)]
    accounts = sorted(accounting.accounts(now).all(), key=lambda account: account.owner)
    return [_balance(account, accounting, live, now) for account in accounts]


def _balance(account: Account, accounting: Accounting, live: list[Attempt], now: datetime) -> Balance:
    span = account.span
    used = accounting.settled_of(account.owner, span.key)
    for attempt in live:
        grant = attempt.grant
        if grant is None or account.owner not in map(owner_of, grant.owners):
            continue
        elapsed_s = accounting.elapsed_s(attempt)
        so_far_s = min(elapsed_s, float("inf") if grant.seconds is None else grant.seconds)
        so_far_s = so_far_s if so_far_s < float("inf") else 0.0
        used = used.plus(spread.__wrapped__(grant.rate, grant.at, so_far_s, account.zone).get(span.key, NO_HOURS))
    taken = account.taken(span.key)
    return Balance(
        owner=account.owner,
        bounds=account.bounds,
        running=account.running,
        used=used,
        granted=Hours(
            gpu=max(taken.gpu - used.gpu, 0.0),
            cpu=max(taken.cpu - used.cpu, 0.0),
            memory=max(taken.memory - used.memory, 0.0),
        ),
        period=span.key,
        ends=span.ends,
    )
