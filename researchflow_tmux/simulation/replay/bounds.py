"""What no schedule can do better: bounds on the work done by a time, and on the end of the last job.

They hold for every schedule on G GPUs that learns of a job when it comes, so a figure measured against them says how
much there was to gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from researchflow_tmux.simulation.replay.trace import TraceJob


def work_bound(jobs: Sequence[TraceJob], gpus: int, by_s: float) -> float:
    """GPU-seconds that can be done by a time: min over s ≤ T of [f(s) + G·(T − s)].

    f(s) = Σ g·min(p, s − a) over the jobs that came by s: on a machine without end every job would run at once, and
    none has done more than its length, or than it has been there for.
    """
    changes = sorted(
        (at_s, slope)
        for job in jobs
        for at_s, slope in ((job.submit_s, job.gpus), (job.submit_s + job.duration_s, -job.gpus))
        if at_s < by_s
    )
    done, slope, last_s = 0.0, 0, 0.0
    least = gpus * by_s
    for at_s, change in [*changes, (by_s, 0)]:
        done += slope * (at_s - last_s)
        slope, last_s = slope + change, at_s
        least = min(least, done + gpus * (by_s - at_s))
    return least


def makespan_bound(jobs: Sequence[TraceJob], gpus: int) -> float:
    """Seconds until the last job can have ended: the largest of three bounds.

    From any time a on, the work that comes takes W(r ≥ a)/G; a job cannot end before r + p; and those wider than half
    the machine run one after the other.
    """
    ordered = sorted(jobs, key=lambda job: -job.submit_s)
    work = accumulate(job.gpus * job.duration_s / gpus for job in ordered)
    wide = accumulate(job.duration_s if job.gpus > gpus / 2 else 0.0 for job in ordered)
    bounds = (
        max(job.submit_s + max(all_s, wide_s), job.submit_s + job.duration_s)
        for job, all_s, wide_s in zip(ordered, work, wide, strict=True)
    )
    return max(bounds, default=0.0)
