"""Statistics for hindsight: what ran, waited, failed and was wasted, by project, user, GPU and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

import msgspec

from researchflow_tmux.domain.attempt import AttemptKey, Ended
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.hindsight.shares import Shares, shares
from researchflow_tmux.hindsight.spans import Span
from researchflow_tmux.hindsight.timeline import NO_PROJECT, Window
from researchflow_tmux.hindsight.waste import USEFUL

SCHEMA = "rfsched.report/1"
NO_FAILURE = frozenset({"killed", "preempted", "over_budget", "slot_taken"})
"""Ends that are not the program's fault."""
NO_USER, CPU = "(unknown)", "CPU"


class Tally(msgspec.Struct, kw_only=True):
    """What some attempts come to. Hours are those within the time that is looked at."""

    key: str
    """Whose: the project, the user, `GPU 3`, the day."""
    jobs: int
    """Different jobs that had an attempt."""
    succeeded: int
    """Of these, those that have succeeded by now."""
    failed: int
    """Of these, those that have failed for good."""
    attempts: int
    failed_attempts: int
    """That ended in anything but success or by somebody's hand."""
    retries: int
    """Attempts that came after one that did not succeed."""
    gpu_hours: float
    """Shares of GPUs times time. A job on a GPU alone counts it whole."""
    cpu_hours: float | None
    """CPU time that ended attempts used; null = of none it is known."""
    wasted_gpu_hours: float
    """Of attempts that led to no success, but for what others took over from their checkpoints."""
    wait_mean_s: float | None
    """Of attempts that started in this time: from when only room was missing. null = of none it is known."""
    wait_p50_s: float | None
    wait_p99_s: float | None


class Report(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """What ran, and what it cost."""

    schema_name: str = SCHEMA
    at: datetime
    workspace: str
    since: datetime
    until: datetime
    total: Tally
    outcomes: dict[str, int]
    """Attempts by how they ended; `running` of what has not."""
    projects: list[Tally]
    users: list[Tally]
    gpus: list[Tally]
    """A job on several counts on each; hours are those on this one."""
    days: list[Tally]
    """Hours are divided at midnight."""
    shares: Shares
    waiting: int
    """Jobs that wait now."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a span that counts for one key."""

    span: Span
    since: datetime
    until: datetime
    gpus: float
    """GPUs that count."""


def report(
    *,
    workspace: str,
    spans: Sequence[Span],
    wasted_s: Mapping[AttemptKey, float],
    weights: Mapping[str, float],
    window: Window,
    waiting: int,
    zone: tzinfo | None = None,
) -> Report:
    """Count it all. Days are those of `zone` (None = of this machine)."""
    last = min(window.until, window.now)
    seen = [span for span in spans if span.begin <= last and span.end >= window.since]
    pieces = [Piece(span, window.since, last, span.gpus) for span in seen]
    outcomes: defaultdict[str, int] = defaultdict(int)
    for span in seen:
        outcomes[span.kind] += 1

    return Report(
        at=window.now,
        workspace=workspace,
        since=window.since,
        until=last,
        total=tally("all", pieces, wasted_s),
        outcomes=dict(sorted(outcomes.items(), key=lambda each: -each[1])),
        projects=_by(pieces, lambda piece: piece.span.job.spec.project or NO_PROJECT, wasted_s),
        users=_by(pieces, lambda piece: piece.span.job.spec.user or NO_USER, wasted_s),
        gpus=_by_gpu(pieces, wasted_s),
        days=_by_day(pieces, wasted_s, zone),
        shares=shares(seen, weights, window),
        waiting=waiting,
    )


def tally(key: str, pieces: Sequence[Piece], wasted_s: Mapping[AttemptKey, float]) -> Tally:
    """What these pieces come to; several of one attempt are one attempt."""
    spans = {piece.span.attempt.key: piece.span for piece in pieces}
    jobs: dict[int, Job] = {span.job.id: span.job for span in spans.values()}
    gpu_s = wasted_gpu_s = cpu_s = 0.0
    cpu_known = False
    for piece in pieces:
        within_s = piece.span.seconds_within(piece.since, piece.until)
        gpu_s += within_s * piece.gpus
        part = within_s / piece.span.ran_s if piece.span.ran_s > 0 else 0.0
        wasted_gpu_s += wasted_s.get(piece.span.attempt.key, 0.0) * part * piece.gpus
        used_s = _cpu_s(piece.span)
        if used_s is not None:
            cpu_s, cpu_known = cpu_s + used_s * part, True
    waits = sorted(
        {
            piece.span.attempt.key: wait
            for piece in pieces
            if piece.since <= piece.span.begin <= piece.until and (wait := piece.span.wait_s) is not None
        }.values()
    )
    return Tally(
        key=key,
        jobs=len(jobs),
        succeeded=sum(job.state is JobState.SUCCEEDED for job in jobs.values()),
        failed=sum(job.state is JobState.FAILED for job in jobs.values()),
        attempts=len(spans),
        failed_attempts=sum(_failed(span) for span in spans.values()),
        retries=sum(_retry(span) for span in spans.values()),
        gpu_hours=round(gpu_s / 3600, 4),
        cpu_hours=round(cpu_s / 3600, 4) if cpu_known else None,
        wasted_gpu_hours=round(wasted_gpu_s / 3600, 4),
        wait_mean_s=round(sum(waits) / len(waits), 3) if waits else None,
        wait_p50_s=round(rank(waits, 0.5), 3) if waits else None,
        wait_p99_s=round(rank(waits, 0.99), 3) if waits else None,
    )


def rank(ordered: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of them do not exceed (nearest rank, ⌈part · n⌉)."""
    place = -int(-len(ordered) * part // 1)
    return ordered[min(max(place, 1), len(ordered)) - 1]


def _failed(span: Span) -> bool:
    return not span.going_on and span.kind not in USEFUL and span.kind not in NO_FAILURE


def _retry(span: Span) -> bool:
    number = span.attempt.number
    return number > 1 and number != span.job.succeeded_attempt + 1


def _cpu_s(span: Span) -> float | None:
    phase = span.attempt.phase
    return phase.cpu_s if isinstance(phase, Ended) else None


def _by(pieces: Iterable[Piece], key: Callable[[Piece], str], wasted_s: Mapping[AttemptKey, float]) -> list[Tally]:
    of: defaultdict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        of[key(piece)].append(piece)
    found = [tally(name, own, wasted_s) for name, own in of.items()]
    return sorted(found, key=lambda each: (-each.gpu_hours, each.key))


def _by_gpu(pieces: Iterable[Piece], wasted_s: Mapping[AttemptKey, float]) -> list[Tally]:
    of: defaultdict[tuple[int, str], list[Piece]] = defaultdict(list)
    for piece in pieces:
        for gpu in piece.span.attempt.allocation.gpus:
            of[(gpu.index, f"GPU {gpu.index}")].append(Piece(piece.span, piece.since, piece.until, gpu.share or 1.0))
        if not piece.span.attempt.allocation.gpus:
            of[(1 << 30, CPU)].append(piece)
    return [tally(name, of[(place, name)], wasted_s) for place, name in sorted(of)]


def _by_day(pieces: Iterable[Piece], wasted_s: Mapping[AttemptKey, float], zone: tzinfo | None) -> list[Tally]:
    of: defaultdict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        begin, end = max(piece.span.begin, piece.since), min(piece.span.end, piece.until)
        while True:
            midnight = _next_midnight(begin, zone)
            day = f"{begin.astimezone(zone):%Y-%m-%d}"
            of[day].append(Piece(piece.span, begin, min(midnight, end), piece.gpus))
            if midnight >= end:
                break
            begin = midnight
    return [tally(day, of[day], wasted_s) for day in sorted(of)]


def _next_midnight(at: datetime, zone: tzinfo | None) -> datetime:
    wall = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None) + timedelta(days=1)
    return wall.astimezone() if zone is None else wall.replace(tzinfo=zone)
