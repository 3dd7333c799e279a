"""What happened: the only way in which a workload changes, and its history."""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.domain.accounts import Grant
from researchflow_tmux.domain.attempt import Attempt, Ended, Stopping
from researchflow_tmux.domain.gpus import GpuCondition
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason


class JobSubmitted(msgspec.Struct, frozen=True, kw_only=True, tag="job_submitted"):
    """A new job is in the workspace."""

    job: Job

    @property
    def job_id(self) -> int:
        """The new job's id."""
        return self.job.id


class JobChanged(msgspec.Struct, frozen=True, kw_only=True, tag="job_changed"):
    """A job's state changed, by hand or by rule; `reason` says why."""

    job_id: int
    state: JobState
    reason: Reason
    by: str = "scheduler"
    not_before: datetime | None = None
    retries_used: int | None = None
    """None = unchanged."""
    ooms: int | None = None
    gpu_losses: int | None = None
    gpu_memory_mib: int | None = None
    """0 = what its request says again."""
    memory_mib: int | None = None
    """0 = what its request says again."""
    launch_failures: int | None = None
    preemptions: int | None = None
    keeps_place: bool = False
    """Queued again where it was: by the time at which it was queued before."""
    slot_waits: int = 0
    exit_code: int | None = None


class JobRespecified(msgspec.Struct, frozen=True, kw_only=True, tag="job_respecified"):
    """Its specification was replaced before it ran (a changed pin, config or priority)."""

    job_id: int
    job: Job
    why: str = ""
    """In words, when it is something else."""


class AttemptPlanned(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_planned"):
    """The intent to launch: durable before tmux is asked."""

    attempt: Attempt

    @property
    def job_id(self) -> int:
        """The job of the attempt."""
        return self.attempt.job_id


class AttemptLaunching(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_launching"):
    """tmux was asked to open the session."""

    job_id: int
    number: int
    runner_pid: int | None = None


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_started"):
    """The runner was seen holding its claim."""

    job_id: int
    number: int
    runner_pid: int
    started_at: datetime
    headless: bool = False


class AttemptGranted(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_granted"):
    """A running attempt may use more of its budgets than so far, or less: durable before its runner is told."""

    job_id: int
    number: int
    grant: Grant


class AttemptStopping(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_stopping"):
    """The attempt was told to end."""

    job_id: int
    number: int
    stopping: Stopping


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True, tag="attempt_ended"):
    """The attempt is over."""

    job_id: int
    number: int
    ended: Ended
    quarantined: tuple[int, ...] = ()


class QuarantineLifted(msgspec.Struct, frozen=True, kw_only=True, tag="quarantine_lifted"):
    """The processes that could not be killed are gone: the slots are free."""

    job_id: int
    number: int


class GpuChanged(msgspec.Struct, frozen=True, kw_only=True, tag="gpu_changed"):
    """What is decided about a GPU changed: drained, enabled, lost, back."""

    gpu: GpuCondition
    """As it is from now on."""
    text: str
    """What happened to it, in words that follow its name: "drained by ann", "lost: GPU is lost"."""
    by: str = "scheduler"
    job_id: None = None


class GpuIdle(msgspec.Struct, frozen=True, kw_only=True, tag="gpu_idle"):
    """A GPU that could be used has had no job for a while. Told once each time that it becomes so."""

    uuid: str
    index: int
    since: datetime
    idle_s: float
    """Seconds without a job when this was told: at least `gpu_idle_after`."""
    waiting: int
    """Jobs that wait (for something else: a dependency, several GPUs); 0 = there is nothing to do."""
    job_id: None = None


class QueueEmpty(msgspec.Struct, frozen=True, kw_only=True, tag="queue_empty"):
    """The last job that could run has ended: nothing waits in the queue and nothing runs."""

    counts: dict[str, int]
    """Jobs by state."""
    job_id: None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """Something worth telling that changed no state."""

    text: str
    job_id: int | None = None
    level: str = "info"
    """"info" or "warning"."""


Payload = (
    JobSubmitted
    | JobChanged
    | JobRespecified
    | AttemptPlanned
    | AttemptLaunching
    | AttemptStarted
    | AttemptGranted
    | AttemptStopping
    | AttemptEnded
    | QuarantineLifted
    | GpuChanged
    | GpuIdle
    | QueueEmpty
    | Notice
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the history."""

    seq: int
    at: datetime
    boot_id: str
    payload: Payload
