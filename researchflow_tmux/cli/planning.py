"""plan: what will start when and where; and how good such predictions were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import jobs_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, duration, json_option, print_json
from researchflow_tmux.cli.times import between, when

if TYPE_CHECKING:
    from researchflow_tmux.api.plan_views import PlannedGroup, PlannedJob, PlanView
    from researchflow_tmux.cli.layout import Block, Cell
    from researchflow_tmux.policies.prediction.accuracy import Accuracy

ROOMY = 100
"""Columns from which on the intervals of starts are shown too."""


@click.command()
@jobs_argument(required=False)
@click.option(
    "--most", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="List so many jobs."
)
@click.option("--full", "everything", is_flag=True, help="List every job.")
@click.option("--quick", is_flag=True, help="Only the next jobs, without intervals: quicker where very many wait.")
@click.option("--accuracy", is_flag=True, help="Show how good predictions have been so far.")
@json_option
@pass_chosen
def plan(
    chosen: Chosen, jobs: tuple[str, ...], most: int, everything: bool, quick: bool, accuracy: bool, as_json: bool
) -> None:
    """Foresee what will start when and on which GPU, and when it should end.

    The decisions are those of the scheduler on a clock that runs ahead; how long jobs take is known from their
    progress and from what their like took. In brackets: the interval that holds it in four cases of five.

    \b
    rfsched plan                 the queue
    rfsched plan @sweep          the jobs of a group, and when the last one ends
    rfsched plan --accuracy      how far off predictions were
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.api.plan import plan as foresee
    from researchflow_tmux.cli import layout

    workspace = chosen.workspace()
    if accuracy:
        _accuracy(chosen, as_json=as_json)
        return
    wanted = {job.id for job in workspace.jobs(jobs)} if jobs else None
    found = foresee(workspace, wanted=wanted, first=most, tries=0) if quick else foresee(workspace, wanted=wanted)
    listed = found.jobs if everything else found.jobs[:most]
    if as_json:
        found.jobs = listed
        print_json("plan", found)
    else:
        layout.show(blocks(found, listed, width=layout.terminal_width()))


def _accuracy(chosen: Chosen, *, as_json: bool) -> None:
    from researchflow_tmux.api.accuracy import accuracy
    from researchflow_tmux.cli import layout

    rows = accuracy(chosen.workspace())
    if as_json:
        print_json("accuracy", rows)
    else:
        layout.show(accuracy_table(rows))


def accuracy_table(rows: Sequence[Accuracy]) -> list[Block]:
    """How good predictions were, moment by moment."""
    from researchflow_tmux.cli.layout import Cell, Table, line

    if not rows:
        return [line("no predictions so far: they are compared as jobs end", "dim")]
    heads = ("PREDICTED", "JOBS", "MEDIAN ERROR", "WITHIN 15 %", "OFF BY 2", "IN INTERVAL", "WIDTH")
    words = {"submitted": "when submitted", "started": "at the start", "from 10%": "from 10 % of progress on"}
    shown = [tuple(Cell(head, "dim") for head in heads)]
    for row in rows:
        error, width = (_part(each) for each in (row.median_error, row.width))
        parts = (row.within_15_pct, row.off_by_2, row.coverage)
        name = words.get(row.moment, f"at {row.moment.replace('%', ' %')} of progress")
        texts = (name, str(row.predictions), error, *map(_percent, parts), width)
        shown.append(tuple(map(Cell, texts)))
    return [
        Table(shown, right=frozenset(range(1, len(heads)))),
        line(),
        line("of the whole duration; IN INTERVAL: meant to be 80 %; WIDTH of the interval in relation to it", "dim"),
    ]


def _part(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


# -- the table ---------------------------------------------------------------------------------------------------------


def blocks(found: PlanView, listed: Sequence[PlannedJob], *, width: int | None) -> list[Block]:
    """The plan as blocks."""
    from researchflow_tmux.cli.layout import Cell, Line, Table, line

    shown: list[Block] = [line(note, "yellow") for note in found.notes if not note.startswith("?")]
    if not found.jobs:
        shown.append(line("nothing runs and nothing will start"))
    else:
        roomy = width is None or width >= ROOMY
        heads = ("JOB", "ID", "GPU", "STARTS", *(("",) if roomy else ()), "ENDS", "", "")
        rows = [tuple(Cell(head, "dim") for head in heads), *(_row(job, found.at, roomy=roomy) for job in listed)]
        shown += [line()] if shown else []
        shown.append(Table(rows, give=(0, len(heads) - 1)))
        if len(listed) < len(found.jobs):
            shown.append(line(f"… and {len(found.jobs) - len(listed)} more; --full lists them", "dim"))
    shown += [line(), *_totals(found)] if found.jobs else []
    for job in found.not_planned[:10]:
        shown.append(Line((Cell(f"{job.name} ({job.id}) would not start: ", "yellow"), Cell(job.reason))))
    if len(found.not_planned) > 10:
        shown.append(line(f"… and {len(found.not_planned) - 10} more that would not start", "yellow"))
    shown += [line(note, "dim") for note in found.notes if note.startswith("?")]
    return shown


def _row(job: PlannedJob, now: datetime, *, roomy: bool) -> tuple[Cell, ...]:
    from researchflow_tmux.cli.layout import Cell

    running = job.state == "running"
    where = ",".join(map(str, job.gpus)) if job.gpus else "cpu" if not job.gpus_wanted else f"any {job.gpus_wanted}"
    guess = "" if job.start_known else " ?"
    start = "running" if running else "now" if job.start_at <= now else f"≈ {when(job.start_at, now)}{guess}"
    starts = () if not roomy else (Cell(between(job.start_low_at, job.start_high_at, now), "dim"),)
    late = Cell("late: due " + when(job.deadline, now), "red") if job.late else Cell(_done(job), "dim")
    return (
        Cell(job.name, "green" if running else ""),
        Cell(str(job.id)),
        Cell(where),
        Cell(start),
        *starts,
        Cell("?" if job.eta_at is None else f"≈ {when(job.eta_at, now)}"),
        Cell(between(job.eta_low_at, job.eta_high_at, now), "dim"),
        late,
    )


def _done(job: PlannedJob) -> str:
    return "" if job.progress_pct is None else f"{job.progress_pct:.0f} % done"


def _totals(found: PlanView) -> Iterator[Block]:
    """When groups, projects and everything should have ended; the last ones first where there are many."""
    from researchflow_tmux.cli.layout import Cell, Table

    def row(group: PlannedGroup) -> tuple[Cell, ...]:
        left = "" if group.eta_at is None else f"in {duration((group.eta_at - found.at).total_seconds())}"
        name = group.name if group.kind == "queue" else f"{group.kind} {group.name}"
        return (
            Cell(name, "bold" if group.kind == "queue" else ""),
            Cell(count(group.jobs, "job")),
            Cell("?" if group.eta_at is None else f"ends ≈ {when(group.eta_at, found.at)}"),
            Cell(between(group.eta_low_at, group.eta_high_at, found.at), "dim"),
            Cell(left, "dim"),
        )

    groups = found.groups if len(found.groups) <= 8 else found.groups[:8]
    yield Table([*map(row, groups), row(found.queue)], give=(0,))
