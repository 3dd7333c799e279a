"""Events in words: one sentence each, for the log, the live table, `history` and the morning summary."""

from __future__ import annotations

from collections.abc import Callable

from researchflow_tmux.domain.attempt import PREEMPTED, Killed, Lost
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptPlanned,
    AttemptStarted,
    AttemptStopping,
    GpuChanged,
    GpuIdle,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
    Payload,
    QuarantineLifted,
    QueueEmpty,
)
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.names import gpu_suffix
from researchflow_tmux.domain.units import counted


def describe(payload: Payload, name_of: Callable[[int], str]) -> str | None:
    """What happened, in a sentence that starts with the job's name; None = not worth a line."""
    match payload:
        case JobSubmitted(job=job):
            return f"{job.name}: {'held' if job.state is JobState.HELD else 'queued'}"
        case JobChanged(job_id=job_id, state=state, reason=reason):
            return f"{name_of(job_id)}: {_state_words(state)}{_because(state, str(reason))}"
        case JobRespecified(job_id=job_id, why=why):
            return f"{name_of(job_id)}: {why or 'its description changed'}"
        case GpuChanged(gpu=gpu, text=text):
            return f"GPU {gpu.index} {text}"
        case GpuIdle(index=index, idle_s=idle_s, waiting=waiting):
            waits = f"; {counted(waiting, 'job')} in the queue" if waiting else ""
            return f"GPU {index} has had no job for {_about(idle_s)}{waits}"
        case QueueEmpty(counts=counts):
            told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            return f"the queue is empty: {told}"
        case Notice(job_id=None, text=text):
            return text
        case Notice(job_id=int(job_id), text=text):
            return f"{name_of(job_id)}: {text}"
        case _:
            fact = _attempt_fact(payload, name_of)
            return None if fact is None or payload.job_id is None else f"{name_of(payload.job_id)}: {fact}"


def is_silent(payload: Payload, on_failure: str) -> bool:
    """Whether it is for the history alone: a failure under `on_failure: silent`."""
    return on_failure == "silent" and isinstance(payload, JobChanged) and payload.state is JobState.FAILED


def _attempt_fact(payload: Payload, name_of: Callable[[int], str]) -> str | None:
    match payload:
        case AttemptPlanned(attempt=attempt):
            where = gpu_suffix(attempt.allocation.indices)
            resumed = resumed_words(attempt.resumed_step, attempt.lost_s)
            return f"attempt {attempt.number} goes to {where} as session {attempt.session}{resumed and f', {resumed}'}"
        case AttemptStarted(headless=True):
            return "runs on without its session (tmux is gone); its log is complete"
        case AttemptStarted():
            return "running"
        case AttemptStopping(stopping=stopping):
            if stopping.by == PREEMPTED and stopping.room_for is not None:
                return f"told to save itself and to stop: it makes room for {name_of(stopping.room_for)}"
            return f"told to stop ({stopper(stopping.by)})"
        case AttemptEnded(ended=ended) if ended.note or isinstance(ended.outcome, Killed | Lost):
            return ended.note or getattr(ended.outcome, "why", "") or "its attempt was killed"
        case QuarantineLifted():
            return "its last processes are gone; its slots are free again"
        case _:
            return None


def stopper(by: str) -> str:
    """Who, or what, stops an attempt, in words that follow "stopped by"."""
    known = {"gpu_lost": "the loss of its GPU", "ram": "the lack of memory", "budget": "its budget"}
    return {**known, PREEMPTED: "a more urgent job"}.get(by, by)


def resumed_words(step: int | None, lost_s: float | None) -> str:
    """Where an attempt goes on and what that costs; empty for one that begins at the start."""
    if step is None:
        return ""
    return f"from step {step}" + ("" if lost_s is None else f", {_about(lost_s)} lost")


def _about(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _state_words(state: JobState) -> str:
    return "queued again" if state is JobState.QUEUED else str(state)


def _because(state: JobState, reason: str) -> str:
    if not reason or reason == str(state):
        return ""
    return f" ({reason.removeprefix(f'{state}: ')})"
