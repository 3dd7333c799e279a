"""What is known of the past of a workspace, gathered for timelines, graphs and reports."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from researchflow_tmux.adapters import foreseen_file, live_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sample_store import series
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api import asking
from researchflow_tmux.api.selection import select
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.hindsight.ahead import Planned, with_plan
from researchflow_tmux.hindsight.expecting import expected_then
from researchflow_tmux.hindsight.graph import Graph, Stack, graph
from researchflow_tmux.hindsight.report import Report, report
from researchflow_tmux.hindsight.spans import Expected, Span, Waiting, spans_of, waiting_of
from researchflow_tmux.hindsight.timeline import By, Timeline, Window, count_points, timeline, window
from researchflow_tmux.hindsight.utilisation import Samples, Utilisation, utilisation
from researchflow_tmux.hindsight.waste import wasted_s
from researchflow_tmux.policies.prediction.history import History, Prediction

if TYPE_CHECKING:
    from researchflow_tmux.api.workspace import Workspace


class Chosen(NamedTuple):
    """Which jobs, and from when to when."""

    patterns: Sequence[str] = ()
    """As in other commands; none = all jobs."""
    states: Collection[JobState] = ()
    """None = in any state."""
    since: datetime | None = None
    """None = from the first on."""
    until: datetime | None = None
    """None = up to now, and what is expected of it."""


class Past(NamedTuple):
    """What is known of the chosen jobs."""

    paths: WorkspacePaths
    now: datetime
    jobs: dict[int, Job]
    """The chosen ones."""
    everything: dict[int, Job]
    spans: list[Span]
    """Of the chosen jobs, by begin; of jobs of which nothing lived since `since` there are none."""
    waiting: list[Waiting]
    waits: list[tuple[datetime, datetime]]
    """When jobs waited, from and to."""
    devices: list[GpuDevice]
    expected: dict[int, Expected]
    """Of each chosen job, as of now."""
    weights: dict[str, float]
    """Of the projects in the settings."""
    chosen: Chosen

    @property
    def workspace(self) -> str:
        """Where it is."""
        return self.paths.root

    def window(self, *, ahead: bool = True) -> Window:
        """From when to when one looks."""
        return window(self.spans, self.waiting, self.now, since=self.chosen.since, until=self.chosen.until, ahead=ahead)


def past_of(workspace: Workspace, chosen: Chosen, *, expect: bool = True) -> Past:
    """Gather it; without `expect` nothing is said of what was expected, which takes half of the time.

    Raises UsageError for patterns that name nothing, or a window that ends before it begins.
    """
    now = SystemClock().now()
    if chosen.since is not None and chosen.until is not None and chosen.until <= chosen.since:
        raise UsageError("the time ends before it begins", hint="--until must be later than --since")
    if asking.scheduler(workspace.paths) is None:
        workspace.settle()
    everything: dict[int, Job] = {}
    attempts: list[Attempt] = []
    queued: dict[int, list[datetime]] = {}
    if os.path.exists(workspace.paths.database):
        with SqliteReader(workspace.paths.database) as reader, reader.snapshot():
            everything = {job.id: job for job in reader.all_jobs()}
            attempts = reader.attempts(since=chosen.since)
            queued = reader.queued_moments()
    jobs = _chosen(everything, chosen)
    history = History()
    expected: dict[AttemptKey, Expected] = {}
    if expect:
        expected = expected_then(everything, attempts, lambda job: _said(job, history.predict(job)), history.learn)
        expected |= _of_running(workspace, jobs, attempts, history, now)
    spans = spans_of(jobs, attempts, now, queued=queued, expected=expected)
    waiting = waiting_of(jobs.values())
    live = live_file.read(workspace.paths.live)
    return Past(
        paths=workspace.paths,
        now=now,
        jobs=jobs,
        everything=everything,
        spans=spans,
        waiting=waiting,
        waits=_waits(jobs, spans, queued, waiting, now),
        devices=[] if live is None else [gpu.device for gpu in live.gpus],
        expected={job.id: said for job in jobs.values() if (said := _said(job, history.predict(job))) is not None},
        weights={name: project.weight for name, project in workspace.usable_settings.projects.items()},
        chosen=chosen,
    )


def timeline_of(past: Past, by: By, *, waiting: bool = False, planned: Sequence[Planned] = ()) -> Timeline:
    """The timeline of what was gathered, and of what is planned.

    `waiting` = with how many jobs waited, as always when nothing ran.
    """
    seen = past.window()
    data = timeline(
        workspace=past.workspace,
        spans=past.spans,
        waiting=past.waiting,
        devices=past.devices,
        window=seen,
        by=by,
        queue=count_points(past.waits, seen) if waiting or (past.waiting and not past.spans) else (),
    )
    return with_plan(data, planned, given=past.chosen.until is not None)


def planned_of(workspace: Workspace, past: Past) -> list[Planned]:
    """When and where the chosen jobs should start that wait, as far as it is known. Raises what `plan` does."""
    from researchflow_tmux.api.plan import plan  # far more than looking back needs

    waiting = {each.job.id: each.job for each in past.waiting}
    if not waiting:
        return []
    return [
        Planned(
            job=waiting[each.id],
            begin=each.start_at,
            end=each.eta_at,
            end_low=each.eta_low_at,
            end_high=each.eta_high_at,
            gpus=tuple(each.gpus),
        )
        for each in plan(workspace, wanted=waiting.keys()).jobs
        if each.id in waiting and each.eta_at is not None
    ]


def graph_of(past: Past, stack: Stack = "auto") -> Graph:
    """What needs what of what was gathered. Jobs that are connected with no other only if they were asked for."""
    return graph(
        workspace=past.workspace,
        jobs=past.jobs,
        spans=past.spans,
        expected=past.expected,
        now=past.now,
        alone=bool(past.chosen.patterns),
        stack=stack,
    )


def utilisation_of(past: Past) -> Utilisation:
    """How GPUs were used. Raises StoreError when the samples cannot be read."""
    seen = past.window(ahead=False)
    try:
        # The finest samples that are still kept are chosen by how far back from now one looks.
        _, found = series(past.paths.samples, min(seen.since, past.now), past.now)
    except sqlite3.Error as error:
        path = past.paths.samples
        raise StoreError(f"{path} cannot be read: {error}", hint="it may be deleted: it only holds samples") from error
    samples = [
        Samples(
            index=gpu.index,
            uuid=gpu.uuid,
            name=gpu.name,
            total_mib=gpu.total_mib,
            at=gpu.at,
            util_pct=gpu.util_pct,
            used_mib=gpu.used_mib,
        )
        for gpu in found
    ]
    return utilisation(
        workspace=past.workspace,
        spans=past.spans,
        waits=past.waits,
        samples=samples,
        devices=past.devices,
        window=seen,
    )


def report_of(past: Past) -> Report:
    """Statistics of what was gathered."""
    return report(
        workspace=past.workspace,
        spans=past.spans,
        wasted_s=wasted_s(past.spans, past.everything),
        weights=past.weights,
        window=past.window(ahead=False),
        waiting=len(past.waiting),
    )


def _chosen(everything: Mapping[int, Job], chosen: Chosen) -> dict[int, Job]:
    jobs: Iterable[Job] = everything.values()
    if chosen.patterns:
        jobs = select(list(everything.values()), chosen.patterns)
    return {job.id: job for job in jobs if not chosen.states or job.state in chosen.states}


def _said(job: Job, prediction: Prediction | None) -> Expected | None:
    if prediction is None:
        return None
    whole = prediction.limited(job.spec.request.time_limit_s)
    return Expected(whole.p50_s, whole.low_s, whole.high_s)


def _of_running(
    workspace: Workspace, jobs: Mapping[int, Job], attempts: Iterable[Attempt], history: History, now: datetime
) -> dict[AttemptKey, Expected]:
    """How long what runs should take in all: as the scheduler foresees it, else by what its like took."""
    foreseen = foreseen_file.read(workspace.paths.foreseen)
    seen = {} if foreseen is None else {each.key: each.foresight for each in foreseen.attempts}
    found = {}
    for attempt in attempts:
        started = getattr(attempt.phase, "started_at", None)
        if isinstance(attempt.phase, Ended) or started is None or attempt.job_id not in jobs:
            continue
        job = jobs[attempt.job_id]
        elapsed_s = max((now - started).total_seconds(), 0.0)
        foresight = seen.get(attempt.key)
        if foresight is not None and foresight.total_s > elapsed_s:
            found[attempt.key] = Expected(foresight.total_s, foresight.low_s, foresight.high_s)
        elif (known := history.predict(job)) is not None:
            said = _said(job, known.after(elapsed_s))
            if said is not None:
                found[attempt.key] = said
    return found


def _waits(
    jobs: Mapping[int, Job],
    spans: Iterable[Span],
    queued: Mapping[int, Sequence[datetime]],
    waiting: Iterable[Waiting],
    now: datetime,
) -> list[tuple[datetime, datetime]]:
    """From when to when each job was in the queue: until its attempt, its end, or now."""
    found = [(each.since, now) for each in waiting]
    starts: dict[int, list[datetime]] = {}
    for span in spans:
        starts.setdefault(span.job.id, []).append(span.attempt.planned_at)
    open_ones = {each.job.id for each in waiting}
    for job_id, moments in queued.items():
        if job_id not in jobs:
            continue
        ends = starts.get(job_id, [])
        last = now if job_id in open_ones else jobs[job_id].ended_at
        for moment in moments:
            end = next((start for start in ends if start >= moment), last)
            if end is not None and not (job_id in open_ones and end == now):
                found.append((moment, end))
    return found
