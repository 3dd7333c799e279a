"""set: change what a job was queued with."""

from __future__ import annotations

import click

from researchflow_tmux.cli.jobargs import complete_jobs, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, names, print_json


@click.command(name="set")
@click.argument("words", nargs=-1, required=True, metavar="JOB... KEY=VALUE...", shell_complete=complete_jobs)
@json_option
@pass_chosen
def set_values(chosen: Chosen, words: tuple[str, ...], as_json: bool) -> None:
    """Change values of jobs: priority, deadline, project, preemptible, time_limit, retries.

    KEY= (or KEY=none) takes a deadline, project or time limit away. The scheduler goes by it at once. It holds against
    the job's config, until that says something else than it says now.

    \b
    rfsched set exp3 priority=10
    rfsched set 'exp*' @night deadline='2030-01-31 18:00' project=vision
    """  # noqa: D301 - \b is click's "keep these lines"
    done = chosen.workspace().set_words(words)
    if as_json:
        print_json("set", done)
        return
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for what, found in (("set", done.changed), ("had these values already", done.unchanged)):
        if found:
            click.echo(f"{what}: {names(found, 20)}")
    for line in done.refused[:20]:
        click.echo(f"left alone: {line}")
    if len(done.refused) > 20:
        click.echo(f"left alone: {len(done.refused) - 20} more")
