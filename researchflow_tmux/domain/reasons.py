"""Why a job waits or ended: a closed set, worded in one place."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class ReasonCode(StrEnum):
    """The closed set of reasons."""

    # why a job waits
    NEXT = "next"
    DEPENDENCY = "dep"
    HELD = "held"
    ARRAY_FULL = "array_limit"
    SLOTS_FULL = "capacity"
    CPU_FULL = "cpu_capacity"
    CORES = "cores"
    RESERVED = "reserved"
    FIRST = "first"
    BEHIND = "behind"
    WOULD_DELAY = "would_delay"
    DRAIN = "drain"
    DEADLINE = "deadline_unreachable"
    MAKING_ROOM = "making_room"
    REFUSED = "refused"
    FOREIGN = "foreign"
    LEASED = "leased"
    UNREADABLE = "unreadable"
    DRAINED = "drained"
    GPU_LOST = "gpu_lost"
    UNKILLED = "unkilled"
    THRESHOLD = "threshold"
    GRACE = "grace"
    RAM = "ram"
    CAP = "cap"
    BUDGET = "budget"
    NO_HARDWARE = "hw_none_free"
    IMPOSSIBLE = "impossible"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    AFTER_FAILURE = "after_failure"
    NO_SCHEDULER = "no_scheduler"
    HOST = "host"
    # why a job ended, or was put back into the queue
    DONE_BEFORE = "done_before"
    SUCCEEDED = "succeeded"
    EXIT_CODE = "exit_code"
    NO_MARKER = "no_marker"
    NOT_VERIFIED = "not_verified"
    NO_OUTPUT = "no_output"
    UP_TO_DATE = "up_to_date"
    SIGNALLED = "signalled"
    TIME_LIMIT = "time_limit"
    OUT_OF_MEMORY = "out_of_memory"
    LAUNCH_FAILED = "launch_failed"
    SLOT_TAKEN = "slot_taken"
    LOST = "lost"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    UPSTREAM = "upstream"
    NOT_NEEDED = "not_needed"
    REQUEUED = "requeued"
    PREEMPTED = "preempted"


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reason: its code for programs, its words for people, and the time it is known to end, if any."""

    code: ReasonCode
    text: str = ""
    """The particular fact: which job, which GPU, how much of what."""
    until: datetime | None = None

    def __str__(self) -> str:
        words = WORDS[self.code]
        return f"{words}: {self.text}" if self.text else words


WORDS: dict[ReasonCode, str] = {
    ReasonCode.NEXT: "starts next",
    ReasonCode.DEPENDENCY: "waits for",
    ReasonCode.HELD: "held",
    ReasonCode.ARRAY_FULL: "as many of its array run as may",
    ReasonCode.SLOTS_FULL: "all slots are taken",
    ReasonCode.CORES: "CPU cores are taken",
    ReasonCode.CPU_FULL: "all CPU-job places are taken",
    ReasonCode.FIRST: "first in line",
    ReasonCode.BEHIND: "waits for its turn",
    ReasonCode.WOULD_DELAY: "would delay",
    ReasonCode.DRAIN: "nothing without a time limit passes",
    ReasonCode.DEADLINE: "cannot make its deadline any more",
    ReasonCode.MAKING_ROOM: "is being given room",
    ReasonCode.REFUSED: "refused by the policy",
    ReasonCode.RESERVED: "slots are kept for an earlier job",
    ReasonCode.FOREIGN: "GPU filled by others",
    ReasonCode.LEASED: "GPU leased by another workspace",
    ReasonCode.UNREADABLE: "GPU cannot be read",
    ReasonCode.DRAINED: "drained",
    ReasonCode.GPU_LOST: "lost",
    ReasonCode.UNKILLED: "processes of its last attempt cannot be killed",
    ReasonCode.THRESHOLD: "no GPU has room",
    ReasonCode.GRACE: "GPU settles",
    ReasonCode.RAM: "too little memory in the machine",
    ReasonCode.CAP: "as many jobs run as may",
    ReasonCode.BUDGET: "budget",
    ReasonCode.NO_HARDWARE: "no fitting GPU is free",
    ReasonCode.IMPOSSIBLE: "cannot run here",
    ReasonCode.BACKOFF: "waits before the next try",
    ReasonCode.AFTER_FAILURE: "stopped after a failure",
    ReasonCode.STOPPING: "the scheduler is stopping",
    ReasonCode.NO_SCHEDULER: "no scheduler is running",
    ReasonCode.HOST: "launching pauses",
    ReasonCode.DONE_BEFORE: "done before",
    ReasonCode.SUCCEEDED: "succeeded",
    ReasonCode.EXIT_CODE: "failed",
    ReasonCode.NOT_VERIFIED: "not verified",
    ReasonCode.NO_MARKER: "ended without its completion marker",
    ReasonCode.NO_OUTPUT: "ended without its output",
    ReasonCode.UP_TO_DATE: "up to date",
    ReasonCode.SIGNALLED: "killed",
    ReasonCode.TIME_LIMIT: "ran into its time limit",
    ReasonCode.OUT_OF_MEMORY: "out of memory",
    ReasonCode.LAUNCH_FAILED: "could not be launched",
    ReasonCode.SLOT_TAKEN: "slot taken by somebody else",
    ReasonCode.LOST: "lost",
    ReasonCode.CANCELLED: "cancelled",
    ReasonCode.WITHDRAWN: "withdrawn",
    ReasonCode.UPSTREAM: "an earlier job did not succeed",
    ReasonCode.NOT_NEEDED: "nothing that it waits for failed",
    ReasonCode.REQUEUED: "requeued",
    ReasonCode.PREEMPTED: "made room for something more urgent",
}
