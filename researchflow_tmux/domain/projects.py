"""Projects that share a machine, and the policies that decide whose job is next."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PolicyName = Literal["queue", "balanced", "fifo", "easy_fifo", "sjf", "fair_share", "makespan"]
"""`queue` = the order of the queue itself; the others are in `policies.planning.orders`."""


class Project(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided about one project."""

    weight: Annotated[float, Meta(gt=0, description="Its part of the GPUs, in relation to the others' weights.")] = 1.0
    max_gpus: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="GPUs it may have at a time; empty = any number.")
    ] = None
