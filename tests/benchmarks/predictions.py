"""How good predictions are, and what they cost: `python -m tests.benchmarks --only T`.

Durations by history: a trace of your own in RFSCHED_BENCH_TRACE (CSV or SWF), else applications that are made up.
Trainings by progress: made up, with uneven steps, warm-up and pauses. Everything prequentially: each prediction is made
from what had ended before.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from researchflow_tmux.adapters.lesson_store import LessonStore
from researchflow_tmux.adapters.planning import history
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.api.foreseeing import scene
from researchflow_tmux.api.plan import plan
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.policies.prediction.accuracy import FROM_10, Accuracy, accuracy
from researchflow_tmux.policies.prediction.fingerprint import fingerprint
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.simulation.clock import EPOCH
from researchflow_tmux.simulation.foresight import Foreseen
from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.predicting import by_history, by_progress
from researchflow_tmux.simulation.replay.reading import read_trace
from researchflow_tmux.simulation.replay.synthetic import synthetic
from researchflow_tmux.simulation.replay.trace import Trace
from tests.benchmarks.measure import FOLDER, Measure, of
from tests.unit.simulation.replay.test_predicting import families

TRACE = "RFSCHED_BENCH_TRACE"
QUEUED = 1_000
ENDED = 10_000


def measures(*, quick: bool) -> list[Measure]:
    """Accuracy, then cost."""
    path = os.environ.get(TRACE)
    trace = read_trace(path) if path else families()
    return [
        *_by_history(trace),
        *_by_progress(100 if quick else 1000),
        *_of_a_queue(10 if quick else 50),
        *_costs(5 if quick else 15),
    ]


def _by_history(trace: Trace) -> list[Measure]:
    [row] = accuracy(by_history(trace))
    what = f"by history: {trace.name}"
    note = f"{row.predictions} jobs, {row.within_15_pct} % within 15 %, {row.off_by_2} % off by 2 or more"
    return [
        Measure(bench="T", what=f"{what}, in the 80 % interval", value=row.coverage, unit="%", target=77.0,
                at_least=True, note="at most 83 is wanted, too"),
        Measure(bench="T", what=f"{what}, median error", value=_percent(row.median_error), unit="%", note=note),
    ]  # fmt: skip


def _by_progress(jobs: int) -> list[Measure]:
    rows = {row.moment: row for row in accuracy(by_progress(jobs=jobs, seed=0))}
    return [line for moment in ("10%", FROM_10) for line in _of_moment(rows[moment])]


def _of_moment(row: Accuracy) -> list[Measure]:
    what = f"by progress, {row.moment.replace('%', ' %')}"
    return [
        Measure(bench="T", what=f"{what}: median error", value=_percent(row.median_error), unit="%", target=5.0,
                note=f"{row.predictions} predictions"),
        Measure(bench="T", what=f"{what}: within 15 %", value=row.within_15_pct, unit="%", target=90.0, at_least=True),
        Measure(bench="T", what=f"{what}: in the 80 % interval", value=row.coverage, unit="%", target=77.0,
                at_least=True, note=f"width {_percent(row.width):.1f} %"),
    ]  # fmt: skip


def _of_a_queue(times: int) -> list[Measure]:
    """Starts and ends of 80 waiting jobs on 8 GPUs: what was foreseen, and what the real decisions then came to."""
    chance = Chance(2, "queue")
    starts, ends = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
            truth, workspace = _queue_of_families(Path(folder), chance)
            view = plan(workspace)
            found = _what_happens(workspace, view.at, truth)
            for job in view.jobs:
                stay = found.stays[job.id]
                if job.start_at > view.at and job.start_low_at is not None and job.start_high_at is not None:
                    starts.append(job.start_low_at <= stay.start_at <= job.start_high_at)
                if job.eta_low_at is not None and job.eta_high_at is not None:
                    ends.append(job.eta_low_at <= stay.end_at <= job.eta_high_at)
    return [
        Measure(bench="T", what=f"{what} of waiting jobs in the 80 % interval", value=100.0 * sum(hits) / len(hits),
                unit="%", note=f"{len(hits)} jobs of {times} queues")
        for what, hits in (("starts", starts), ("ends", ends))
    ]  # fmt: skip


def _what_happens(workspace: Workspace, now: datetime, truth: Mapping[str, float]) -> Foreseen:
    return scene(workspace, now).foresee(lambda job: truth[job.name], {})[0]


def _queue_of_families(root: Path, chance: Chance) -> tuple[dict[str, float], Workspace]:
    """What each job will really take, and a workspace that knows fifty successes of each of ten scripts."""
    lengths = [chance.log_uniform(600.0, 36_000.0) for _ in range(10)]
    spreads = [chance.uniform(0.1, 0.8) for _ in range(10)]

    def drawn(kind: int) -> float:
        return lengths[kind] * math.exp(spreads[kind] * sum(chance.uniform(-1.0, 1.0) for _ in range(3)))

    workspace, store = _empty(root)
    past, lessons, jobs, truth = History(), [], [], {}
    for number in range(500):
        lessons.append(past.lesson(fingerprint(_spec(f"old{number}", number % 10)), drawn(number % 10)))
        past.remember(lessons[-1])
    for number in range(1, 81):
        kind, name = int(chance.uniform(0, 10)), f"j{number}"
        spec = _spec(name, kind)
        jobs.append(Job(id=number, spec=spec, slug=name, state=JobState.QUEUED, queued_at=EPOCH))
        truth[name] = drawn(kind)
    store.commit([], jobs, [], at=EPOCH)
    kept = LessonStore(workspace.paths.predictions)
    kept.add(lessons, [], 0)
    kept.close()
    return truth, workspace


def _spec(name: str, kind: int) -> JobSpec:
    request = ResourceRequest(gpus=(1, 1, 1, 1, 1, 1, 1, 2, 2, 4)[kind])
    argv = ("python", f"train{kind}.py")
    return JobSpec(source="command", key=name, name=name, argv=argv, workdir="/", env_digest="e", request=request)


def _empty(root: Path) -> tuple[Workspace, SqliteStore]:
    (root / "configs").mkdir()
    (root / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:8\npolicy: balanced\n")
    workspace = Workspace(root)
    os.makedirs(workspace.paths.state)
    return workspace, SqliteStore(workspace.paths.database, boot_id="b")


def _percent(part: float | None) -> float:
    return 100.0 * (part or 0.0)


def _costs(times: int) -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        workspace = _workspace(Path(folder))
        paths = workspace.paths
        return [
            _cost(f"what {ENDED} ended jobs took, read at a start", lambda: history(paths, {}), times, None),
            _cost(f"plan, {QUEUED} waiting: the next 20", lambda: plan(workspace, first=20, tries=0), times, 100.0),
            _cost(f"plan, {QUEUED} waiting: all, with intervals", lambda: plan(workspace), times, None),
        ]


def _cost(what: str, work: Callable[[], object], times: int, target: float | None) -> Measure:
    work()  # what is imported at the first call is no matter here
    spans = []
    for _ in range(times):
        begin_s = time.process_time()
        work()
        spans.append((time.process_time() - begin_s) * 1000)
    value, samples = of(spans)
    return Measure(bench="T", what=what, value=value, unit="ms CPU", target=target, samples=samples)


def _workspace(root: Path) -> Workspace:
    """A queue of made-up jobs under `balanced`, and a past."""
    workspace, store = _empty(root)
    jobs, past, lessons = [], History(), []
    for number, job in enumerate(synthetic(jobs=ENDED, gpus=8, seed=1).jobs, 1):
        argv = ("python", f"train{number % 40}.py", str(number % 700))
        spec = JobSpec(
            source="command", key=job.name, name=job.name, argv=argv, workdir="/", env_digest="e",
            request=ResourceRequest(gpus=job.gpus), project=f"p{number % 3}",
        )  # fmt: skip
        if number <= QUEUED:
            jobs.append(Job(id=number, spec=spec, slug=job.name, state=JobState.QUEUED, queued_at=EPOCH))
        lessons.append(past.lesson(fingerprint(spec), job.duration_s))
        past.remember(lessons[-1])
    store.commit([], jobs, [], at=EPOCH)
    kept = LessonStore(workspace.paths.predictions)
    kept.add(lessons, [], 0)
    kept.close()
    return workspace
