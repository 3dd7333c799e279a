"""What was expected of each attempt when it started: only what was known by then counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended
from researchflow_tmux.domain.job import Job
from researchflow_tmux.hindsight.spans import Expected
from researchflow_tmux.policies.prediction.history import duration_of

Guess = Callable[[Job], Expected | None]
"""How long a job should take; None = nothing is known of its like."""
START, END = 0, 1
"""What ends at the moment at which another starts is not known to it yet."""
Learn = Callable[[Job, float], None]
"""A job took so many seconds and succeeded."""


def expected_then(
    jobs: Mapping[int, Job], attempts: Iterable[Attempt], guess: Guess, learn: Learn
) -> dict[AttemptKey, Expected]:
    """What `guess` said of each attempt at its start, having learned from all successes before it.

    `guess` and `learn` belong to an estimator that knows nothing yet. What goes on from a checkpoint is left out: how
    much of the work was left is not known.
    """
    moments: list[tuple[float, int, Attempt]] = []
    for attempt in attempts:
        if attempt.job_id not in jobs:
            continue
        started = getattr(attempt.phase, "started_at", None)
        if started is not None:
            moments.append((started.timestamp(), START, attempt))
            if isinstance(attempt.phase, Ended):
                moments.append((attempt.phase.ended_at.timestamp(), END, attempt))
    found: dict[AttemptKey, Expected] = {}
    for _, what, attempt in sorted(moments, key=lambda each: each[:2]):
        job = jobs[attempt.job_id]
        if what == START:
            said = guess(job) if attempt.resumed_step is None else None
            if said is not None:
                found[attempt.key] = said
        else:
            took_s = duration_of(job, attempt, attempt.phase) if isinstance(attempt.phase, Ended) else None
            if took_s is not None:
                learn(job, took_s)
    return found
