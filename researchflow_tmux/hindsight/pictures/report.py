"""The report as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from researchflow_tmux.drawing.looks import look
from researchflow_tmux.drawing.viewer import Table
from researchflow_tmux.hindsight.pictures.words import counted, lasted, stretch
from researchflow_tmux.hindsight.report import Report, Tally

COLUMNS = (
    "JOBS",
    "OK",
    "FAILED",
    "ATTEMPTS",
    "RETRIES",
    "GPU-HOURS",
    "CPU-HOURS",
    "WASTED GPU-H",
    "WAIT MEAN",
    "P50",
    "P99",
)
NUMBERS = frozenset(range(1, 1 + len(COLUMNS)))
"""WASTED GPU-H: of attempts that led to no success."""


def heading(data: Report, zone: tzinfo | None = None) -> str:
    """What the report is of, in one line."""
    parts = [stretch(data.since, data.until, zone), counted(data.total.jobs, "job")]
    parts += [counted(data.total.attempts, "attempt"), f"{data.total.gpu_hours:.2f} GPU-hours"]
    if data.total.gpu_hours > 0:
        parts.append(f"{100 * data.total.wasted_gpu_hours / data.total.gpu_hours:.0f} % of them wasted")
    return f"rfsched report on {data.workspace}: " + ", ".join(parts)


def report_tables(data: Report) -> list[Table]:
    """How attempts ended, then by project, user, GPU and day; where there is only one key, that one is left out."""
    ends = [[look(kind).words, str(count)] for kind, count in data.outcomes.items()]
    tables = [Table("How attempts ended", ("ENDED", "ATTEMPTS"), ends, frozenset({1}))] if ends else []
    parts = (("project", data.projects), ("user", data.users), ("GPU", data.gpus), ("day", data.days))
    whole = Table("In all", ("", *COLUMNS), [_row(data.total)], NUMBERS)
    return [whole, *(_table(f"By {what}", what, found, data.total) for what, found in parts if found), *tables]


def _table(title: str, what: str, found: Sequence[Tally], total: Tally) -> Table:
    rows = [_row(each) for each in found]
    return Table(title, (what.upper(), *COLUMNS), rows, NUMBERS)


def _row(tally: Tally) -> list[str]:
    waits = (tally.wait_mean_s, tally.wait_p50_s, tally.wait_p99_s)
    counts = (tally.jobs, tally.succeeded, tally.failed, tally.attempts, tally.retries)
    return [
        tally.key,
        *map(str, counts),
        f"{tally.gpu_hours:.2f}",
        "" if tally.cpu_hours is None else f"{tally.cpu_hours:.2f}",
        f"{tally.wasted_gpu_hours:.2f}",
        *("" if wait is None else lasted(wait) for wait in waits),
    ]
