"""What a workload's jobs are given besides: deadlines, and leave to be stopped for those that have one."""

from __future__ import annotations

from msgspec.structs import replace

from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.trace import Trace

LEAST_SLACK, MOST_SLACK = 1.5, 12.0
"""Time from coming to the deadline, as a multiple of how long the job takes."""


def with_deadlines(trace: Trace, part: float, seed: int) -> Trace:
    """The same jobs, of which that part has a deadline: 1.5 to 12 times as far ahead as the job takes, by chance.

    A job that has one already keeps it.
    """
    chance = Chance(seed, "deadlines")
    found = []
    for job in trace.jobs:
        chosen, slack = chance.uniform() < part, chance.log_uniform(LEAST_SLACK, MOST_SLACK)
        due_s = job.submit_s + job.duration_s * slack
        found.append(replace(job, deadline_s=due_s) if chosen and job.deadline_s is None else job)
    return replace(trace, jobs=tuple(found))


def with_preemptible(trace: Trace, part: float, seed: int) -> Trace:
    """The same jobs, of which that part may be stopped, by chance; besides those that may be already."""
    chance = Chance(seed, "preemptible")
    marked = [replace(job, preemptible=True) if chance.uniform() < part else job for job in trace.jobs]
    return replace(trace, jobs=tuple(marked))
