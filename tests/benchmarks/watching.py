"""W: what the scheduler costs while it only watches the files of all job sources, and nothing changes in them."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, cpu_s, load
from tests.workspaces import RealWorkspace

JOB_FILES, LINES = 30, 500
TABLES, ROWS = 10, 1000
YAML_FILES = 10


def measures(*, quick: bool) -> list[Measure]:
    """Thirty job files, ten tables, ten sweeps and ten pipelines, all of them done: nothing of it is to be run."""
    lines = []
    with contenders.workspace(task_name="watch") as ws:
        fill(ws.root / "jobs")
        for what, files in (("with 60 files in jobs/", True), ("with none", False)):
            if not files:
                for path in sorted((ws.root / "jobs").iterdir()):
                    path.unlink()
            lines.append(_idle(ws, what, 20.0 if quick else 60.0))
    return lines


def fill(folder: Path) -> None:
    """Files whose jobs are done already: only watching them costs anything."""
    folder.mkdir()
    for number in range(JOB_FILES):
        text = "".join(f"# python train.py --seed {line} --file {number}\n" for line in range(LINES))
        (folder / f"lines{number}.txt").write_text(text + "## more to come\n")
    for number in range(TABLES):
        rows = "".join(f"row{row},{row},1,1,true {number}\n" for row in range(ROWS))
        (folder / f"table{number}.csv").write_text(f"name,seed,run_num,need_run_num,cmd\n{rows}")
    for number in range(YAML_FILES):
        (folder / f"sweep{number}.yml").write_text(f"command: 'true {{x}}'\nvariables: {{x: [{number}]}}\n")
        job = f"{{command: 'true {number}', gpus: 0}}"
        (folder / f"pipeline{number}.yml").write_text(f"name: p{number}\njobs: {{a: {job}}}\n")


def _idle(ws: RealWorkspace, what: str, seconds: float) -> Measure:
    ws.ok("start")
    ws.call("wait")  # sweeps and pipelines have a job each
    pid = int(ws.status()["scheduler"]["pid"])
    time.sleep(3.0)
    before, begin = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    busy = 100 * (cpu_s(pid) - before) / (time.monotonic() - begin)
    ws.ok("stop")
    note = f"{seconds:g} s, a look every {ws.api.settings.check_interval:g} s, load {load()}"
    target = 0.2 if what.startswith("with 60") else None
    return Measure(
        bench="W", what=f"idle scheduler CPU {what}", value=busy, unit="% of a core", target=target, note=note
    )
