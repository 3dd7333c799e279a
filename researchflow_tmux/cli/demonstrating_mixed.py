"""demo --mixed: every way in at once, on two simulated GPUs, in one queue."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from researchflow_tmux.cli.demo_show import Show, where_it_runs, where_to_look

if TYPE_CHECKING:
    from researchflow_tmux.api.demo_mixed import Done
    from researchflow_tmux.cli.layout import Block


def show_mixed(path: str, socket: str | None, *, crash: bool, keep: bool, live: bool) -> bool:
    """Run the demo in a new workspace at `path`; True = every job succeeded and ran exactly once.

    `crash` = the scheduler is killed in the middle. Raises UsageError when there is something at `path` already.
    """
    from researchflow_tmux.api import control, demo_mixed

    workspace = demo_mixed.prepare(path, socket)
    show = Show(workspace, live=live)
    python = None
    try:
        began = control.start(workspace, None)
        show.say(f"{began.sources.queued} jobs in the files of {workspace.paths.root}/jobs")
        show.say(where_it_runs(workspace, began.session))
        python = demo_mixed.submit_from_python(workspace)
        show.watch(scheduler=crash, trainings=False, more=lambda: python.poll() is None)
        for said in python.communicate()[0].splitlines():
            show.say(f"submit.py: {said}")
        found = demo_mixed.finished(workspace)
    except BaseException:
        if python is not None:
            python.kill()
            python.communicate()
        control.kill_all(workspace)
        raise
    if not keep:
        control.kill_all(workspace)
    _tell(path, found, crash=crash, keep=keep)
    return python.returncode == 0 and all(done.good for done in found)


def _tell(path: str, found: list[Done], *, crash: bool, keep: bool) -> None:
    from researchflow_tmux.cli.layout import Cell, Table, line, show

    rows = [tuple(Cell(word, "dim") for word in ("FROM", "JOB", "GPU", "TEST ACCURACY", "ATTEMPTS", "STATE"))]
    for done in found:
        accuracy = "" if done.accuracy is None else f"{done.accuracy:.1%}"
        state = Cell(done.state, "green" if done.good else "red")
        names = (Cell(done.came_from, "dim"), Cell(done.name, "bold"), Cell(done.gpus))
        rows.append((*names, Cell(accuracy), Cell(str(done.attempts)), state))
    good = sum(done.good for done in found)
    ways = len(Counter(done.came_from for done in found))
    verdict = f"{good} of {len(found)} jobs from {ways} places succeeded, each in exactly one attempt"
    verdict += ", although the scheduler was killed in the middle" if crash else ""
    blocks: list[Block] = [line(), Table(rows, right=frozenset({3, 4})), line(), line(verdict, "bold"), line()]
    show([*blocks, *where_to_look(path, found[0].name if found else "JOB", keep=keep)])
