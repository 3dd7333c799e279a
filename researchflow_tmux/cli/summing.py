"""The summary since a moment, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.api.since import Line as JobLine
from researchflow_tmux.api.since import Summary, moment_of, summary
from researchflow_tmux.cli import layout
from researchflow_tmux.cli.layout import Block, Cell, Line, Table, line
from researchflow_tmux.cli.output import count, duration, moment, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.workspace import Workspace

MOST = 40


def show_summary(workspace: Workspace, since: str, *, as_json: bool) -> None:
    """Print what happened since then."""
    now = SystemClock().now()
    found = summary(workspace, moment_of(since, now), now)
    if as_json:
        print_json("summary", found)
    else:
        layout.show(blocks(found))


def blocks(found: Summary) -> list[Block]:
    """The summary as blocks."""
    facts = [f"{len(found.finished)} finished", f"{len(found.failed)} failed"]
    facts += [f"{len(found.skipped)} skipped"] if found.skipped else []
    facts += [f"{len(found.cancelled)} cancelled"] if found.cancelled else []
    facts += [f"{len(found.running)} still running", f"{found.waiting} waiting", f"{found.gpu_hours:.2f} GPU-hours"]
    head = Cell(f"since {found.since.astimezone():%Y-%m-%d %H:%M}", "bold")
    result: list[Block] = [Line((head, Cell(": " + ", ".join(facts))))]
    for job in found.failed:
        result += [line(), *_failure(job, found)]
    result += _table("FINISHED", "green", found.finished, found)
    result += _table("SKIPPED", "yellow", found.skipped, found)
    result += _table("CANCELLED", "yellow", found.cancelled, found)
    result += _table("STILL RUNNING", "green", found.running, found)
    result += _retried(found)
    return result


def _failure(job: JobLine, found: Summary) -> list[Block]:
    said: list[Block] = [
        Line(
            (
                Cell(job.state.upper(), "bold red"),
                Cell(f"  {job.name}", "bold"),
                Cell(f"  {job.reason or ''}, {moment(job.ended_at, found.until)} after {duration(job.ran_s) or '0 s'}"),
            )
        )
    ]
    if job.last_line:
        said.append(line(f"  its last line: {job.last_line}", "dim"))
    return said


def _table(head: str, style: str, jobs: list[JobLine], found: Summary) -> list[Block]:
    if not jobs:
        return []
    rows = [(Cell(head, "dim"), Cell("ENDED" if jobs[0].ended_at else "", "dim"), Cell("TOOK", "dim"))]
    rows += [
        (Cell(job.name, style), Cell(moment(job.ended_at, found.until)), Cell(duration(job.ran_s)))
        for job in jobs[:MOST]
    ]
    more: list[Block] = [line(f"… and {len(jobs) - MOST} more", "dim")] if len(jobs) > MOST else []
    return [line(), Table(rows, give=(0,)), *more]


def _retried(found: Summary) -> list[Block]:
    if not found.retried:
        return []
    words = ", ".join(f"{job.name} ({count(job.attempts, 'attempt')}, {job.state})" for job in found.retried[:MOST])
    return [line(), Line((Cell("retried: ", "yellow"), Cell(words)))]
