"""H: task tables of 10 000 rows, from the file to the queue, and a count back into the file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import openpyxl

from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.adapters.sources.tables.source import Tables
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, median_ms, percentile
from tests.benchmarks.python_api import full_workspace

ROWS = 10_000
COUNTS = 50
HEADER = ("name", "lr", "batch_size", "model", "seed", "cmd")


def measures(*, quick: bool) -> list[Measure]:
    """Every figure; `quick` = a fifth of the rows."""
    rows = ROWS // 5 if quick else ROWS
    lines: list[Measure] = []
    for ending, make in MAKERS.items():
        lines += ingest(ending, make, rows)
        lines += write_back(ending, make, rows)
    return lines


def ingest(ending: str, make: Callable[[Path, int], None], rows: int) -> list[Measure]:
    """From `rfsched start` on a table that has just been put there until its rows are queued, on disk."""
    with full_workspace() as (ws, _pid):
        jobs = ws.root / "jobs"
        jobs.mkdir()
        ws.ok("start")
        make(ws.root / f"todo{ending}", rows)
        os.replace(ws.root / f"todo{ending}", jobs / f"todo{ending}")
        begin = time.perf_counter()
        ws.ok("start")
        took = time.perf_counter() - begin
        queued = sum(1 for job in ws.status()["jobs"] if job["state"] == "queued")
        assert queued >= rows, f"{queued} of {rows} are queued"
    return [Measure(bench="H", what=f"{rows} rows of {ending}, file to queued", value=took, unit="s", target=3.0)]


def write_back(ending: str, make: Callable[[Path, int], None], rows: int) -> list[Measure]:
    """One success into the table, on disk; and a look at a table in which nothing has changed."""
    with contenders.workspace() as ws:
        (ws.root / "jobs").mkdir()
        make(ws.root / "jobs" / f"todo{ending}", rows)
        paths = WorkspacePaths(root=str(ws.root), config=str(ws.root / "scheduler_config.yml"))
        context = SourceContext(
            paths=paths,
            settings=Settings(task_name="t"),
            variables=dict(os.environ),
            state_dir=str(ws.root / ".rfsched" / "sources" / "table"),
        )
        source = Tables(context)
        drafts = source.read({}).drafts
        at = ws.api._clock.now()
        jobs = {
            draft.key: Job(id=number, spec=draft.to_spec(""), slug="", state=JobState.QUEUED, queued_at=at)
            for number, draft in enumerate(drafts, 1)
        }
        keys = iter(list(jobs))

        def one() -> None:
            key = next(keys)
            jobs[key] = msgspec.structs.replace(jobs[key], state=JobState.SUCCEEDED, attempts=1)
            assert not source.write(jobs, [key])

        spans = median_ms(one, COUNTS)
        idle = median_ms(lambda: source.read(jobs), COUNTS)
    what = f"one count into {rows} rows of {ending}"
    return [
        Measure(bench="H", what=f"{what}, p50", value=percentile(spans, 50), unit="ms", samples=spans),
        Measure(bench="H", what=f"{what}, p99", value=percentile(spans, 99), unit="ms"),
        Measure(bench="H", what=f"a look at {ending}, nothing changed", value=percentile(idle, 50), unit="ms"),
    ]


def _rows(count: int) -> list[tuple[str | int | float, ...]]:
    return [(f"run{n}", n / 1000, 64, f"model {n % 7}", n, "python train.py") for n in range(count)]


def _csv(path: Path, count: int) -> None:
    path.write_text("\n".join(",".join(map(str, row)) for row in [HEADER, *_rows(count)]) + "\n")


def _json(path: Path, count: int) -> None:
    path.write_text(json.dumps([dict(zip(HEADER, row, strict=True)) for row in _rows(count)], indent=1))


def _xlsx(path: Path, count: int) -> None:
    book = openpyxl.Workbook()
    for row in [HEADER, *_rows(count)]:
        book.active.append(list(row))
    book.save(path)


MAKERS: dict[str, Callable[[Path, int], None]] = {".csv": _csv, ".xlsx": _xlsx, ".json": _json}
