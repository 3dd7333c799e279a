"""Projects and users that share a machine, and the policies that decide whose job is next."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

POLICY_NAMES = ("queue", "balanced", "fifo", "easy_fifo", "sjf", "fair_share", "makespan")
"""`queue` = the order of the queue itself; the others are in `policies.planning.orders`."""


Period = Literal["day", "week", "month", "total"]
"""How long a budget lasts before it begins anew, by the calendar of the machine; `total` = for ever."""

Hours = Annotated[float, Meta(ge=0)]


class Allowance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much one project or one user may have at a time, and use in a period. None = any amount."""

    max_gpus: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="GPUs at a time; empty = any number.")] = (
        None
    )
    max_cpus: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="CPU cores at a time (a job that asks for none counts as one); empty = any number."),
    ] = None
    max_memory: Annotated[
        str | Annotated[int, Meta(ge=0)] | None,
        Meta(description="Memory of the machine that its jobs may ask for at a time, such as `64GiB`; empty = any."),
    ] = None
    gpu_hours: Annotated[Hours | None, Meta(description="GPU-hours in each period; empty = any number.")] = None
    cpu_hours: Annotated[Hours | None, Meta(description="Core-hours in each period; empty = any number.")] = None
    memory_hours: Annotated[
        Hours | None, Meta(description="GiB-hours of memory in each period; empty = any number.")
    ] = None
    period: Annotated[
        Period, Meta(description="When the hours begin anew: each `day`, `week` (Monday), `month`, or never (`total`).")
    ] = "month"


class Project(Allowance, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about one project."""

    weight: Annotated[float, Meta(gt=0, description="Its part of the GPUs, in relation to the others' weights.")] = 1.0
    deadline: Annotated[
        str | None, Meta(description="When its jobs should have ended that have no deadline of their own.")
    ] = None


class User(Allowance, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about one user, by the login name."""
