"""What people are shown of a plan: plain records, the same for tables, JSON and Python."""

from __future__ import annotations

from datetime import datetime

import msgspec


class PlannedJob(msgspec.Struct, kw_only=True):
    """One job that runs, or would run. null = unknown."""

    id: int
    name: str
    state: str
    project: str | None
    group: str | None
    gpus: list[int]
    """Physical indices; empty = a CPU job, or (see `by_order`) not known so far ahead."""
    gpus_wanted: int
    start_at: datetime
    start_low_at: datetime | None
    """With `start_high_at`: the interval that it lies in four times of five."""
    start_high_at: datetime | None
    start_known: bool
    """Whether all that starts before it is of a kind that has ended before; else its start is a mere guess."""
    eta_at: datetime | None
    """When it should end; null = nothing like it has ended so far."""
    eta_low_at: datetime | None
    eta_high_at: datetime | None
    source: str
    """Where its duration is from: `progress`, `log`, `history`, `limit`, or `assumed` (an hour: nothing is known)."""
    progress_pct: float | None = None
    deadline: datetime | None = None
    late: bool | None = None
    """Whether it should end after its deadline; null = it has none, or the end is unknown."""
    hardware: str | None = None
    """What kind of GPU it needs, in words; null = any."""
    by_order: bool = False
    """So far ahead that its start goes by its place in the queue and not by decisions."""


class PlannedGroup(msgspec.Struct, kw_only=True):
    """Several jobs together: when the last of them should end."""

    name: str
    kind: str
    """`group` (or pipeline), `project`, or `queue` (everything)."""
    jobs: int
    eta_at: datetime | None
    eta_low_at: datetime | None
    eta_high_at: datetime | None


class NotPlanned(msgspec.Struct, kw_only=True):
    """A job that would not start as things are."""

    id: int
    name: str
    state: str
    reason: str


class PlanView(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """What will start when and where."""

    schema_name: str = "rfsched.plan/1"
    at: datetime
    workspace: str
    running: bool
    """Whether a scheduler runs; if not: as if it were started now."""
    policy: str
    jobs: list[PlannedJob]
    """In the order of their starts."""
    groups: list[PlannedGroup]
    queue: PlannedGroup
    not_planned: list[NotPlanned]
    tries: int
    """Times that durations were drawn for the intervals."""
    decided: int
    """Jobs whose start was found by real decisions; the others follow in the order of the queue."""
    notes: list[str]
    """What the plan cannot know."""
