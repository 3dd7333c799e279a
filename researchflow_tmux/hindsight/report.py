"""Statistics for hindsight: what ran, waited, failed and was wasted, by project, user, GPU and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

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


class Piece(NamedTuple):
    """A part of a span that counts for one key, with what it comes to."""

    span: Span
    since: datetime
    until: datetime
    gpus: float
    """GPUs that count."""
    within_s: float
    """Seconds for which it ran in this time."""
    wasted_s: float
    """Of these, those that were wasted."""
    cpu_s: float | None
    """CPU time that it used in this time."""
    wait_s: float | None
    """How long it had waited; None = it did not start in this time, or it is unknown."""


def piece(span: Span, since: datetime, until: datetime, wasted_s: Mapping[AttemptKey, float]) -> Piece:
    """What lies between two moments; waste and CPU time are taken to be spread evenly."""
    within_s, ran_s, phase = span.seconds_within(since, until), span.ran_s, span.attempt.phase
    part = within_s / ran_s if ran_s > 0 else 0.0
    cpu_s = phase.cpu_s if isinstance(phase, Ended) else None
    return Piece(
        span=span,
        since=since,
        until=until,
        gpus=span.gpus,
        within_s=within_s,
        wasted_s=wasted_s.get(span.attempt.key, 0.0) * part,
        cpu_s=None if cpu_s is None else cpu_s * part,
        wait_s=span.wait_s if since <= span.begin <= until else None,
    )


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
    pieces = [piece(span, window.since, last, wasted_s) for span in seen]
    outcomes: defaultdict[str, int] = defaultdict(int)
    for span in seen:
        outcomes[span.kind] += 1

    return Report(
        at=window.now,
        workspace=workspace,
        since=window.since,
        until=last,
        total=tally("all", pieces),
        outcomes=dict(sorted(outcomes.items(), key=lambda each: -each[1])),
        projects=_by(pieces, lambda each: each.span.job.spec.project or NO_PROJECT),
        users=_by(pieces, lambda each: each.span.job.spec.user or NO_USER),
        gpus=_by_gpu(pieces),
        days=_by_day(pieces, wasted_s, zone),
        shares=shares(seen, weights, window),
        waiting=waiting,
    )


def tally(key: str, pieces: Sequence[Piece]) -> Tally:
    """What these pieces come to; several of one attempt are one attempt."""
    spans = {each.span.attempt.key: each.span for each in pieces}
    jobs: dict[int, Job] = {span.job.id: span.job for span in spans.values()}
    gpu_s = sum(each.within_s * each.gpus for each in pieces)
    wasted_gpu_s = sum(each.wasted_s * each.gpus for each in pieces)
    cpu_s = [each.cpu_s for each in pieces if each.cpu_s is not None]
    waits = sorted({each.span.attempt.key: each.wait_s for each in pieces if each.wait_s is not None}.values())
    return Tally(
        key=key,
        jobs=len(jobs),
        succeeded=sum(job.state is JobState.SUCCEEDED for job in jobs.values()),
        failed=sum(job.state is JobState.FAILED for job in jobs.values()),
        attempts=len(spans),
        failed_attempts=sum(_failed(span) for span in spans.values()),
        retries=sum(_retry(span) for span in spans.values()),
        gpu_hours=round(gpu_s / 3600, 4),
        cpu_hours=round(sum(cpu_s) / 3600, 4) if cpu_s else None,
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


def _by(pieces: Iterable[Piece], key: Callable[[Piece], str]) -> list[Tally]:
    of: defaultdict[str, list[Piece]] = defaultdict(list)
    for each in pieces:
        of[key(each)].append(each)
    return sorted((tally(name, own) for name, own in of.items()), key=lambda each: (-each.gpu_hours, each.key))


def _by_gpu(pieces: Iterable[Piece]) -> list[Tally]:
    of: defaultdict[tuple[int, str], list[Piece]] = defaultdict(list)
    for each in pieces:
        gpus = each.span.attempt.allocation.gpus
        for gpu in gpus:
            of[(gpu.index, f"GPU {gpu.index}")].append(each._replace(gpus=gpu.share or 1.0))
        if not gpus:
            of[(1 << 30, CPU)].append(each)
    return [tally(name, of[(place, name)]) for place, name in sorted(of)]


def _by_day(pieces: Iterable[Piece], wasted_s: Mapping[AttemptKey, float], zone: tzinfo | None) -> list[Tally]:
    of: defaultdict[str, list[Piece]] = defaultdict(list)
    for each in pieces:
        begin, end = max(each.span.begin, each.since), min(each.span.end, each.until)
        while True:
            midnight = _next_midnight(begin, zone)
            of[f"{begin.astimezone(zone):%Y-%m-%d}"].append(piece(each.span, begin, min(midnight, end), wasted_s))
            if midnight >= end:
                break
            begin = midnight
    return [tally(day, of[day]) for day in sorted(of)]


def _next_midnight(at: datetime, zone: tzinfo | None) -> datetime:
    wall = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None) + timedelta(days=1)
    return wall.astimezone() if zone is None else wall.replace(tzinfo=zone)
