"""status: the picture, its JSON, its redrawing form, and the summary since a moment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import jobs_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.views import StatusView
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.cli.layout import Block

MOST_WAITING = 50
"""Waiting jobs that are looked at unless all are asked for: more than a picture has lines for."""
STATE_WORDS = ("waiting", "queued", "running", "held", "succeeded", "failed", "cancelled", "skipped")


@click.command()
@jobs_argument(required=False)
@click.option("--state", "states", multiple=True, type=click.Choice(STATE_WORDS), help="Only jobs in this state.")
@click.option("--group", metavar="G", help="Only jobs of this group; the same as @G.")
@click.option("--full", "everything", is_flag=True, help="Fold nothing: list every job.")
@click.option("--all", "machine", is_flag=True, help="Every workspace of this machine, and who has which GPU.")
@click.option("--watch", is_flag=True, help="Draw it again and again; leave with Ctrl-C.")
@click.option("--since", metavar="WHEN", help="What happened since then: yesterday, today, 2h, 2026-01-31.")
@json_option
@pass_chosen
def status(
    chosen: Chosen,
    jobs: tuple[str, ...] = (),
    states: tuple[str, ...] = (),
    group: str | None = None,
    everything: bool = False,
    machine: bool = False,
    watch: bool = False,
    since: str | None = None,
    as_json: bool = False,
) -> None:
    """Show jobs, GPUs and the scheduler.

    \b
    rfsched status 'exp*' --state failed      only those
    rfsched status --since yesterday          what finished, what failed and why, GPU-hours
    rfsched status --watch --json             one object a line
    """  # noqa: D301 - \b is click's "keep these lines"
    if machine:
        _show_machine(watch=watch, as_json=as_json, given=bool(jobs or states or group or since))
        return
    workspace = chosen.workspace()
    if group is not None:
        jobs = (*jobs, f"@{group}")
    if since is not None:
        from researchflow_tmux.cli.summing import show_summary

        show_summary(workspace, since, as_json=as_json)
        return
    wanted = frozenset("queued" if state == "waiting" else state for state in states)
    if watch:
        _watch(workspace, jobs, wanted, everything=everything, as_json=as_json)
        return
    view = _chosen(workspace, jobs, wanted, all_waiting=everything or as_json)
    if as_json:
        print_json("status", view)
    else:
        _draw(view, everything=everything, filtered=bool(jobs or wanted))


def _show_machine(*, watch: bool, as_json: bool, given: bool) -> None:
    """Of all workspaces there are only totals: which jobs they have is their own."""
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.machine import machine_view
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.machine_blocks import picture
    from researchflow_tmux.cli.redrawing import again_and_again
    from researchflow_tmux.domain.errors import UsageError

    if given:
        raise UsageError("--all shows workspaces, not jobs", hint="without --all these choose jobs of one workspace")

    def once() -> None:
        view = machine_view()
        if as_json:
            print_json("machine", view)
        else:
            layout.show(picture(view, SystemClock().now()))

    if watch:
        again_and_again(once, in_place=False)
    else:
        once()


def _chosen(
    workspace: Workspace, patterns: tuple[str, ...], states: frozenset[str], *, all_waiting: bool
) -> StatusView:
    """The view with only the jobs that are meant; the counts stay those of the workspace."""
    from researchflow_tmux.api.status import Shown

    ids = {job.id for job in workspace.jobs(patterns)} if patterns else None
    return workspace.status(Shown(ids, states, None if all_waiting else MOST_WAITING), totals=True)


def _draw(view: StatusView, *, everything: bool, filtered: bool) -> None:
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.status_blocks import NO_FOLD, Fold, picture

    fold = NO_FOLD if everything else Fold()
    layout.show(picture(view, width=layout.terminal_width(), fold=fold, everything=everything or filtered))


def _watch(
    workspace: Workspace, patterns: tuple[str, ...], states: frozenset[str], *, everything: bool, as_json: bool
) -> None:
    from researchflow_tmux.cli.redrawing import again_and_again

    def once() -> None:
        view = _chosen(workspace, patterns, states, all_waiting=everything or as_json)
        if as_json:
            print_json("status", view)
        else:
            _redraw(view, everything=everything, filtered=bool(patterns or states))

    again_and_again(once, in_place=not as_json)


def _redraw(view: StatusView, *, everything: bool, filtered: bool) -> None:
    """In place on a terminal, fitted to it; one picture after another elsewhere."""
    if not sys.stdout.isatty():
        _draw(view, everything=everything, filtered=filtered)
        click.echo()
        return
    from researchflow_tmux.cli.redrawing import redraw
    from researchflow_tmux.cli.status_blocks import NO_FOLD, Fold, picture

    def fitted(size: os.terminal_size) -> list[Block]:
        fold = Fold(running=max(size.lines // 3, 3), waiting=max(size.lines // 4, 2), ended=3)
        chosen = NO_FOLD if everything else fold
        return picture(view, width=size.columns, fold=chosen, everything=everything or filtered)

    redraw(fitted)
