"""sweep: one file with variables as many jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.adding import tell_scheduler
from researchflow_tmux.cli.combinations import FOLD, Combination, show_combinations
from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.sweeping import Swept


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Show the jobs; queue nothing.")
@click.option("--all", "everything", is_flag=True, help=f"With --dry-run: every job, not the first {FOLD} alone.")
@click.option(
    "--max", "most", type=click.IntRange(min=1), default=10_000, show_default=True, help="Refuse more jobs than this."
)
@click.option("--no-start", is_flag=True, help="Only queue them; leave the scheduler as it is.")
@json_option
@pass_chosen
def sweep(chosen: Chosen, file: str, dry_run: bool, everything: bool, most: int, no_start: bool, as_json: bool) -> None:
    """Queue the jobs that FILE stands for: one for each combination of its variables.

    Called again after FILE was changed, it queues what is new. What is known does not run again.

    \b
    rfsched sweep sweep.yml --dry-run         how many, and which
    rfsched sweep sweep.yml
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.api.sweeping import sweep as queue

    result = queue(chosen.workspace(), file, dry_run=dry_run, most=most, may_start=not no_start)
    if as_json:
        print_json("sweep", result)
        return
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    if dry_run:
        found = (Combination(job.name, job.nicks, job.state) for job in result.jobs)
        show_combinations(found, everything=everything)
    _tell(result)


def _tell(result: Swept) -> None:
    done = len(result.done_before)
    verb = "would be queued" if result.dry_run else "queued"
    parts = [f"{result.new - done} {verb}"]
    parts += [f"{done} done before"] if done else []
    parts += [f"{result.known} known already"] if result.known else []
    click.echo(f"{count(len(result.jobs), 'job')}: {', '.join(parts)}")
    failed = sum(job.state == "failed" for job in result.jobs)
    if failed:
        click.echo(f"{failed} of those known failed and were left alone: `rfsched requeue --failed` queues them")
    if result.gone:
        told = f"{count(len(result.gone), 'job')} not in the file any more, left alone"
        click.echo(f"{told}: {names(result.gone)}")
    if result.scheduler is not None:
        tell_scheduler(result.scheduler, result.session, err=False)
