"""X: what pictures and reports of a workspace with 10 000 ended jobs take, as whole commands, in CPU time."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.measure import Measure, load
from tests.pasts import past
from tests.workspaces import RFSCHED

JOBS, GPUS, WEEK_S = 10_000, 8, 7 * 86_400.0
TARGET_S = 2.0
COMMANDS = (
    ("timeline by GPU, SVG", ("timeline", "a.svg")),
    ("timeline by job, HTML", ("timeline", "a.html", "--by", "job")),
    ("graph, SVG", ("graph", "g.svg", "*1*")),
    ("utilisation, SVG", ("utilisation", "u.svg")),
    ("report with all pictures, HTML", ("report", "r.html")),
    ("report, in the terminal", ("report",)),
)


def measures(*, quick: bool) -> list[Measure]:
    """The median of three runs of each; a tenth of the jobs with `quick`."""
    count = JOBS // 10 if quick else JOBS
    lines = []
    with tempfile.TemporaryDirectory(prefix="rf-export-") as folder:
        root = Path(folder)
        (root / "scheduler_config.yml").write_text("task_name: b\ngpu_count: simulated:8\n")
        (root / ".rfsched").mkdir(mode=0o700)
        past(count, gpus=GPUS, span_s=WEEK_S, running=False).write(str(root / ".rfsched" / "state.db"))
        for what, words in COMMANDS:
            took = [_seconds(root, words) for _ in range(3)]
            note = f"{count} ended jobs, median of 3, load {load()}"
            lines.append(
                Measure(
                    bench="X", what=what, value=statistics.median(took), unit="s of CPU", target=TARGET_S, note=note
                )
            )
    return lines


def _seconds(root: Path, words: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [RFSCHED, "export", *words], cwd=root, env={**os.environ, "TZ": "UTC"}, stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
