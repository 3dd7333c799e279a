"""How projects and users stand: what they have, what is left of their budgets, and what of them is granted already."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.planning import bounds, claims_of, history
from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.adapters.workspace_identity import META_WORKSPACE
from researchflow_tmux.api.views import AccountView, HoursView
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.accounting import Accounting, kept_accounts
from researchflow_tmux.engine.balances import Balance, balances
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.account import RESOURCES
from researchflow_tmux.policies.commons.adding import others
from researchflow_tmux.policies.planning.usage import HALF_LIFE_S
from researchflow_tmux.runner import tickets


def accounting_of(
    paths: WorkspacePaths, settings: Settings, workload: Workload, meta: Mapping[str, str]
) -> Accounting | None:
    """The accounts as the store knows them; None = the settings describe nobody."""
    limits = bounds(settings)
    if not limits:
        return None
    found = Accounting(workload, kept_accounts(meta), SystemClock())
    budgets = any(each.hourly for each in limits.values())
    known = history(paths, workload.jobs) if budgets and workload.queue_length else None
    found.claims = claims_of(settings, known)
    _hear_of_others(found, meta)
    return found


def _hear_of_others(found: Accounting, meta: Mapping[str, str]) -> None:
    """What other workspaces of the machine use of the same accounts, as the register says now."""
    from researchflow_tmux.adapters import machine_projects  # reads settings: who only asks needs none of that

    machine = machine_projects.load(os.environ)
    shared = machine_projects.shared_owners(machine)
    if not shared:
        return
    clock = SystemClock()
    now, own_id = clock.now(), meta.get(META_WORKSPACE, "")
    lease_dir = os.environ.get("RFSCHED_LEASE_DIR")
    try:
        seen = FileRegister(lease_dir or tickets.default_dir(), clock.boot_id).read(now)
    except OSError:
        return
    me = next((each.page for each in seen if each.page is not None and each.page.workspace_id == own_id), None)
    if me is not None and me.simulated and not lease_dir:  # then its GPUs, and all accounts, are its own
        return
    heard = others(seen, own_id, now, HALF_LIFE_S)
    found.others = {owner: use for owner in shared if (use := heard.uses.get(str(owner))) is not None}
    projects = {owner.name for owner in shared if owner.kind == "project"}
    found.others_used = {name: used for name, used in heard.used_gpu_s.items() if name in projects}
    found.unknown = dict.fromkeys(shared, "; ".join(heard.unknown)) if heard.unknown else {}


def account_views(
    accounting: Accounting | None, settings: Settings, workload: Workload, meta: Mapping[str, str], now: datetime
) -> list[AccountView]:
    """Every account, projects first, by name."""
    if accounting is None:
        return []
    kept = kept_usage(meta.get(META_USAGE))
    lately = Counter({} if kept is None else kept.used)
    lately.update(accounting.others_used)
    total = sum(lately.values())
    return [
        _view(each, settings, lately[each.owner.name] / total if total else None)
        for each in balances(accounting, workload, now)
    ]


def _view(balance: Balance, settings: Settings, share: float | None) -> AccountView:
    kind, name = balance.owner
    project = settings.projects.get(name) if kind == "project" else None
    hours = {
        resource: HoursView(
            used=round(getattr(balance.used, resource), 6),
            granted=round(getattr(balance.granted, resource), 6),
            limit=getattr(balance.bounds, resource),
        )
        for resource in RESOURCES
    }
    return AccountView(
        kind=kind,
        name=name,
        weight=None if project is None else project.weight,
        share_of_use=share if kind == "project" else None,
        running_gpus=balance.running.gpus,
        max_gpus=balance.bounds.gpus,
        running_cpus=balance.running.cpus,
        max_cpus=balance.bounds.cpus,
        running_memory_mib=balance.running.memory_mib,
        max_memory_mib=balance.bounds.memory_mib,
        gpu_hours=hours["gpu"],
        cpu_hours=hours["cpu"],
        memory_hours=hours["memory"],
        period=balance.bounds.period,
        period_ends=balance.ends,
    )
