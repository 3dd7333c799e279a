"""Attempts: one execution of a job, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from researchflow_tmux.domain.accounts import Grant
from researchflow_tmux.domain.resources import Allocation

# How an attempt ended -------------------------------------------------------------------------------------------------


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag="exited"):
    """The job's process ended by itself (or was stopped after its marker appeared: `by_marker`)."""

    code: int | None
    succeeded: bool
    marker: bool = False
    by_marker: bool = False
    verified: bool | None = None
    """What the command that verifies said; None = it was not asked."""
    verify: str = ""
    """Why it was not verified."""
    unmade: tuple[str, ...] = ()
    """Outputs that were not there in spite of all else saying success."""


class UpToDate(msgspec.Struct, frozen=True, kw_only=True, tag="up_to_date"):
    """Its program did not run: nothing that it depends on changed since it last succeeded. A success."""


class Killed(msgspec.Struct, frozen=True, kw_only=True, tag="killed"):
    """Ended by a signal: ours (by = user, scheduler, session_killed, preempted, …) or somebody's (by = signal)."""

    by: str
    signal: int | None = None
    room_for: str = ""
    """Name of the job that it made room for, if it was preempted."""


class TimedOut(msgspec.Struct, frozen=True, kw_only=True, tag="timed_out"):
    """Stopped by its time limit."""

    limit_s: float | None = None


class LaunchFailed(msgspec.Struct, frozen=True, kw_only=True, tag="launch_failed"):
    """The job's program never started. `host` = the fault is tmux's or the machine's, not the job's."""

    reason: str
    host: bool = False


class SlotTaken(msgspec.Struct, frozen=True, kw_only=True, tag="slot_taken"):
    """The lease was not to be had: somebody else holds the GPU. Costs no retry."""

    reason: str


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True, tag="out_of_memory"):
    """It failed because memory ran out."""

    where: Literal["gpu", "ram"]
    line: str
    """What says so: a line of its output or of the kernel, or what the runner measured."""
    evidence: str = ""
    """Where the line is from: "log", "kernel log", "cgroup" or "limit" (its own memory limit)."""
    code: int | None = None
    """Its exit code, if it ended by itself."""
    signal: int | None = None


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """The runner is proven dead and left no exit record; the job's processes are proven dead too."""

    last_seen_at: datetime | None = None
    why: str = ""


Outcome = Exited | UpToDate | Killed | TimedOut | OutOfMemory | LaunchFailed | SlotTaken | Lost

# The phases of an attempt: each carries only what is valid in it ------------------------------------------------------


class Planned(msgspec.Struct, frozen=True, kw_only=True, tag="planned"):
    """The intent is durable; nothing has been asked of tmux yet, as far as we know."""

    at: datetime


class Launching(msgspec.Struct, frozen=True, kw_only=True, tag="launching"):
    """tmux was asked; the runner has not been seen holding its claim yet."""

    at: datetime
    runner_pid: int | None = None
    """None = tmux did not answer in time."""


class Running(msgspec.Struct, frozen=True, kw_only=True, tag="running"):
    """The runner holds its claim."""

    started_at: datetime
    runner_pid: int
    headless: bool = False
    """Its session is gone while it runs on (the tmux server died)."""


class Stopping(msgspec.Struct, frozen=True, kw_only=True, tag="stopping"):
    """Told to end; killed for good after `kill_at`."""

    by: str
    since: datetime
    kill_at: datetime
    runner_pid: int | None = None
    started_at: datetime | None = None
    requeue: bool = False
    """Queue the job again when it has ended."""
    save_s: float | None = None
    """So long it may take to save itself first; None = the usual few seconds."""
    room_for: int | None = None
    """Id of the job that it makes room for."""
    keeps: tuple[str, ...] = ()
    """UUIDs of the GPUs that are kept for that job until it has ended."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """It is over, and its process tree is proven dead."""

    outcome: Outcome
    ended_at: datetime
    started_at: datetime | None = None
    peak_rss_mib: float | None = None
    """Of the largest of its processes, as the kernel counted it."""
    cpu_s: float | None = None
    ran_s: float | None = None
    """Seconds from the start of its job to the end, by a clock that nobody sets; None = unknown."""
    peak_tree_mib: float | None = None
    """Of all its processes together, in any one measurement (`sample_interval`)."""
    peak_cpu_pct: float | None = None
    """100 = one core; between two measurements."""
    peak_gpu_mib: int | None = None
    """On any one of its GPUs."""
    peak_gpu_util_pct: float | None = None
    mean_gpu_util_pct: float | None = None
    """Over its GPUs and its time."""
    note: str = ""
    """What the runner had to add: leftovers killed, log output dropped, marker not written."""


Phase = Planned | Launching | Running | Stopping | Ended


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One execution of a job."""

    job_id: int
    number: int
    """1-based within the job."""
    allocation: Allocation
    session: str
    log: str | None
    planned_at: datetime
    boot_id: str
    hostname: str
    phase: Phase
    quarantined: tuple[int, ...] = ()
    """Pids that could not be killed: the slots stay taken until they are gone."""
    checkpoints: str | None = None
    """Directory (or URL) in which it keeps its checkpoints."""
    resumed_step: int | None = None
    """The step of the checkpoint it was given to go on from; None = it was given none."""
    resumed_from: str | None = None
    """Path of that checkpoint."""
    lost_s: float | None = None
    """Seconds of the attempt before that the checkpoint does not have; None = unknown."""
    grant: Grant | None = None
    """What it may use of the budgets it is charged to; None = it is on nobody's account."""

    @property
    def key(self) -> AttemptKey:
        """(job id, number)."""
        return (self.job_id, self.number)

    @property
    def live(self) -> bool:
        """True while it owns its slots."""
        return not isinstance(self.phase, Ended) or bool(self.quarantined)


PREEMPTED = "preempted"
"""Who stops an attempt that makes room for a job with a deadline."""

AttemptKey = tuple[int, int]
