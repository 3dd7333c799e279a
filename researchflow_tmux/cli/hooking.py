"""hooks: what is told to others, and trying it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, print_json

if TYPE_CHECKING:
    from researchflow_tmux.domain.hooks import HookEvent

EVENTS = ("start", "success", "failure", "oom", "queue_empty", "gpu_idle")


@click.group()
def hooks() -> None:
    """List and try the hooks: commands and webhooks that are told what happens to jobs."""


@hooks.command("list")
@json_option
@pass_chosen
def list_(chosen: Chosen, as_json: bool) -> None:
    """List the hooks, without their secrets."""
    from researchflow_tmux.api import hooking

    found = hooking.listed(chosen.workspace())
    if as_json:
        print_json("hooks", found)
        return
    if not found:
        click.echo("there are no hooks: see `hooks:` in scheduler_config.yml")
    for each in found:
        click.echo(f"{each.event}: {each.hook}")


@hooks.command()
@click.argument("event", type=click.Choice(EVENTS))
@json_option
@pass_chosen
@click.pass_context
def test(ctx: click.Context, chosen: Chosen, event: str, as_json: bool) -> None:
    """Tell the hooks of EVENT something made up, once each. Exit code 1 if one of them fails."""
    from researchflow_tmux.api import hooking

    sys.stdout.flush()
    tried = hooking.test(chosen.workspace(), cast("HookEvent", event), show=not as_json)
    if as_json:
        print_json("hooks-test", {"hooks": tried})
    else:
        for each in tried:
            click.echo(f"{each.hook}: {each.problem or 'ok'}")
    ctx.exit(1 if any(each.problem for each in tried) else 0)
