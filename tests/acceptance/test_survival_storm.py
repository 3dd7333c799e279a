"""Many kills of everything at random while jobs run: each job that was not itself killed runs exactly once."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from researchflow_tmux.adapters.tmux_socket import find_server
from tests.support import eventually
from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux


def wait_for_runs(ws: RealWorkspace, goal: int) -> None:
    eventually(lambda: sum(ws.runs().values()) >= goal, 60.0, what="jobs go on")


@pytest.mark.timeout(600)
def test_servers_and_schedulers_killed_at_random(workspace: RealWorkspace) -> None:
    """RFSCHED_TEST_STORM=200 makes it longer."""
    ws = workspace
    kills = int(os.environ.get("RFSCHED_TEST_STORM", "4"))
    chance = random.Random(7)
    ws.configure(max_jobs_per_gpu=3, env={"NAP": "0.4"}, retry_delay=0.1)
    ws.add_configs(10 * kills)
    ws.ok("start")
    for _ in range(kills):
        ran = sum(ws.runs().values())
        goal = min(ran + chance.randint(2, 6), 10 * kills)
        wait_for_runs(ws, goal)
        victims = chance.choice(["server", "scheduler", "both"])
        server, scheduler = find_server(ws.server.socket), ws.scheduler_pid()
        if victims != "scheduler" and server is not None:
            os.kill(server, signal.SIGKILL)
        if victims != "server" and scheduler:
            with suppress(ProcessLookupError):
                os.kill(scheduler, signal.SIGKILL)
    states = ws.settled(120.0)
    assert set(states.values()) == {"succeeded"}, {n: ws.reason(n) for n, s in states.items() if s != "succeeded"}
    assert set(ws.runs().values()) == {1}
    assert len(ws.runs()) == 10 * kills
    assert Path(f"/proc/{ws.scheduler_pid()}").exists()
    eventually(lambda: "t_scheduler" in ws.sessions(), what="it is in a session again")
