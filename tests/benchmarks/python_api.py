"""G: what submitting from Python costs, with and without a scheduler, and what a queued job costs the scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from researchflow_tmux import Workspace
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, memory_mib, percentile
from tests.workspaces import RealWorkspace

ONE_BY_ONE = 300
BULK = 20_000
QUEUED = 100_000


def measures(*, quick: bool) -> list[Measure]:
    """Every figure; `quick` = a fifth of the jobs."""
    many = QUEUED // 5 if quick else QUEUED
    lines = []
    with contenders.workspace(task_name="t") as ws:
        workspace = Workspace(ws.root, start=False)
        lines += one_by_one(workspace, "no scheduler")
        lines.append(bulk(workspace, "no scheduler", BULK // 5 if quick else BULK))
    with full_workspace() as (ws, pid):
        workspace = Workspace(ws.root, start=False)
        lines += one_by_one(workspace, "scheduler running")
        lines.append(bulk(workspace, "scheduler running", BULK // 5 if quick else BULK))
        before = memory_mib(pid)[0]
        lines.append(bulk(workspace, "scheduler running, more", many))
        grown = (memory_mib(pid)[0] - before) * 1024 / many
        lines.append(
            Measure(bench="G", what=f"memory per queued job, {many} more", value=grown, unit="KiB", target=2.0)
        )
        lines += one_by_one(workspace, f"{many} queued")
    return lines


@contextmanager
def full_workspace() -> Iterator[tuple[RealWorkspace, int]]:
    """A workspace with a scheduler whose only slot is taken: what is queued stays so."""
    with contenders.workspace(gpu_count="simulated:1", max_jobs_per_gpu=1) as ws:
        pid = contenders.start_scheduler(ws)
        contenders.submit(ws, ["sleep", "1000"], 1)
        ws.wait_for("bench0", "running")
        yield ws, pid


def one_by_one(workspace: Workspace, when: str) -> list[Measure]:
    """Milliseconds of one `submit`."""
    spans = []
    for number in range(ONE_BY_ONE):
        begin = time.perf_counter()
        workspace.submit(["python", "train.py", "--seed", str(number)], name=f"one_{number}")
        spans.append((time.perf_counter() - begin) * 1000)
    samples = [round(span, 3) for span in spans]
    return [
        Measure(
            bench="G", what=f"submit, p50, {when}", value=percentile(spans, 50), unit="ms", target=2.0, samples=samples
        ),
        Measure(bench="G", what=f"submit, p99, {when}", value=percentile(spans, 99), unit="ms"),
    ]


def bulk(workspace: Workspace, when: str, count: int) -> Measure:
    """Jobs a second of one `submit_many`."""
    jobs = ({"command": ["python", "train.py", "--seed", str(n)], "name": f"many_{n}"} for n in range(count))
    begin = time.perf_counter()
    handles = workspace.submit_many(jobs, group="sweep")
    rate = len(handles) / (time.perf_counter() - begin)
    what = f"submit_many of {count}, {when}"
    return Measure(bench="G", what=what, value=rate, unit="jobs/s", target=5000.0, at_least=True)
