"""The machine register: one page for each workspace, from which the others see what it uses and wants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from researchflow_tmux.domain.accounts import AccountUse, Rate

SCHEMA = "rfsched.register/1"


class LiveAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt that uses something of a shared account, so that others can tell whether it still lives."""

    tag: str
    """Its tag, as its leases carry it."""
    owners: tuple[str, ...]
    rate: Rate
    uuids: tuple[str, ...] = ()
    """The GPUs on which it has leases; none = it has no lease that could tell."""
    runner_pid: int | None = None
    """None = its runner was not seen yet."""


class Want(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What waits first in a workspace for GPUs that others may have."""

    project: str
    gpus: int
    latest_start_s: float | None = None
    """Of an urgent job: when it must start (seconds since 1970). None = it is not urgent."""
    ratio: float | None = None
    """What its project used lately everywhere, by its weight: decayed GPU-seconds. None = it is not shared."""


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one workspace says of itself. Amounts of use are as of `at`."""

    schema: str = SCHEMA
    workspace_id: str
    path: str
    task_name: str
    user: str
    uid: int
    pid: int
    """Of its scheduler, with `start_time` (clock ticks since boot): one process of one boot."""
    start_time: int
    boot_id: str
    at: datetime
    counts: Mapping[str, int] = {}
    """Jobs by state."""
    gpus: tuple[int, ...] = ()
    """Physical indices of the GPUs that its jobs are on."""
    leased: Mapping[str, int] = {}
    """The real GPUs that it may use, by UUID: their physical indices."""
    simulated: bool = False
    """Its GPUs do not exist."""
    next_deadline: datetime | None = None
    uses: Mapping[str, AccountUse] = {}
    """Of the shared accounts, by owner (`project vision`, `user ann`)."""
    used_gpu_s: Mapping[str, float] = {}
    """Decayed GPU-seconds that each shared project used here."""
    attempts: tuple[LiveAttempt, ...] = ()
    wants: tuple[Want, ...] = ()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A page, as somebody else reads it."""

    name: str
    """Of the file; for words when the page cannot be read."""
    page: Page | None
    """None = it cannot be read now, and was never read before."""
    alive: bool = False
    """Its scheduler runs."""
    problem: str | None = None
    """Why what is in `page` may be old, or why there is none."""
    living: frozenset[str] = frozenset()
    """With a dead scheduler: the tags of those of its attempts that live, or may."""


class Others(msgspec.Struct, frozen=True, kw_only=True):
    """What all other workspaces together use and want."""

    uses: Mapping[str, AccountUse] = {}
    used_gpu_s: Mapping[str, float] = {}
    """Decayed to the moment of the look."""
    wants: tuple[tuple[str, Want], ...] = ()
    """With the workspace that says so (its directory)."""
    unknown: tuple[str, ...] = ()
    """Why what others use is not fully known; then nothing starts that is on a shared account with a limit."""


NOBODY = Others()
