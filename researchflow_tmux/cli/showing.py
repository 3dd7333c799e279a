"""status and friends."""

from __future__ import annotations

import click

from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, print_json

pass_chosen = click.make_pass_decorator(Chosen)


@click.command()
@json_option
@pass_chosen
def status(chosen: Chosen, as_json: bool = False) -> None:
    """Show jobs, GPUs and the scheduler."""
    view = chosen.workspace().status()
    if as_json:
        print_json("status", view)
        return
    for job in view.jobs:
        click.echo(f"{job.id} {job.name} {job.state} {job.reason} {job.session}")
