"""What came of a replay, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from researchflow_tmux.simulation.replay.bounds import makespan_bound, work_bound
from researchflow_tmux.simulation.replay.trace import TraceJob

BACKLOG = 20
"""Pending jobs from which on a machine should never be idle: there is enough to choose from."""


class Piece(NamedTuple):
    """One attempt of a job that was stopped for another one."""

    start_s: float
    end_s: float
    lost_s: float
    """Of its time, what the next attempt had to do again: since its last checkpoint."""
    on: tuple[int, ...] = ()
    """Indices of its GPUs."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the trace that ran. Times are seconds from the begin of the trace."""

    job: TraceJob
    start_s: float
    """Of its first attempt."""
    end_s: float
    """Of its last one."""
    stopped: tuple[Piece, ...] = ()
    """The attempts that were stopped for other jobs."""
    resumed_s: float | None = None
    """Start of its last attempt, if there were others."""
    on: tuple[int, ...] = ()
    """Indices of the GPUs of its last attempt."""

    @property
    def pieces(self) -> list[Piece]:
        """When it was on GPUs."""
        last_s = self.start_s if self.resumed_s is None else self.resumed_s
        return [*self.stopped, Piece(last_s, self.end_s, 0.0, self.on)]

    @property
    def wait_s(self) -> float:
        """From coming to starting."""
        return self.start_s - self.job.submit_s


class OfType(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs of one type, and the jobs that can run on no other. null = there was nothing to measure."""

    gpu_type: str
    gpus: int
    utilisation: float | None
    """Until the last job came."""
    utilisation_under_backlog: float | None
    """Part of these GPUs in use while at least 20 jobs waited."""
    utilisation_when_wanted: float | None
    """Part of them in use while a job that needs them waited."""
    jobs: int
    """That need this type."""
    mean_wait_s: float | None
    p99_wait_s: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one workload. Times in seconds; null = there was nothing to measure."""

    policy: str
    gpus: int
    jobs: int
    """That ran."""
    unfinished: int
    """That did not; 0 unless something is wrong."""
    utilisation: float | None
    """Work done by the time the last job came, as a part of what all GPUs could have done."""
    utilisation_of_bound: float | None
    """The same work as a part of what any schedule could have done by then."""
    utilisation_under_backlog: float | None
    """Part of the GPUs in use while at least 20 jobs waited."""
    backlog_s: float
    """How long that was."""
    mean_wait_s: float | None
    p50_wait_s: float | None
    p99_wait_s: float | None
    max_wait_s: float | None
    mean_jct_s: float | None
    """From coming to ending."""
    p50_jct_s: float | None
    p99_jct_s: float | None
    makespan_s: float
    """Until the last job had ended."""
    makespan_of_bound: float | None
    """That as a multiple of what is possible at best."""
    shares: dict[str, float]
    """Part of the GPU time that each project got by the time the last job came."""
    deadline_jobs: int
    deadline_misses: int
    preemptions: int
    """How often a job was stopped for one with a deadline."""
    lost_gpu_hours: float
    """GPU-hours that were done again after that."""
    types: list[OfType] = []
    """By type of GPU, if there are several; after them the jobs that run on any, as type `any`."""


def measure(policy: str, ran: Sequence[Ran], gpus: int, unfinished: int = 0) -> Figures:
    """All figures of one replay."""
    jobs = [one.job for one in ran]
    last_s = max((job.submit_s for job in jobs), default=0.0)
    done = sum(_work_by(one, last_s) for one in ran)
    bound = work_bound(jobs, gpus, last_s)
    waits = sorted(one.wait_s for one in ran)
    jcts = sorted(one.end_s - one.job.submit_s for one in ran)
    busy, backlog_s = _under_backlog(ran)
    makespan_s = max((one.end_s for one in ran), default=0.0)
    least_s = makespan_bound(jobs, gpus)
    due = [one for one in ran if one.job.deadline_s is not None]
    return Figures(
        policy=policy,
        gpus=gpus,
        jobs=len(ran),
        unfinished=unfinished,
        utilisation=part(done, gpus * last_s),
        utilisation_of_bound=part(done, bound),
        utilisation_under_backlog=part(busy, gpus * backlog_s),
        backlog_s=round(backlog_s, 3),
        mean_wait_s=mean(waits),
        p50_wait_s=percentile(waits, 50),
        p99_wait_s=percentile(waits, 99),
        max_wait_s=percentile(waits, 100),
        mean_jct_s=mean(jcts),
        p50_jct_s=percentile(jcts, 50),
        p99_jct_s=percentile(jcts, 99),
        makespan_s=round(makespan_s, 3),
        makespan_of_bound=part(makespan_s, least_s),
        shares=_shares(ran, last_s),
        deadline_jobs=len(due),
        deadline_misses=sum(one.end_s > (one.job.deadline_s or 0.0) for one in due),
        preemptions=sum(len(one.stopped) for one in ran),
        lost_gpu_hours=round(sum(one.job.gpus * piece.lost_s for one in ran for piece in one.stopped) / 3600.0, 3),
    )


def _work_by(one: Ran, by_s: float) -> float:
    """GPU-seconds by then that were not done again."""
    times = (max(min(piece.end_s - piece.lost_s, by_s) - piece.start_s, 0.0) for piece in one.pieces)
    return one.job.gpus * sum(times)


def _shares(ran: Iterable[Ran], by_s: float) -> dict[str, float]:
    got: Counter[str] = Counter()
    for one in ran:
        got[one.job.project] += _work_by(one, by_s)  # type: ignore[assignment]
    total = sum(got.values())
    return {project: round(work / total, 4) for project, work in sorted(got.items())} if total else {}


def _under_backlog(ran: Iterable[Ran]) -> tuple[float, float]:
    """GPU-seconds in use while enough jobs waited, and for how many seconds enough did."""
    changes = sorted(
        change for one in ran for change in [(one.job.submit_s, 1, 0), (one.end_s, -1, 0), *_comes_and_goes(one)]
    )
    busy = span_s = last_s = 0.0
    pending = used = 0
    for at_s, waits, uses in changes:
        if pending >= BACKLOG:
            busy += used * (at_s - last_s)
            span_s += at_s - last_s
        pending, used, last_s = pending + waits, used + uses, at_s
    return busy, span_s


def _comes_and_goes(one: Ran) -> Iterator[tuple[float, int, int]]:
    """When it is on GPUs, and does not wait."""
    for piece in one.pieces:
        yield piece.start_s, -1, one.job.gpus
        yield piece.end_s, 1, -one.job.gpus


def part(value: float, whole: float) -> float | None:
    """Rounded; None = there is nothing to be a part of."""
    return round(value / whole, 4) if whole > 0 else None


def mean(values: Sequence[float]) -> float | None:
    """Rounded; None = of nothing."""
    return round(sum(values) / len(values), 3) if values else None


def percentile(ordered: Sequence[float], pct: int) -> float | None:
    """The smallest value that `pct` % of all are not above."""
    return round(ordered[max(-(-len(ordered) * pct // 100), 1) - 1], 3) if ordered else None
