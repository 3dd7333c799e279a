"""One decision about what starts next, as it is kept: all that it went by, so that it can be made again.

GPUs are numbers here: their places in the order of their UUIDs. Moments (`…_s`) are seconds since 1970, spans seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

SCHEMA = "rfsched.decision/1"


class Considered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job that was looked at, in the order in which that happened."""

    id: int
    name: str
    key: tuple[Any, ...]
    """By which jobs are ordered, the smallest first: (−priority, failed before, K, −uprank, id)."""
    gpus: int
    answer: str
    """`started`, or why not: the code of what the room said, or of why the policy went past it."""
    text: str = ""
    """The same in words, where the room said it."""
    asked: bool = False
    """The policy would have started it, so the room was asked; else it was gone past."""
    on: tuple[int, ...] = ()
    """Physical indices of the GPUs that it got."""
    got: tuple[int, ...] = ()
    """The same GPUs, by place."""
    project: str = ""
    lane: bool = False
    """It is urgent: looked at before all others."""
    early: bool = False
    """Looked at before its turn."""
    avoid: tuple[int, ...] = ()
    """GPUs that are kept for the reserved job."""
    alone: bool = False
    """What was said holds for this job only, and not for all that ask for the same."""
    ready_s: float = 0.0
    deadline_s: float | None = None
    p50_s: float = 0.0
    p80_s: float = 0.0
    p90_s: float = 0.0
    limit_s: float | None = None
    share: float = 1.0
    must: tuple[int, ...] = ()
    may: tuple[int, ...] | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    claim: Any = None
    """What it asks of the accounts of its project and user; None = nothing."""
    asks: int = 0
    """Jobs of one number ask for the same apart from GPUs."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision."""

    schema: str = SCHEMA
    at: datetime
    policy: str
    """`queue`, a built-in one, or a plug-in."""
    waiting: int
    """Jobs in the queue."""
    free: dict[int, float] = {}
    """Part of each GPU that was free; those that are blocked are left out."""
    cpu_places: int = 0
    considered: tuple[Considered, ...] = ()
    overtaken: Considered | None = None
    """Whose turn it was when a wide job went before its turn, if it was not looked at itself."""
    started: tuple[int, ...] = ()
    """Ids of the jobs that this decision started."""
    more: bool = False
    """It ended before all was looked at: the next one follows immediately."""
    cap_s: float = 0.0
    """C of the policy: by how much a reservation may be put off."""
    ratios: dict[str, float] = {}
    """U/w of the projects that were looked at: the smallest first."""
    prices: dict[str, float] = {}
    """What one GPU-second more adds to that."""
    accounts: dict[str, Any] = {}
    """Of whoever was looked at: the bounds, and what was in use of them."""
    aside: tuple[int, ...] = ()
    """Jobs for which running ones make room: nobody asks for theirs."""
    facts: dict[str, Any] = {}
    """What else the policy went by."""
    choosy: tuple[int, ...] = ()
    """Free GPUs of which jobs that cannot run on any other had the first choice."""
    scarce: tuple[int, ...] = ()
    """All GPUs of the kinds that those need."""
    gathered: tuple[int, ...] = ()
    """GPUs that the first of those which waits for several will get."""
    gathered_until_s: float = 0.0
    """When it should."""
    stays: tuple[tuple[int, float, float], ...] = ()
    """What runs, if a reservation was made: GPU, share, and when it should end."""
    first_s: dict[int, float] = {}
    """When a job with a reservation was first expected to start."""
    reserved: int | None = None
    """The job that has the reservation."""
    shadow_s: float | None = None
    """T_s: when there should be room for it."""
    kept: tuple[int, ...] = ()
    """The GPUs that are kept for it."""
    passed: dict[str, int] = {}
    """How many classes of jobs were gone past unseen, by why."""
