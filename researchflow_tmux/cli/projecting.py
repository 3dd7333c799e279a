"""project: what projects and users may have, have, and had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, moment, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from researchflow_tmux.api.projects import ProjectView
    from researchflow_tmux.cli.layout import Block


@click.group()
def project() -> None:
    """Show and change what projects and users may have of the GPUs."""


@project.command("list")
@json_option
@pass_chosen
def list_(chosen: Chosen, as_json: bool) -> None:
    """List projects and users: share, caps, budgets, deadline, what runs and waits."""
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.projects import projects_of
    from researchflow_tmux.cli import layout

    found = projects_of(chosen.workspace())
    if as_json:
        print_json("projects", {"projects": found})
    elif not found:
        click.echo("no job is of a project, and none is described: `rfsched project set NAME weight=2` describes one")
    else:
        layout.show(_table(found, SystemClock().now()))


@project.command("set")
@click.option("--user", "user", is_flag=True, help="NAME is the login name of a user.")
@click.option("--machine", is_flag=True, help="For all workspaces of this machine, in its own file.")
@click.argument("name")
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
@pass_chosen
def set_(chosen: Chosen, name: str, words: tuple[str, ...], user: bool, machine: bool, as_json: bool) -> None:
    """Change what a project may have; not a byte besides changes in the file. KEY= takes a value away.

    Keys: weight, max_gpus, max_cpus, max_memory, gpu_hours, cpu_hours, memory_hours, period (day, week, month, total),
    deadline. Running schedulers go by it at once.

    \b
    rfsched project set vision weight=2 max_gpus=4 gpu_hours=500
    rfsched project set --user ann max_gpus=2
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.project_setting import set_allowance

    now = SystemClock().now()
    done = set_allowance(chosen.workspace(), name, words, user=user, machine=machine, now=now)
    if as_json:
        print_json("project-set", done)
        return
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    values = ", ".join(f"{key}: {'none' if value == 'null' else value}" for key, value in done.values.items())
    click.echo(f"{done.section.removesuffix('s')} {name}: {values}")
    if machine:
        click.echo(f"in {done.path}; running schedulers take it over")
    elif done.running:
        click.echo("the running scheduler took it over")


@project.command()
@click.option("--user", "user", is_flag=True, help="NAME is the login name of a user.")
@click.option("--since", metavar="WHEN", help="From then on: yesterday, today, 2h, 2026-01-31.")
@click.argument("name", required=False)
@json_option
@pass_chosen
def report(chosen: Chosen, name: str | None, user: bool, since: str | None, as_json: bool) -> None:
    """Count what projects and users got: hours, jobs, waits, failures, wasted work, by day; how good predictions were.

    With NAME only of that project. `rfsched export report` makes a page with pictures of it.
    """
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.project_report import project_report
    from researchflow_tmux.api.since import moment_of
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.layout import line
    from researchflow_tmux.cli.planning import accuracy_table
    from researchflow_tmux.cli.tables import blocks_of
    from researchflow_tmux.hindsight.pictures.report import heading, report_tables

    begin = None if since is None else moment_of(since, SystemClock().now())
    found, data = project_report(chosen.workspace(), name, user=user, since=begin)
    if as_json:
        print_json("project-report", found)
        return
    data.gpus = []  # `rfsched export report` has them
    if name is not None:  # one row more that says the same
        data.projects, data.users = (data.projects, []) if user else ([], data.users)
    whose = "" if name is None else f"{'user' if user else 'project'} {name}: "
    predictions = [line(), line("How good predictions were", "bold"), *accuracy_table(found.accuracy)]
    layout.show([*blocks_of(whose + heading(data), report_tables(data)), *predictions])


def _table(found: list[ProjectView], now: datetime) -> list[Block]:
    from researchflow_tmux.cli.layout import Cell, Table

    heads = ("NAME", "WEIGHT", "SHARE", "RUNNING", "WAITING", "BUDGET LEFT", "DUE")
    rows = [tuple(Cell(head, "dim") for head in heads)]
    for each in found:
        kind = "user " if each.kind == "user" else ""
        rows.append(
            (
                Cell(f"{kind}{each.name or '(no project)'}"),
                Cell("" if each.weight is None else f"{each.weight:g}"),
                Cell(_share(each)),
                Cell(_running(each)),
                Cell(str(each.waiting)),
                Cell("; ".join(_budgets(each))),
                Cell(moment(each.deadline, now)),
            )
        )
    return [Table(rows, right=frozenset((1, 4)), give=(5, 2))]


def _share(each: ProjectView) -> str:
    """`40 % (has 55 %)`: by its weight, and of what was used lately."""
    if each.share_by_weight is None:
        return ""
    used = "" if each.share_of_use is None else f" (had {each.share_of_use:.0%})"
    return f"{each.share_by_weight:.0%}{used}"


def _running(each: ProjectView) -> str:
    gpus = f"{each.running_gpus}" + (f"/{each.max_gpus}" if each.max_gpus is not None else "") + " GPU"
    cpus = f", {each.running_cpus}/{each.max_cpus} CPU" if each.max_cpus is not None else ""
    memory = ""
    if each.max_memory_mib is not None:
        memory = f", {each.running_memory_mib / 1024:g}/{each.max_memory_mib / 1024:g} GiB"
    return gpus + cpus + memory


def _budgets(each: ProjectView) -> Iterator[str]:
    """`12 of 500 GPU-h this month`, of each resource that has a budget."""
    units = (("GPU-h", each.gpu_hours), ("core-h", each.cpu_hours), ("GiB-h", each.memory_hours))
    lasts = "" if each.period in (None, "total") else f" this {each.period}" if each.period != "day" else " today"
    for unit, hours in units:
        if hours is not None and hours.limit is not None:
            left = max(hours.limit - hours.used - hours.granted, 0.0)
            yield f"{left:.4g} of {hours.limit:.4g} {unit}{lasts}"
