"""Events in words: one sentence each, for the log, the live table, `history` and the morning summary."""

from __future__ import annotations

from collections.abc import Callable

from researchflow_tmux.domain.attempt import Killed, Lost
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptPlanned,
    AttemptStarted,
    AttemptStopping,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
    Payload,
    QuarantineLifted,
)
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.names import gpu_suffix


def describe(payload: Payload, name_of: Callable[[int], str]) -> str | None:
    """What happened, in a sentence that starts with the job's name; None = not worth a line."""
    match payload:
        case JobSubmitted(job=job):
            return f"{job.name}: {'held' if job.state is JobState.HELD else 'queued'}"
        case JobChanged(job_id=job_id, state=state, reason=reason):
            return f"{name_of(job_id)}: {_state_words(state)}{_because(state, str(reason))}"
        case AttemptPlanned(attempt=attempt):
            where = gpu_suffix(attempt.allocation.indices)
            return f"{name_of(attempt.job_id)}: attempt {attempt.number} goes to {where} as session {attempt.session}"
        case AttemptStarted(job_id=job_id, headless=True):
            return f"{name_of(job_id)}: runs on without its session (tmux is gone); its log is complete"
        case AttemptStarted(job_id=job_id):
            return f"{name_of(job_id)}: running"
        case AttemptStopping(job_id=job_id, stopping=stopping):
            return f"{name_of(job_id)}: told to stop ({stopping.by})"
        case AttemptEnded(ended=ended) if ended.note or isinstance(ended.outcome, Killed | Lost):
            note = ended.note or getattr(ended.outcome, "why", "") or "its attempt was killed"
            return f"{name_of(payload.job_id)}: {note}"
        case QuarantineLifted(job_id=job_id):
            return f"{name_of(job_id)}: its last processes are gone; its slots are free again"
        case Notice(job_id=job_id, text=text):
            return text if job_id is None else f"{name_of(job_id)}: {text}"
        case JobRespecified(job_id=job_id):
            return f"{name_of(job_id)}: its description changed"
        case AttemptLaunching() | AttemptEnded():
            return None


def _state_words(state: JobState) -> str:
    return "queued again" if state is JobState.QUEUED else str(state)


def _because(state: JobState, reason: str) -> str:
    if not reason or reason == str(state):
        return ""
    return f" ({reason.removeprefix(f'{state}: ')})"
