"""What `setup` did, in words, and the next two commands to type."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from researchflow_tmux.adapters.template import SetupReport


def show_report(report: SetupReport, given: str) -> None:
    """Print the report; `given` = the directory as it was typed."""
    click.echo(f"{report.workspace} is a workspace")
    backups = dict(report.backed_up)
    for name in report.converted:
        click.echo(f"  converted  {name}   (as it was: {backups.pop(name, 'no copy needed')})")
    for name, copy in backups.items():
        click.echo(f"  replaced   {name}   (as it was: {copy})")
    for name in report.created:
        click.echo(f"  made       {name}")
    for name in report.kept:
        click.echo(f"  kept       {name}")
    for note in report.notes:
        click.echo(f"note: {note}")
    here = os.path.realpath(report.workspace) == os.path.realpath(".")
    click.echo("\nnext:")
    if not here:
        click.echo(f"  cd {shlex.quote(given)}")
    click.echo("  rfsched start")
    if here:
        click.echo("  rfsched status --watch")
