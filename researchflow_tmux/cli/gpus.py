"""gpus: what is on each GPU, and steering them by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.engine.steering import Steered

F = TypeVar("F", bound=Callable[..., Any])


@click.group(invoke_without_command=True)
@click.option("--watch", is_flag=True, help="Draw it again and again; leave with Ctrl-C.")
@click.option("--topology", is_flag=True, help="How they are connected: a matrix.")
@click.option("--since", metavar="WHEN", help="How they were used since then: 2h, today, 2026-01-31.")
@json_option
@pass_chosen
@click.pass_context
def gpus(ctx: click.Context, chosen: Chosen, watch: bool, topology: bool, since: str | None, as_json: bool) -> None:
    """Show the GPUs: memory, load, jobs, other people's processes, and which are not used and why.

    \b
    rfsched gpus --since 2h      how busy they were
    rfsched gpus --topology      how they are connected
    rfsched gpus drain 0 1       no new jobs there; running ones go on to their ends
    rfsched gpus enable all      use them again
    rfsched gpus kill 2          end our jobs there now, and start none
    """  # noqa: D301 - \b is click's "keep these lines"
    if ctx.invoked_subcommand is not None:
        return
    workspace = chosen.workspace()
    if since is not None:
        _show_history(workspace, since, as_json=as_json)
    elif watch:
        _watch(workspace, as_json=as_json)
    elif topology and not as_json:
        _show_topology(workspace)
    else:
        _show(workspace, as_json=as_json)


def _show(workspace: Workspace, *, as_json: bool) -> None:
    from researchflow_tmux.api.gpus import view

    found = view(workspace)
    if as_json:
        print_json("gpus", found)
        return
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.gpu_blocks import picture

    layout.show(picture(found, layout.terminal_width()))


def _show_topology(workspace: Workspace) -> None:
    from researchflow_tmux.api.gpus import view
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.gpu_blocks import matrix

    layout.show(matrix(view(workspace).gpus))


def _show_history(workspace: Workspace, since: str, *, as_json: bool) -> None:
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.gpu_history import history
    from researchflow_tmux.api.since import moment_of

    found = history(workspace, moment_of(since, SystemClock().now()))
    if as_json:
        print_json("gpu-history", found)
        return
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.gpu_blocks import past

    layout.show(past(found, layout.terminal_width()))


def _watch(workspace: Workspace, *, as_json: bool) -> None:
    from researchflow_tmux.cli.redrawing import again_and_again, redraw

    def once() -> None:
        if as_json or not sys.stdout.isatty():
            _show(workspace, as_json=as_json)
            return
        from researchflow_tmux.api.gpus import view
        from researchflow_tmux.cli.gpu_blocks import picture

        redraw(lambda size: picture(view(workspace), size.columns))

    again_and_again(once, in_place=not as_json)


# -- steering

gpus_argument = click.argument("wanted", nargs=-1, required=True, metavar="GPU...")


@gpus.command()
@gpus_argument
@json_option
@pass_chosen
def enable(chosen: Chosen, wanted: tuple[str, ...], as_json: bool) -> None:
    """Use GPUs again that were drained or lost. GPU is an index, a UUID (or its beginning), or `all`."""
    _steer(chosen.workspace(), "enable", wanted, as_json=as_json)


@gpus.command()
@gpus_argument
@json_option
@pass_chosen
def drain(chosen: Chosen, wanted: tuple[str, ...], as_json: bool) -> None:
    """Start nothing new on GPUs; jobs that run there go on to their ends. It stays so until `gpus enable`."""
    _steer(chosen.workspace(), "drain", wanted, as_json=as_json)


@gpus.command()
@gpus_argument
@click.option("--requeue", is_flag=True, help="Queue the jobs again, for other GPUs, instead of cancelling them.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_chosen
def kill(chosen: Chosen, wanted: tuple[str, ...], requeue: bool, yes: bool, as_json: bool) -> None:
    """Drain GPUs and end the jobs of this workspace that run there: they are cancelled. Nobody else's is touched."""
    workspace = chosen.workspace()
    if not yes and not as_json and sys.stdin.isatty():
        _ask_first(workspace, wanted, requeue=requeue)
    _steer(workspace, "kill", wanted, requeue=requeue, as_json=as_json)


def _ask_first(workspace: Workspace, wanted: Sequence[str], *, requeue: bool) -> None:
    from researchflow_tmux.api.gpus import jobs_there

    found = jobs_there(workspace, wanted)
    if found:
        fate = "ended and queued again" if requeue else "ended and cancelled"
        if not click.confirm(f"{count(len(found), 'job')} will be {fate}: {names(found)}. Go on?"):
            click.echo("nothing was changed")
            raise click.exceptions.Exit(1)


def _steer(workspace: Workspace, action: str, wanted: Sequence[str], *, as_json: bool, requeue: bool = False) -> None:
    from researchflow_tmux.api.gpus import steer

    done = steer(workspace, action, wanted, requeue=requeue)
    if as_json:
        print_json(f"gpus-{action}", done)
    else:
        _tell(workspace, action, done, requeue=requeue)


def _tell(workspace: Workspace, action: str, done: Steered, *, requeue: bool) -> None:
    if done.drained:
        click.echo(f"drained: {_gpus(done.drained)}; `rfsched gpus enable` takes it back")
    if done.enabled:
        click.echo(f"enabled: {_gpus(done.enabled)}")
    if done.unchanged:
        click.echo(f"{'in use' if action == 'enable' else 'drained'} already: {_gpus(done.unchanged)}")
    for index, why in done.still_drained.items():
        click.echo(f"GPU {index} stays drained all the same: {why}")
    if done.running:
        click.echo(f"running there to the end: {names(done.running, 20)}")
    if done.stopping:
        fate = "to stop and be queued again" if requeue else "to stop"
        grace = workspace.usable_settings.stop_grace
        click.echo(f"told {fate} (within {grace:g} s): {names(done.stopping, 20)}")
    elif action == "kill":
        click.echo("no job of this workspace runs there")


def _gpus(indices: Sequence[int]) -> str:
    return f"GPU {', '.join(map(str, sorted(indices)))}"
