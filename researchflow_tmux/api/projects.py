"""`project list`: what projects and users may have, what they have, and what they had lately."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.api import asking
from researchflow_tmux.api.accounts import account_views, accounting_of
from researchflow_tmux.api.views import AccountView, HoursView
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.projects import Allowance, Project
from researchflow_tmux.domain.units import parse_size
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.usage import Usage

GPU_HOUR_S = 3600.0


class ProjectView(msgspec.Struct, kw_only=True):
    """One project or user. null = unknown, or no limit."""

    kind: Literal["project", "user"]
    name: str
    """Empty = the jobs of no project."""
    machine_wide: bool = False
    """It is described for all workspaces of this machine."""
    weight: float | None = None
    """Only projects have one."""
    share_by_weight: float | None = None
    """Its part of the GPUs by its weight, among the projects that have jobs which wait or run."""
    share_of_use: float | None = None
    """Its part of what was used lately, the less the longer ago (half after 28 days)."""
    used_gpu_hours: float | None = None
    """GPU-hours that it used lately, counted like that."""
    running: int = 0
    """Its running jobs."""
    running_gpus: int = 0
    """GPUs in use; of a machine-wide project or user those of all workspaces, as `running_cpus` and so on."""
    running_cpus: int = 0
    """Cores; a job that asks for none counts as one."""
    running_memory_mib: int = 0
    """Memory of the machine that its running jobs asked for."""
    max_gpus: int | None = None
    max_cpus: int | None = None
    max_memory_mib: int | None = None
    waiting: int = 0
    """Its jobs that wait."""
    deadline: datetime | None = None
    """When its jobs should have ended that have no deadline of their own."""
    gpu_hours: HoursView | None = None
    cpu_hours: HoursView | None = None
    memory_hours: HoursView | None = None
    """GiB-hours. null = it is not described in the settings."""
    period: str | None = None
    """How long its budgets last: `day`, `week`, `month` or `total`."""
    period_ends: datetime | None = None
    """When they begin anew; null = never."""


def projects_of(workspace: Workspace) -> list[ProjectView]:
    """Every project and user that is described or has jobs, in the order of their names; projects first."""
    settings, machine = workspace.settings, workspace.loaded.machine
    if asking.scheduler(workspace.paths) is None:
        workspace.settle()
    jobs, attempts, meta = _read(workspace)
    views: dict[tuple[str, str], ProjectView] = {}
    for name, project in settings.projects.items():
        views["project", name] = _described("project", name, project, shared=bool(machine and name in machine.projects))
    for name, user in settings.users.items():
        views["user", name] = _described("user", name, user, shared=bool(machine and name in machine.users))
    for job in jobs:
        _count(views, "project", job.spec.project or "", job, always=True)
        _count(views, "user", job.spec.user or "", job, always=False)
    workload, now = Workload(jobs, attempts), SystemClock().now()
    accounting = accounting_of(workspace.paths, settings, workload, meta)
    for account in account_views(accounting, settings, workload, meta, now):
        _fill(views[account.kind, account.name], account)
    projects = {name: view for (kind, name), view in views.items() if kind == "project"}
    _shares(projects, meta.get(META_USAGE), {} if accounting is None else accounting.others_used, now)
    none = views.get(("project", ""))
    if none is not None and not (none.running or none.waiting or none.used_gpu_hours):
        del views["project", ""]
    return [views[key] for key in sorted(views)]


def _read(workspace: Workspace) -> tuple[list[Job], list[Attempt], Mapping[str, str]]:
    try:
        with workspace.reader() as reader, reader.snapshot():
            return reader.all_jobs(), reader.live_attempts(), reader.meta()
    except UsageError:  # nothing was queued so far
        return [], [], {}


def _described(kind: Literal["project", "user"], name: str, allowance: Allowance, *, shared: bool) -> ProjectView:
    view = ProjectView(kind=kind, name=name, machine_wide=shared, period=allowance.period)
    view.max_gpus, view.max_cpus = allowance.max_gpus, allowance.max_cpus
    view.max_memory_mib = None if allowance.max_memory is None else int(parse_size(allowance.max_memory))
    if isinstance(allowance, Project):
        view.weight = allowance.weight
        view.deadline = parse_deadline(allowance.deadline) if allowance.deadline else None
    return view


def _fill(view: ProjectView, account: AccountView) -> None:
    """What its account says: it knows what other workspaces use."""
    view.running_gpus, view.running_cpus = account.running_gpus, account.running_cpus
    view.running_memory_mib = account.running_memory_mib
    view.gpu_hours, view.cpu_hours, view.memory_hours = account.gpu_hours, account.cpu_hours, account.memory_hours
    view.period_ends = account.period_ends


def _count(
    views: dict[tuple[str, str], ProjectView], kind: Literal["project", "user"], name: str, job: Job, *, always: bool
) -> None:
    """Count one job; users that are not described are not shown."""
    view = views.get((kind, name))
    if view is None:
        if not always:
            return
        view = views[kind, name] = ProjectView(kind=kind, name=name, weight=1.0)
    if job.state is JobState.ACTIVE:
        needs = job.needs
        view.running += 1
        view.running_gpus += needs.gpus
        view.running_cpus += needs.cpus or 1
        view.running_memory_mib += needs.memory_mib or 0
    elif job.state in (JobState.QUEUED, JobState.HELD):
        view.waiting += 1


def _shares(
    projects: Mapping[str, ProjectView], kept: str | None, others_used: Mapping[str, float], now: datetime
) -> None:
    """Shares by weight among those that want something, and of what all used lately, in other workspaces too."""
    active = sum(view.weight or 0.0 for view in projects.values() if view.running or view.waiting)
    for view in projects.values():
        if active and (view.running or view.waiting) and view.weight is not None:
            view.share_by_weight = view.weight / active
    known = kept_usage(kept)
    if known is None and not others_used:
        return
    usage, now_s = Usage(), now.timestamp()
    if known is not None:
        usage.restore(known)
    usage.set_others(others_used, now_s)
    for name, view in projects.items():
        view.used_gpu_hours = usage.used(name, now_s) / GPU_HOUR_S
    total = sum(view.used_gpu_hours or 0.0 for view in projects.values())
    if total:
        for view in projects.values():
            view.share_of_use = (view.used_gpu_hours or 0.0) / total
