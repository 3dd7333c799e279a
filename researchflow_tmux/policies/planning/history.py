"""Estimates from what the same jobs took before, in this scheduler's memory.

The first level with at least three successes speaks: the job's own name, its group or array, its project, everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.planning.estimates import Estimate, certain

ENOUGH = 3
LAST = 32
"""Lengths remembered on each level: what a job took a hundred versions ago says little."""
ASSUMED_S = 3600.0
"""Length of a job of which nothing is known and that has no time limit."""


class History:
    """An Estimator that learns."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, ...], deque[float]] = {}

    def of(self, job: Job) -> Estimate:
        """The quantiles of what its like took; else its time limit; else an hour."""
        limit_s = job.spec.request.time_limit_s
        taken = next((found for level in _levels(job) if len(found := self._taken.get(level, ())) >= ENOUGH), None)
        if taken is None:
            return certain(ASSUMED_S if limit_s is None else limit_s, limit_s)
        ordered = sorted(taken)
        return Estimate(
            p50_s=_rank(ordered, 0.5), p80_s=_rank(ordered, 0.8), p90_s=_rank(ordered, 0.9), limit_s=limit_s
        )

    def learn(self, job: Job, took_s: float) -> None:
        """Remember one success on every level."""
        for level in _levels(job):
            self._taken.setdefault(level, deque(maxlen=LAST)).append(took_s)


def _levels(job: Job) -> Iterator[tuple[str, ...]]:
    spec = job.spec
    yield ("name", spec.project or "", spec.name)
    if spec.array is not None:
        yield ("array", spec.array.id)
    if spec.group is not None:
        yield ("group", spec.project or "", spec.group)
    yield ("project", spec.project or "")
    yield ("all",)


def _rank(ordered: list[float], part: float) -> float:
    """The value at rank ⌈(n + 1)·part⌉, which covers `part` of what comes; the largest one where n is too small."""
    rank = -int(-(len(ordered) + 1) * part // 1)
    return ordered[min(rank, len(ordered)) - 1]
