"""A budget holds with real processes while the scheduler is dead, and the job goes on when there is more."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

BUDGET_H = 0.003
TRAINING = """import os, signal, sys, time
def save(*_):
    with open("saved", "w") as file:
        file.write("step 7")
signal.signal(signal.SIGUSR1, save)
if os.path.exists("saved"):
    print("goes on from", open("saved").read())
    sys.exit(0)
open("began", "w").close()
while True:
    time.sleep(0.05)
"""


def hours(ws: RealWorkspace) -> dict[str, float]:
    found: dict[str, float] = ws.status()["projects"][0]["gpu_hours"]
    return found


def test_the_runner_ends_a_job_inside_its_budget_and_it_goes_on_after_a_top_up(workspace: RealWorkspace) -> None:
    ws = workspace
    project = {"gpu_hours": BUDGET_H, "period": "total"}
    ws.configure(max_jobs_per_gpu=1, projects={"vision": project})
    (ws.root / "training.py").write_text(TRAINING)
    scheduler = ws.scheduler()
    eventually(lambda: ws.api.paths.database and os.path.exists(ws.api.paths.lock), 20.0)
    ws.ok("add", "--name", "long", "--project", "vision", "--", sys.executable, "training.py")
    eventually((ws.root / "began").exists, 30.0)
    ws.wait_for("long", "running")
    kill9(scheduler.pid)
    runner = ws.api.last_attempt(ws.api.job("long"))
    assert runner is not None
    eventually((ws.root / "saved").exists, 30.0, what="no scheduler lives, and it saves itself")
    eventually(lambda: not ws.job_pids("long"), 30.0, what="it is over")

    ws.wait_for("long", "held")
    assert ws.job("long")["reason_code"] == "budget"
    used = hours(ws)
    assert 0 < used["used"] <= BUDGET_H
    assert used["granted"] == 0

    ws.ok("project", "set", "vision", "gpu_hours=1")
    ws.scheduler()
    job = ws.wait_for("long", "succeeded")
    assert (job["attempt"], job["retries_used"]) == (2, 0)
    assert "goes on from step 7" in ws.log("long")
    assert used["used"] < hours(ws)["used"] < 1
