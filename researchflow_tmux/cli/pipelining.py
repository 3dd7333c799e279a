"""pipeline: one file with jobs that need each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.adding import tell_scheduler
from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.pipelining import Piped, PipedJob

FOLD = 40
NEEDS_SHOWN = 2


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Show the jobs and what would run; queue nothing.")
@click.option("--all", "everything", is_flag=True, help=f"With --dry-run: every job, not the first {FOLD} alone.")
@click.option("--force", is_flag=True, help="Run also what is up to date.")
@click.option("--only", multiple=True, metavar="JOB", help="This job of the file and what it needs.")
@click.option(
    "--max", "most", type=click.IntRange(min=1), default=10_000, show_default=True, help="Refuse more jobs than this."
)
@click.option("--no-start", is_flag=True, help="Only queue them; leave the scheduler as it is.")
@json_option
@pass_chosen
def pipeline(
    chosen: Chosen,
    file: str,
    dry_run: bool,
    everything: bool,
    force: bool,
    only: tuple[str, ...],
    most: int,
    no_start: bool,
    as_json: bool,
) -> None:
    """Queue what there is to do of FILE: jobs that need each other, with their inputs and outputs.

    Called again, it queues what failed, what is out of date, and what needs one of these.

    \b
    rfsched pipeline pipeline.yml --dry-run          what would run, and why
    rfsched pipeline pipeline.yml
    rfsched pipeline pipeline.yml --only eval --force
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.api.pipelining import pipeline as queue

    workspace = chosen.workspace()
    result = queue(workspace, file, dry_run=dry_run, force=force, only=only, most=most, may_start=not no_start)
    if as_json:
        print_json("pipeline", result)
        return
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    if dry_run:
        _show(result.jobs if everything else result.jobs[:FOLD], len(result.jobs))
    _tell(result)


def _tell(result: Piped) -> None:
    verb = "would be queued" if result.dry_run else "queued"
    parts = [f"{result.queued} {verb}"]
    parts += [f"{result.up_to_date} up to date"] if result.up_to_date else []
    parts += [f"{result.under_way} under way"] if result.under_way else []
    rest = len(result.jobs) - result.queued - result.up_to_date - result.under_way
    parts += [f"{rest} not needed"] if rest else []
    click.echo(f"{count(len(result.jobs), 'job')}: {', '.join(parts)}")
    if result.gone:
        told = f"{count(len(result.gone), 'job')} not in the file any more, left alone"
        click.echo(f"{told}: {names(result.gone)}")
    if result.scheduler is not None:
        tell_scheduler(result.scheduler, result.session, err=False)


def _show(shown: Sequence[PipedJob], of: int) -> None:
    """The jobs as a table, each after those it needs."""
    from researchflow_tmux.cli.layout import Cell, Table, line, show

    head = tuple(Cell(word, "bold") for word in ("NAME", "NEEDS", "RUNS"))
    rows = [
        (Cell(job.name), Cell(_needs(job), "dim"), Cell(f"yes, {job.why}" if job.run else job.why)) for job in shown
    ]
    show([Table([head, *rows], give=(0, 1, 2))])
    if len(shown) < of:
        show([line(f"… and {of - len(shown)} more; --all shows them", "dim")])


def _needs(job: PipedJob) -> str:
    if not job.needs:
        return "-"
    told = ", ".join(job.needs[:NEEDS_SHOWN])
    more = len(job.needs) - NEEDS_SHOWN
    words = f"{told} and {more} more" if more > 0 else told
    return words if job.when == "success" else f"{job.when} of {words}"
