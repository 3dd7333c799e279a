"""demo: real trainings on simulated GPUs, a scheduler that is killed in the middle, and nothing lost."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from researchflow_tmux.api.demo import Result
    from researchflow_tmux.api.views import StatusView
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.cli.layout import Block

LONGEST_S = 300.0
LOOK_S = 0.25
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ENDED = ("succeeded", "failed", "cancelled", "skipped")


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


def where_it_runs(workspace: Workspace, session: str | None) -> str:
    """How to look at the scheduler while the demo runs."""
    socket = workspace.settings.tmux_socket
    tmux = f"tmux -S {shlex.quote(socket)}" if socket else "tmux"
    return f"scheduler started; look at it from another terminal: {tmux} attach -t {session}"


class Show:
    """Shows how things go: the status picture redrawn in place, or a line for each thing that happened."""

    def __init__(self, workspace: Workspace, *, live: bool) -> None:
        self.workspace = workspace
        self.live = live
        self.said: list[str] = []
        self.killed: dict[str, bool] = {}
        """Trainings that were killed, and whether they are known to be back."""
        self._states: dict[str, str] = {}
        self._pause = threading.Event()  # never set: a bounded wait
        if live:
            sys.stdout.write(HOME + CLEAR_BELOW)

    def say(self, text: str) -> None:
        """Tell one thing; on a live screen it stays below the picture."""
        self.said.append(text)
        if not self.live:
            click.echo(text)

    def watch(self, *, scheduler: bool, trainings: bool, more: Callable[[], bool] = lambda: False) -> None:
        """Follow the jobs to their end; kill the scheduler once, when some are done and some still run.

        `more` = whether somebody is still about to add jobs.
        """
        deadline = time.monotonic() + LONGEST_S
        while True:
            view = self.workspace.status()
            self._show(view)
            if all(job.state in ENDED for job in view.jobs) and not more():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the demo did not end within {LONGEST_S:g} s")
            if trainings:
                self._kill_trainings(view)
            if scheduler and view.counts["succeeded"] and view.counts["running"]:
                scheduler = not self._crash(view)
            self._pause.wait(LOOK_S)

    def _crash(self, view: StatusView) -> bool:
        """Kill the scheduler; False = there was none to kill just now."""
        from researchflow_tmux.api.demo import kill_scheduler, wait_until_back

        pid = kill_scheduler(self.workspace)
        if pid is None:
            return False
        self.say(f"!! kill -9 {pid}: the scheduler is dead; {view.counts['running']} trainings run on without it")
        self._show(self.workspace.status())
        new, seconds = wait_until_back(self.workspace, pid)
        self.say(f"!! it is back after {seconds:.1f} s as process {new}, with every job")
        return True

    def _kill_trainings(self, view: StatusView) -> None:
        """Kill the next training that is far enough, and tell of those that are back."""
        from researchflow_tmux.api.demo_crash import KILL_AFTER_STEPS, came_back, kill_training

        for job in view.jobs:
            known = job.name in self.killed
            back = came_back(self.workspace, job) if known and not self.killed[job.name] else None
            if back is not None:
                self.killed[job.name] = True
                lost, saved = (f"{each or 0:.1f} s" for each in (back.lost_s, back.saved_s))
                self.say(
                    f"!! {job.name} goes on after epoch {back.resumed_step}: {saved} of training saved, {lost} lost"
                )
            if not known and job.state == "running" and len(self.killed) < len(KILL_AFTER_STEPS):
                killed = kill_training(self.workspace, job, KILL_AFTER_STEPS[len(self.killed)])
                if killed is not None:
                    self.killed[job.name] = False
                    dead = f"the training {job.name} is dead in epoch {killed.done + 1:.0f}"
                    self.say(f"!! kill -9 {killed.pid}: {dead}; its newest checkpoint is of epoch {killed.saved_step}")

    def _show(self, view: StatusView) -> None:
        if self.live:
            self._redraw(view)
            return
        for job in view.jobs:
            if self._states.get(job.name) != job.state:
                self._states[job.name] = job.state
                where = f" in session {job.session}" if job.state == "running" else ""
                click.echo(f"  {job.name}: {job.state if job.state != 'queued' else 'waiting'}{where}")

    def _redraw(self, view: StatusView) -> None:
        from researchflow_tmux.cli import layout
        from researchflow_tmux.cli.layout import line
        from researchflow_tmux.cli.status_blocks import Fold, picture

        size = shutil.get_terminal_size()
        blocks = picture(view, width=size.columns, fold=Fold(), everything=True)
        blocks += [line(), *(line(text, "yellow" if text.startswith("!!") else "") for text in self.said)]
        lines = layout.render(blocks, width=size.columns, colour=layout.wants_colour())[: size.lines - 1]
        sys.stdout.write(HOME + "".join(f"{text}{CLEAR_LINE}\n" for text in lines) + CLEAR_BELOW)
        sys.stdout.flush()


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


def where_to_look(path: str, first: str, *, keep: bool) -> list[Block]:
    """What may be typed next; `first` = one of the jobs."""
    from researchflow_tmux.cli.layout import line

    here = shlex.quote(path)
    lines = [f"results:  {os.path.join(path, 'out')}", f"logs:     rfsched -w {here} logs {first}"]
    if keep:
        lines.append(f"sessions: rfsched -w {here} attach {first}, or without a name the scheduler's")
        lines.append(f"remove:   rfsched -w {here} kill-all --yes && rm -r {here}")
    else:
        lines.append(f"again:    rfsched -w {here} start --rerun, then rfsched -w {here} attach")
        lines.append(f"remove:   rm -r {here}   (its scheduler and sessions are closed already)")
    return [line(text) for text in lines]
