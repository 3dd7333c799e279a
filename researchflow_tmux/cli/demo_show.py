"""What the demos show while they run: the status redrawn in place, or a line for each thing that happened."""

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
    from collections.abc import Callable

    from researchflow_tmux.api.views import StatusView
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.cli.layout import Block

LONGEST_S = 300.0
LOOK_S = 0.25
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ENDED = ("succeeded", "failed", "cancelled", "skipped")


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


def where_it_runs(workspace: Workspace, session: str | None) -> str:
    """How to look at the scheduler while the demo runs."""
    socket = workspace.settings.tmux_socket
    tmux = f"tmux -S {shlex.quote(socket)}" if socket else "tmux"
    return f"scheduler started; look at it from another terminal: {tmux} attach -t {session}"


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
