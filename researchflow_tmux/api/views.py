"""What people are shown of a workspace: plain records, the same for tables, JSON and the live screen."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from researchflow_tmux.api.plan_views import PlannedGroup


class UsageView(msgspec.Struct, kw_only=True):
    """What an attempt uses, with its whole process tree. null = unknown, or not measured (yet)."""

    at: datetime | None
    """When the current figures were measured; null once it has ended."""
    cpu_pct: float | None
    """100 = one core busy."""
    rss_mib: float | None
    gpu_mib: int | None
    """On that of its GPUs on which it is most."""
    gpu_util_pct: float | None
    """The mean over its GPUs."""
    peak_cpu_pct: float | None
    peak_rss_mib: float | None
    peak_gpu_mib: int | None
    peak_gpu_util_pct: float | None
    mean_gpu_util_pct: float | None
    """Over its GPUs and its time."""


class HardwareView(msgspec.Struct, kw_only=True):
    """What kind of GPU a job needs. null = any."""

    words: str
    """All of it, for people."""
    gpu_type: list[str] | None
    """One of these, the preferred one first."""
    min_gpu_memory_mib: int | None
    compute_capability: str | None
    """The least one, such as `8.0`."""
    topology: str | None
    """How its GPUs should be connected: `nvlink`, `same_switch` or `same_numa`."""
    topology_required: bool
    """It waits for GPUs that are connected so."""


class JobView(msgspec.Struct, kw_only=True):
    """One job as shown. null = unknown or not yet."""

    id: int
    name: str
    state: str
    reason: str | None
    reason_code: str | None
    until: datetime | None
    gpus: list[int]
    """Physical indices it runs (or last ran) on."""
    gpus_wanted: int
    session: str | None
    attempt: int
    headless: bool
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    elapsed_s: float | None
    exit_code: int | None
    priority: int
    group: str | None
    retries_used: int
    log: str | None
    source: str
    key: str
    resumed_step: int | None = None
    """The step of the checkpoint that its latest attempt was given to go on from; null = it was given none."""
    labels: dict[str, str] = {}
    """What its user tells it from others by: `@key=value` in commands."""
    array_index: int | None = None
    """Which job of its array it is; null = it is in none."""
    lost_s: float | None = None
    """Seconds of the attempt before that the checkpoint does not have."""
    ooms: int = 0
    """Times it ran out of memory since it was last queued by hand."""
    gpu_memory_mib: int | None = None
    """MiB it asks for on each of its GPUs: as declared, or more after it ran out of them; null = not said."""
    share: float | None = None
    """The part of each GPU that it asks for itself; null = what `max_jobs_per_gpu` makes of one."""
    hardware: HardwareView | None = None
    """What kind of GPU it needs; null = it runs on any."""
    gpu_losses: int = 0
    """Times it was queued again because its GPU was lost."""
    preemptible: bool = False
    """Whether it may be stopped for a job with a deadline."""
    preemptions: int = 0
    """Times it was stopped so since it was last queued by hand."""
    preempted_gpu_s: float = 0.0
    """GPU-seconds that it had to do again because of that, in all and as far as is known."""
    room_for: str | None = None
    """Name of the job for which it saves itself and stops just now."""
    project: str | None = None
    """Whose share of the GPUs it uses; null = nobody's in particular."""
    deadline: datetime | None = None
    """When it should have ended."""
    usage: UsageView | None = None
    """What its latest attempt uses, or has used; null = it was never measured."""
    eta_at: datetime | None = None
    """When it should end, while it runs; null = unknown (of what waits see `rfsched plan`)."""
    eta_low_at: datetime | None = None
    """With `eta_high_at`: the interval that holds the end in four cases of five."""
    eta_high_at: datetime | None = None
    progress_pct: float | None = None
    """How far it is, if it reports that or prints a bar or "epoch k/n"."""


class GpuView(msgspec.Struct, kw_only=True):
    """One GPU as shown."""

    index: int
    uuid: str
    name: str
    kind: str
    slots: int | None
    """Jobs at a time; null = unlimited."""
    jobs: list[str]
    others: list[str]
    """Holders of leases from other workspaces."""
    blocked: str | None
    """Why nothing starts there now."""
    state: str
    """`ok`, `blocked`, `draining` (drained, with jobs on it), `drained`, or `lost`."""
    used_mib: int | None
    total_mib: int | None
    util_pct: int | None
    temperature_c: int | None
    power_w: float | None


class SchedulerView(msgspec.Struct, kw_only=True):
    """The scheduler as shown."""

    running: bool
    pid: int | None = None
    host: str | None = None
    session: str | None = None
    started_at: datetime | None = None
    seen_at: datetime | None = None
    """When it last wrote down what it sees."""
    note: str | None = None
    halted: str | None = None
    """Why it launches nothing just now."""
    policy_trouble: str | None = None
    """Why another policy decides than the one that was chosen."""


class HoursView(msgspec.Struct, kw_only=True):
    """Hours of one resource in the period that is under way."""

    used: float
    """By jobs that have ended, and by running ones so far."""
    granted: float
    """What running jobs may use besides. What they do not use is given back when they end."""
    limit: float | None
    """The budget; null = there is none."""


class AccountView(msgspec.Struct, kw_only=True):
    """One project or user that is described in the settings. null = no limit, or unknown."""

    kind: Literal["project", "user"]
    name: str
    weight: float | None
    """Only projects have one."""
    share_of_use: float | None
    """Its part of the GPU time that all projects used lately; null = none was used, or no policy counts it."""
    running_gpus: int
    max_gpus: int | None
    running_cpus: int
    max_cpus: int | None
    running_memory_mib: int
    max_memory_mib: int | None
    gpu_hours: HoursView
    cpu_hours: HoursView
    memory_hours: HoursView
    """GiB-hours."""
    period: str
    """`day`, `week`, `month` or `total`."""
    period_ends: datetime | None
    """When its budgets begin anew; null = never."""


class StatusView(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """Everything `rfsched status` shows."""

    schema_name: str = "rfsched.status/1"
    at: datetime
    workspace: str
    task_name: str
    counts: dict[str, int]
    jobs: list[JobView]
    not_listed: int = 0
    """Jobs that wait and are left out of `jobs`; 0 unless only the first ones were asked for."""
    gpus: list[GpuView]
    scheduler: SchedulerView
    projects: list[AccountView] = []
    """The projects and users that the settings describe: what they have, and what is left of their budgets."""
    totals: list[PlannedGroup] = []
    """When everything, and each group and project, should be through; empty = not asked for, or too many jobs."""
    not_queued: list[str] = []
    """What the scheduler found in config_dir and job_dir and could not queue: file, line, what is wrong."""
    not_shown: list[str] = []
    """Files in which the state of their jobs does not stand as it is, and why: locked, write-protected."""
