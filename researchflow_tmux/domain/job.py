"""Jobs: what was asked for, and where each one stands."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.setting import NOTHING, Setting

CompletionRule = Literal["exit_code", "marker", "marker_and_exit"]
"""What makes an attempt a success: see docs/reference/config.md, `completion`."""

SuccessRule = Literal["no_error_only", "no_error_and_verify", "verify_only", "always"]
"""Which of "no error" (by the completion rule) and "verified" (by `verify`) make a success."""

Condition = Literal["success", "failure", "always"]
"""On what a job waits: that all it needs succeeded, that one of them failed, or merely that all ended."""


_FUNCTION = re.compile(r"(?:\S+\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")


def names_function(verify: str) -> bool:
    """Whether a `verify` is `module:function` or `file.py:function`; anything else is a shell line."""
    return _FUNCTION.fullmatch(verify) is not None


class JobState(StrEnum):
    """Where a job stands. Waiting for a dependency is QUEUED with a reason; HELD is by hand (or budget) only."""

    HELD = "held"
    QUEUED = "queued"
    ACTIVE = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        """True when nothing more happens to the job by itself."""
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.HELD: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.SKIPPED}),
    JobState.QUEUED: frozenset(
        {JobState.HELD, JobState.ACTIVE, JobState.CANCELLED, JobState.SKIPPED, JobState.SUCCEEDED, JobState.FAILED}
    ),
    JobState.ACTIVE: frozenset(
        {JobState.QUEUED, JobState.HELD, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.SUCCEEDED: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.SKIPPED: frozenset({JobState.QUEUED}),
}
"""The one transition table. QUEUED → FAILED: a job that cannot be launched at all (its config vanished)."""


class JobFiles(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files of a job that runs only if there is something to do; its runner looks right before it would start.

    Patterns are relative to the job's working directory. See `runner.freshness`.
    """

    definition: str
    """Digest of what makes it the job it is: its command, its variables, its patterns."""
    note: str
    """Absolute path of the file in which its runner notes a success."""
    inputs: tuple[str, ...] = ()
    """Must be there when it starts."""
    outputs: tuple[str, ...] = ()
    """Must be there when it has succeeded."""
    upstream: tuple[str, ...] = ()
    """The notes of the jobs it needs."""
    force: bool = False
    """Run it even if it is up to date."""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One requested command with its resources, as a job source yields it."""

    source: str
    """Which kind of source: "config", "command" or "sweep"."""
    key: str
    """Identity within the source: for a config the path relative to the workspace, for a command a unique id, for a
    job of a sweep the file and the values."""
    name: str
    """For people: the config's stem, or what the user said."""
    argv: tuple[str, ...] = ()
    """The program and its arguments. Exactly one of `argv` and `shell` is given."""
    shell: str | None = None
    """A POSIX shell script, run by `/bin/sh -c` (bash when the workspace needs it)."""
    workdir: str
    env_digest: str
    """Names the environment captured at submission (see `Store.save_environment`)."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables the user set for this job, laid over the captured environment."""
    request: ResourceRequest = msgspec.field(default_factory=ResourceRequest)
    completion: CompletionRule = "exit_code"
    marker: str | None = None
    """Absolute path of the completion file; None = the job has none."""
    success: SuccessRule | None = None
    """None = no error, and verified if there is a `verify`."""
    verify: str | None = None
    """A command line, or `module:function`, that is asked after the job has ended; see `adapters.attempt_verify`."""
    verify_timeout_s: float | None = None
    """None = the usual."""
    variables: dict[str, Any] = msgspec.field(default_factory=dict)
    """What a job without a config of its own is made of, for its `verify` function: a row, the values of a sweep."""
    output_dir: str | None = None
    config_path: str | None = None
    """Absolute path of the job's own config."""
    digests: dict[str, str] = msgspec.field(default_factory=dict)
    """SHA-256 by absolute path of the config and script at submission; a change is told at launch."""
    retries: int = 0
    """Automatic further attempts after a failure."""
    priority: int = 0
    after: tuple[int, ...] = ()
    """Ids of the jobs it needs."""
    when: Condition = "success"
    """How those must have ended: see `policies.conditions.standing`."""
    group: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Words of the user's by which jobs are chosen: `@model=bert`."""
    array: Array | None = None
    """The array it belongs to; None = to none."""
    array_index: int | None = None
    files: JobFiles | None = None
    """None = it runs whenever it is queued."""
    project: str | None = None
    """Whose share of the GPUs it uses; None = nobody's in particular."""
    deadline: datetime | None = None
    """When it should have ended."""
    user: str | None = None
    """Login name of who queued it; None = not known (queued by an old version)."""
    preemptible: bool = False
    """It may be stopped, with time to save itself, and queued again when something more urgent needs its GPUs."""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One job and where it stands. Changed only by `Workload.apply`.

    Being frozen it is never part of a cycle, nor is its spec: both do without the collector's 16 bytes (`gc=False`).
    """

    id: int
    spec: JobSpec
    slug: str
    """The name in the form that tmux and file names allow; unique in the workspace."""
    state: JobState
    queued_at: datetime
    reason: Reason | None = None
    """Why it waits, or why it ended as it did."""
    attempts: int = 0
    """Number of the latest attempt; 0 = none yet."""
    retries_used: int = 0
    gpu_losses: int = 0
    """Times it went back into the queue because its GPU was lost."""
    preemptions: int = 0
    """Times it was stopped for a more urgent job since somebody last queued it."""
    preempted_gpu_s: float = 0.0
    """GPU-seconds that it had to do again because of that, in all and as far as is known."""
    at_stake_gpu_s: float = 0.0
    """What its attempt had done that was stopped so last, until it is known from where the next one goes on."""
    ooms: int = 0
    """Times it ran out of memory since somebody last queued it."""
    gpu_memory_mib: int | None = None
    """MiB it is given on each GPU after it ran out of them; None = what its request says."""
    memory_mib: int | None = None
    """MiB of the machine's memory it is promised after it ran out of it; None = what its request says."""
    launch_failures: int = 0
    """Launches in a row that the host (not the job) refused."""
    slot_waits: int = 0
    """Times in a row that somebody else held the slot it was given."""
    ram_stops: int = 0
    """Times in a row that it was stopped because the machine's memory ran short."""
    ram_mib: int | None = None
    """What it used when that happened last."""
    not_before: datetime | None = None
    """Backoff: no attempt before this."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    succeeded_attempt: int = 0
    """Number of the attempt that finished the work (or after which somebody wanted it afresh): what later ones do
    begins anew, without the checkpoints of those up to here."""
    source_said: Setting = NOTHING
    """What its source said of the values that somebody has set by hand since: while it says the same, those hold."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name

    @property
    def needs(self) -> ResourceRequest:
        """What it asks for now: its request, with the memory that was found to be needed."""
        request = self.spec.request
        gpu_memory_mib = _more(request.gpu_memory_mib, self.gpu_memory_mib)
        memory_mib = _more(request.memory_mib, self.memory_mib)
        if (gpu_memory_mib, memory_mib) == (request.gpu_memory_mib, request.memory_mib):
            return request
        return msgspec.structs.replace(request, gpu_memory_mib=gpu_memory_mib, memory_mib=memory_mib)

    @property
    def failed_before(self) -> bool:
        """Whether it is queued for another try after a failure: it goes behind those that have not failed."""
        return self.retries_used > 0 or self.ooms > 0

    @property
    def not_needed(self) -> bool:
        """Skipped because nothing failed of what it waits to fail: as it should be."""
        return self.state is JobState.SKIPPED and self.reason is not None and self.reason.code is ReasonCode.NOT_NEEDED


def _more(declared: int | None, found: int | None) -> int | None:
    return declared if found is None or found <= (declared or 0) else found
