"""threadward: projects of three Python files, with one job for each task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.adding import tell_scheduler
from researchflow_tmux.cli.combinations import FOLD, Combination, show_combinations
from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.threadwarding import Warded

directory_argument = click.argument("directory", default=".", type=click.Path(exists=True, file_okay=False))


@click.group()
def threadward() -> None:
    """Run the tasks of a threadward project as jobs. DIRECTORY (default: here) has a threadward/ folder in it."""


@threadward.command()
@directory_argument
def init(directory: str) -> None:
    """Make threadward/ with its three files; what is there stays."""
    from researchflow_tmux.api.threadwarding import init as make

    made = make(directory)
    for path in made:
        click.echo(os.path.relpath(path))
    if not made:
        click.echo("all three files are there already")


@threadward.command()
@directory_argument
@click.option("--dry-run", is_flag=True, help="Show the tasks; queue nothing.")
@click.option("--all", "everything", is_flag=True, help=f"With --dry-run: every task, not the first {FOLD} alone.")
@click.option("--no-start", is_flag=True, help="Only queue them; leave the scheduler as it is.")
@json_option
@pass_chosen
def run(chosen: Chosen, directory: str, dry_run: bool, everything: bool, no_start: bool, as_json: bool) -> None:
    """Queue a job for each task that has not succeeded; called again, those that are new or have failed."""
    from researchflow_tmux.api.threadwarding import run as queue

    result = queue(chosen.workspace(), directory, dry_run=dry_run, may_start=not no_start)
    if as_json:
        print_json("threadward", result)
        return
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    if dry_run:
        found = (Combination(job.name, job.nicks, job.state or "new") for job in result.tasks)
        show_combinations(found, everything=everything)
    _tell(result)


def _tell(result: Warded) -> None:
    parts = [f"{result.queued} {'would be queued' if result.dry_run else 'queued'}"]
    parts += [f"{result.succeeded} succeeded before"] if result.succeeded else []
    parts += [f"{result.under_way} under way"] if result.under_way else []
    click.echo(f"{count(len(result.tasks), 'task')}: {', '.join(parts)}")
    if result.gone:
        told = f"{count(len(result.gone), 'job')} not in the project any more, left alone"
        click.echo(f"{told}: {names(result.gone)}")
    if result.scheduler is not None:
        tell_scheduler(result.scheduler, result.session, err=False)
