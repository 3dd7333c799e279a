"""Notes on counts that are about to be written: enough to tell after a crash whether they were."""

from __future__ import annotations

from researchflow_tmux.adapters.sources.tables.counts import COUNTED
from researchflow_tmux.domain.job import Job

INTENT = "i"


def intent(job: Job, before: int, after: int) -> str:
    """The success of this job's latest attempt is about to be counted: `run_num` goes from one number to another."""
    return f"{INTENT}{job.attempts}:{before}:{after}"


def settled(note: str, run: int | None) -> str | None:
    """What became of it; None = it was not written.

    Args:
        note: What `intent` made.
        run: The number in the table now; None = the row is gone or cannot be understood.
    """
    attempt, before, _after = note[len(INTENT) :].split(":")
    if run is None or run == int(before):
        return None
    # It was written; or somebody has put a number of their own there, which holds.
    return f"{COUNTED}{attempt}"
