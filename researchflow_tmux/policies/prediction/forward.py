"""What starts when if jobs keep an order: each takes the places that get free first (list scheduling, Graham 1966).

The order comes from the real decisions, or from the queue. It costs microseconds a job: so durations can be drawn again
and again (a bootstrap), which tells how far starts and ends are uncertain.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from researchflow_tmux.policies.prediction.conformal import HIGH, LOW, lower, upper

TRIES = 50
"""Bootstraps: P10 and P90 of these are the interval."""


class Task(NamedTuple):
    """One job, as far as an order needs to know it."""

    id: int
    places: int
    """Slots on GPUs that it takes; 0 = one place for CPU jobs."""
    after: tuple[int, ...] = ()
    """Jobs that have to end before."""
    ready_s: float = 0.0
    """It does not start before."""


class Span(NamedTuple):
    """Seconds from now."""

    start_s: float
    end_s: float


def lay_out(
    order: Iterable[Task],
    lengths: Mapping[int, float],
    *,
    gpu_places: Sequence[float],
    cpu_places: Sequence[float],
    ends: Mapping[int, float] | None = None,
) -> dict[int, Span]:
    """Let every job start in this order, as early as it can. What needs more places than there are is left out.

    Args:
        order: A job after those it waits for.
        lengths: Seconds that each takes.
        gpu_places: When each slot on a GPU gets free.
        cpu_places: When each place for CPU jobs does.
        ends: When the jobs that run now end, for those that wait for them.
    """
    gpus, cpus = list(gpu_places), list(cpu_places)
    heapq.heapify(gpus)
    heapq.heapify(cpus)
    over = dict(ends or {})
    found: dict[int, Span] = {}
    for task in order:
        pool, wanted = (gpus, task.places) if task.places else (cpus, 1)
        if wanted > len(pool):
            continue
        taken = [heapq.heappop(pool) for _ in range(wanted)]
        start_s = max(taken[-1], task.ready_s)
        if task.after:
            start_s = max(start_s, *(over.get(need, 0.0) for need in task.after))
        end_s = start_s + lengths[task.id]
        for _ in taken:
            heapq.heappush(pool, end_s)
        over[task.id] = end_s
        found[task.id] = Span(start_s, end_s)
    return found


def between(middle: float, low: float, high: float, part: float) -> float:
    """A value of which `low` is the tenth part, `middle` the half and `high` nine tenths, at this part of chance.

    Log-linear between the three and beyond them.
    """
    if part < 0.5:
        return middle * _power(low, middle, (0.5 - part) / (0.5 - LOW))
    return middle * _power(high, middle, (part - 0.5) / (HIGH - 0.5))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """P10 and P90 of several tries."""
    ordered = sorted(values)
    return lower(ordered, LOW), upper(ordered, HIGH)


def _power(value: float, of: float, part: float) -> float:
    least = 1e-3
    return math.exp(math.log(max(value, least) / max(of, least)) * part)
