"""kill -9 of the real scheduler, at named steps and at random: each attempt starts at most once, each job runs once."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from researchflow_tmux.api import Workspace, control
from researchflow_tmux.intake import submissions
from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]

STEPS = ("observed", "planned", "intent saved", "launched", "acted")


def all_ran_once(ws: RealWorkspace, count: int) -> None:
    """The promise, checked against what the jobs themselves wrote down."""
    states = ws.states()
    assert set(states.values()) == {"succeeded"}, {k: v for k, v in states.items() if v != "succeeded"}
    runs = ws.runs()
    assert len(runs) == count
    assert set(runs.values()) == {1}, {name: n for name, n in runs.items() if n != 1}
    assert set(ws.attempts_run().values()) == {1}


def finish(ws: RealWorkspace) -> None:
    """Let one undisturbed scheduler do the rest."""
    ws.ok("start", "--no-configs")
    eventually(lambda: not {"queued", "running"} & set(ws.states().values()), 60.0, what="every job has ended")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_named_step(workspace: RealWorkspace, step: str) -> None:
    workspace.add_configs(24)
    queue(workspace)
    for passes in (1, 2, 5):
        process = workspace.scheduler(RFSCHED_KILL_AT=f"{step}:{passes}")
        process.wait(timeout=30)
        assert process.returncode == -9, "the scheduler was not killed where the test aims"
    finish(workspace)
    all_ran_once(workspace, 24)


def queue(ws: RealWorkspace) -> None:
    """Queue every config, with no scheduler that could begin."""
    api = Workspace(ws.root)
    captured = control.ready(api)
    found = submissions.from_configs(api.paths, api.settings, captured.digest, captured.variables)
    assert not found.problems
    api.submit_drafts(found.drafts)


@pytest.mark.timeout(300)
def test_a_hundred_random_kills(workspace: RealWorkspace) -> None:
    """RFSCHED_TEST_KILLS=2000 makes it a torture for a night."""
    kills = int(os.environ.get("RFSCHED_TEST_KILLS", "100"))
    jobs = 4 * kills
    chance = random.Random(20261122)
    workspace.configure(env={"NAP": "0.15"})
    workspace.add_configs(jobs)
    queue(workspace)
    for _ in range(kills):
        process = workspace.scheduler()
        try:
            process.wait(timeout=chance.uniform(0.15, 0.75))
        except subprocess.TimeoutExpired:
            kill9(process.pid)
        assert process.wait() == -9, "the scheduler ended by itself"
    finish(workspace)
    all_ran_once(workspace, jobs)
