"""demo: real trainings on simulated GPUs, a scheduler that is killed in the middle, and nothing lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.demo_show import Show, where_it_runs, where_to_look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from researchflow_tmux.api.demo import Result
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.cli.layout import Block


@click.command()
@click.argument("directory", required=False, metavar="[DIR]")
@click.option(
    "--crash/--no-crash",
    default=None,
    help="--crash: kill two trainings with SIGKILL too, and see them go on from their checkpoints; --no-crash: kill "
    "nothing. Default: only the scheduler is killed.",
)
@click.option("--mixed", is_flag=True, help="Jobs from a job file, a table, a sweep, a pipeline and Python.")
@click.option("--keep", is_flag=True, help="Leave the scheduler and all sessions open at the end, for a look.")
@click.option("--no-tty", is_flag=True, help="Plain lines, no redrawing.")
@click.option("--socket", metavar="PATH", help="Another tmux socket than the default one.")
@click.pass_context
def demo(
    ctx: click.Context,
    directory: str | None,
    crash: bool | None,
    mixed: bool,
    keep: bool,
    no_tty: bool,
    socket: str | None,
) -> None:
    """Watch a workspace train eight real models on two simulated GPUs; takes half a minute.

    DIR (default: ./demo-workspace) is made; nothing outside it is touched. Exit code 0 if every training succeeded and
    ran exactly once, although the scheduler was killed in the middle; with --crash those that were killed went on from
    their checkpoints, in a second attempt.
    """
    from researchflow_tmux.api import control, demo_crash
    from researchflow_tmux.api.demo import free_directory, prepare, results

    path = directory or free_directory("demo-workspace")
    if mixed:
        from researchflow_tmux.cli.demonstrating_mixed import show_mixed

        if crash:
            raise click.UsageError("--mixed and --crash are two demos; choose one")
        live = sys.stdout.isatty() and not no_tty
        ctx.exit(0 if show_mixed(path, socket, crash=crash is None, keep=keep, live=live) else 1)
    workspace = prepare(path, socket, demo_crash.settings() if crash else None)
    show = Show(workspace, live=sys.stdout.isatty() and not no_tty)
    try:
        began = control.start(workspace, None)
        show.say(f"a workspace with {len(began.submitted.queued)} training configs: {workspace.paths.root}")
        show.say(where_it_runs(workspace, began.session))
        show.watch(scheduler=crash is not False, trainings=bool(crash))
        found = results(workspace)
    except BaseException:
        control.kill_all(workspace)
        raise
    if not keep:
        control.kill_all(workspace)
    _tell(workspace, path, found, _verdict(found, show.killed, crash=crash), keep=keep)
    ctx.exit(0 if all(result.good for result in found) else 1)


def _verdict(found: list[Result], killed: Mapping[str, bool], *, crash: bool | None) -> str:
    good = sum(result.good for result in found)
    verdict = f"{good} of {len(found)} trainings succeeded, each in exactly one attempt"
    if crash is False:
        return verdict
    if not crash:
        return f"{verdict}, although the scheduler was killed in the middle"
    back = ", ".join(result.name for result in found if result.name in killed and result.resumed_step is not None)
    return f"{good} of {len(found)} trainings succeeded; those that were killed went on from their checkpoints: {back}"


def _tell(workspace: Workspace, path: str, found: list[Result], verdict: str, *, keep: bool) -> None:
    from researchflow_tmux.cli.layout import Cell, Table, line, show

    resumed = any(result.resumed_step is not None for result in found)
    words = ["TRAINING", "TEST ACCURACY", "SECONDS", "ATTEMPTS", *(["RESUMED AT"] if resumed else []), "STATE"]
    rows = [tuple(Cell(word, "dim") for word in words)]
    for result in found:
        accuracy = "" if result.accuracy is None else f"{result.accuracy:.1%}"
        seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
        state = Cell(result.state, "green" if result.good else "red")
        cells = [Cell(result.name, "bold"), Cell(accuracy), Cell(seconds), Cell(str(result.attempts))]
        if resumed:
            cells.append(Cell("" if result.resumed_step is None else f"epoch {result.resumed_step}"))
        rows.append((*cells, state))
    blocks: list[Block] = [line(), Table(rows, right=frozenset({1, 2, 3})), line(), line(verdict, "bold"), line()]
    first = found[0].name if found else "JOB"
    show([*blocks, *where_to_look(path, first, keep=keep)])
