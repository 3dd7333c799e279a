"""What projects and users really used in a world, counted by the runs themselves and by no account."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from researchflow_tmux.domain.accounts import Owner, hours_of, owner_of
from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.domain.projects import Period
from researchflow_tmux.policies.accounts.accounts import owners_of, rate_of
from researchflow_tmux.policies.accounts.periods import parts
from tests.scenario.world import World

EPSILON_H = 1e-6


def really_used(world: World, owner: Owner, period: Period = "total") -> dict[str, float]:
    """GPU-hours of an owner by period, by the time of the virtual machine."""
    used: dict[str, float] = {}
    for key in world.host.starts:
        job = world.engine.workload.jobs[key[0]]
        if owner not in owners_of(job):
            continue
        began, ended = ran(world, key)
        gpu = hours_of(rate_of(job), 1.0).gpu
        for span, seconds in parts(period, began, (ended - began).total_seconds(), UTC):
            used[span.key] = used.get(span.key, 0.0) + seconds * gpu
    return used


def ran(world: World, key: AttemptKey) -> tuple[datetime, datetime]:
    """From when to when a run used its GPUs, as far as time has come."""
    run, now = world.host.run_of(key), world.virtual.now()
    if run.fenced:  # its runner found the claim taken
        return now, now
    began = min(run.claims_at or now, now)
    return began, max(min(run.ends_at or now, now), began)


def check_budgets(world: World, most: dict[Owner, float] | None = None) -> None:
    """Nobody used more than there was at any time, nor has more at a time than the caps say; and all is counted.

    `most` = the largest budget each had so far, in GPU-hours for ever.
    """
    uses = world.engine.context.accounting.own_uses()
    running = Counter[Owner]()
    for key in world.host.runners():
        job = world.engine.workload.jobs[key[0]]
        for owner in owners_of(job):
            running[owner] += rate_of(job).gpus
    for owner, bounds in world.accounts.items():
        cap = bounds.gpus
        assert cap is None or running[owner] <= cap, f"{owner} has {running[owner]} of {cap} GPUs"
        real = really_used(world, owner).get("total", 0.0)
        limit = (most or {}).get(owner)
        assert limit is None or real <= limit + EPSILON_H, f"{owner} used {real} of {limit} GPU-hours"
        use = uses.get(owner)
        counted = 0.0 if use is None else use.hours("total").gpu
        unknown = bounds.gpu is None and len(world.clock.boot_id) > len(world.virtual.boot_id)
        assert unknown or real <= counted + EPSILON_H, f"{owner} used {real} GPU-hours, of which {counted} are counted"
        assert limit is None or counted <= limit + EPSILON_H, f"{owner} was granted {counted} of {limit} GPU-hours"
        assert counted >= -EPSILON_H


def owner(text: str) -> Owner:
    """`project a`, `user ann`."""
    return owner_of(text)
