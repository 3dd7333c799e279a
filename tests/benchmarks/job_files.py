"""J: a job file of 100 000 lines, from the file to the queue, and one mark into a file of 10 000."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from researchflow_tmux.adapters.sources.jobfiles.source import JobFiles
from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, load, median_ms, memory_mib, percentile
from tests.benchmarks.python_api import full_workspace

INGESTED, MARKED = 100_000, 10_000
MARKS = 50


def measures(*, quick: bool) -> list[Measure]:
    """Every figure; `quick` = a fifth of the lines."""
    return [*ingest(INGESTED // (5 if quick else 1)), *write_back(MARKED)]


def ingest(lines: int) -> list[Measure]:
    """From `rfsched start` on a file that has just been put there until its lines are queued; the memory they take."""
    with full_workspace() as (ws, pid):
        (ws.root / "jobs").mkdir()
        ws.ok("start")
        before = memory_mib(pid)[0]
        _fill(ws.root / "todo", lines)
        os.replace(ws.root / "todo", ws.root / "jobs" / "todo.txt")
        begin = time.perf_counter()
        ws.ok("start")
        took = time.perf_counter() - begin
        queued = sum(1 for job in ws.status()["jobs"] if job["state"] == "queued")
        assert queued >= lines, f"{queued} of {lines} are queued"
        time.sleep(ws.api.settings.check_interval + 2.0)  # with its next sweep the scheduler tidies up
        kib = (memory_mib(pid)[0] - before) * 1024 / lines
    what = f"{lines} lines, file to queued"
    return [
        Measure(bench="J", what=what, value=took, unit="s", target=5.0, note=f"load {load()}"),
        Measure(bench="J", what="scheduler's memory per queued line", value=kib, unit="KiB", target=1.95),
    ]


def write_back(lines: int) -> list[Measure]:
    """One state change into the file, on disk; 50 of them at once; and a look at a file that has not changed."""
    with contenders.workspace() as ws:
        (ws.root / "jobs").mkdir()
        _fill(ws.root / "jobs" / "todo.txt", lines)
        source = JobFiles(
            SourceContext(
                paths=WorkspacePaths(root=str(ws.root), config=str(ws.root / "scheduler_config.yml")),
                settings=Settings(task_name="t"),
                variables=dict(os.environ),
                state_dir=str(ws.root / ".rfsched" / "sources" / "jobfile"),
            )
        )
        at = ws.api._clock.now()
        jobs = {
            draft.key: Job(id=number, spec=draft.to_spec(""), slug="", state=JobState.QUEUED, queued_at=at)
            for number, draft in enumerate(source.read({}).drafts, 1)
        }
        assert not source.read(jobs).drafts
        keys = iter(list(jobs))

        def change(count: int) -> None:
            changed = [next(keys) for _ in range(count)]
            for key in changed:
                jobs[key] = msgspec.structs.replace(jobs[key], state=JobState.ACTIVE, attempts=1)
            assert not source.write(jobs, changed)

        single = median_ms(lambda: change(1), MARKS)
        batch = median_ms(lambda: change(50), MARKS)
        idle = median_ms(lambda: source.read(jobs), MARKS)
        assert (ws.root / "jobs" / "todo.txt").read_text().count("! ") == 51 * MARKS
    what = f"into {lines} lines"
    return [
        Measure(bench="J", what=f"one mark {what}, p50", value=percentile(single, 50), unit="ms", target=20.0),
        Measure(bench="J", what=f"one mark {what}, p99", value=percentile(single, 99), unit="ms", samples=single),
        Measure(bench="J", what=f"50 marks {what}, p50", value=percentile(batch, 50), unit="ms"),
        Measure(bench="J", what="a look, nothing changed, p50", value=percentile(idle, 50), unit="ms"),
    ]


def _fill(path: Path, lines: int) -> None:
    path.write_text("".join(f"python train.py --lr 0.{n} --model resnet{n % 7} --seed {n}\n" for n in range(lines)))
