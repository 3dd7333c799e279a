"""A running job makes room for one with a deadline: installed rfsched, real tmux, the scheduler killed in between."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

LONG = """\
# Counts, saves when it is asked to (once there is a file `go`), and goes on later; done at 200 in the second attempt.
import os, time
from pathlib import Path
from researchflow_tmux import current_job
job = current_job()
found = job.checkpoint.load_latest()
step = found.step if found else 0
print("begins at", step, flush=True)
with open("ran.txt", "a") as file:
    file.write(f"{job.attempt}\\n")
while job.attempt == 1 or step < 200:
    step += 1
    if job.checkpoint.every(minutes=60):
        print("asked to save", flush=True)
        while not Path("go").exists():
            time.sleep(0.02)
        job.checkpoint.save({"step": step}, step, wait=True)
    time.sleep(0.005)
"""


def test_it_saves_makes_room_and_goes_on_though_the_scheduler_is_killed_twice(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(
        gpu_count="simulated:1", max_jobs_per_gpu=1, policy="balanced", preempt_grace="80s", preempt_after=1,
        check_interval=0.3,
    )  # fmt: skip
    (ws.root / "long.py").write_text(LONG)
    ws.config("long", f"{sys.executable} long.py", preemptible=True)
    ws.ok("start")
    eventually(lambda: "begins at 0" in ws.log("long"), 20.0)
    # Its limit says that it may take 1 000 s: it has to start within the next 150 s, and only the other's end lets it.
    due = (datetime.now(UTC) + timedelta(seconds=1250)).isoformat()
    ws.ok("add", "--name", "paper", "--deadline", due, "--time-limit", "1000", "--", "sleep", "0.5")
    eventually(lambda: "asked to save" in ws.log("long"), 20.0)
    said = ws.ok("why", "paper")
    assert "is being given room: long saves itself and stops (until " in said
    assert "saves itself and stops (until " in ws.ok("why", "long")
    assert "makes room for paper" in ws.ok("status")
    assert ws.job("long")["room_for"] == "paper"

    first = eventually(ws.scheduler_pid, 20.0, what="a scheduler") or 0
    kill9(first)
    second = eventually(lambda: (pid := ws.scheduler_pid()) != first and pid, 30.0, what="another scheduler") or 0
    eventually(lambda: json.loads(ws.ok("status", "--json"))["scheduler"]["seen_at"], 20.0)
    assert ws.job("long")["attempt"] == 1
    assert ws.job_pids("long"), "a scheduler that passes the request on once more takes no time away"
    (ws.root / "go").touch()
    kill9(second)

    assert set(ws.settled(60.0).values()) == {"succeeded"}
    long, paper = ws.job("long"), ws.job("paper")
    assert (long["attempt"], long["preemptions"], paper["attempt"]) == (2, 1, 1)
    assert long["resumed_step"] is not None
    assert f"begins at {long['resumed_step']}" in ws.log("long")
    assert (ws.root / "ran.txt").read_text() == "1\n2\n"
    assert paper["ended_at"] <= long["started_at"], "the GPU was kept for it"
    history = ws.ok("history")
    assert "long: told to save itself and to stop: it makes room for paper" in history
    assert "long: queued again (made room for something more urgent: paper)" in history
    assert "made room for something more urgent: paper" in ws.ok("why", "long")
    assert "was stopped 1 time for more urgent jobs" in ws.ok("why", "long")
