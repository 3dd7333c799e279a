"""Wasted work: what was computed and is of no use to anybody.

An attempt that did not succeed wasted what it computed, but for what a later attempt took over from its last
checkpoint. What was taken over is of use if the job succeeds in the end, and wasted too if it does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.hindsight.spans import Span

USEFUL = frozenset({"succeeded", "up_to_date"})


def wasted_s(spans: Iterable[Span], jobs: Mapping[int, Job]) -> dict[AttemptKey, float]:
    """Seconds of each attempt that were wasted, by its key; what may still turn out to be of use is not among them."""
    by_job: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_job[span.job.id].append(span)
    found: dict[AttemptKey, float] = {}
    for job_id, own in by_job.items():
        found |= _of_job(sorted(own, key=lambda span: span.attempt.number), jobs[job_id])
    return found


def _of_job(spans: Sequence[Span], job: Job) -> dict[AttemptKey, float]:
    wasted: dict[AttemptKey, float] = {}
    open_s: dict[AttemptKey, float] = {}
    """What is kept in a checkpoint, by the attempt that computed it: it depends on the end of the job."""
    for place, span in enumerate(spans):
        if span.kind in USEFUL:
            open_s.clear()
            continue
        if span.going_on:
            continue
        follower = spans[place + 1].attempt if place + 1 < len(spans) else None
        if follower is None:
            if job.state.ended and job.state is not JobState.SUCCEEDED:
                open_s[span.attempt.key] = span.ran_s
                wasted |= open_s
            continue
        if follower.resumed_step is None:
            open_s[span.attempt.key] = span.ran_s
            wasted |= open_s  # the next one began anew
            open_s = {}
        else:
            # Of how much the checkpoint does not have nothing may be known: then nothing shows that it was of use.
            lost_s = span.ran_s if follower.lost_s is None else min(follower.lost_s, span.ran_s)
            wasted[span.attempt.key] = lost_s
            open_s[span.attempt.key] = span.ran_s
    return {key: seconds for key, seconds in wasted.items() if seconds > 0}
