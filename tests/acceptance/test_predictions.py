"""Predictions with the installed program: of a job that reports, of one that prints, of what waits, after kills."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest

from tests.support import eventually
from tests.workspaces import Factory, RealWorkspace, new_workspace

__all__ = ["new_workspace"]  # fixtures
pytestmark = pytest.mark.tmux

REPORTS = """
import sys, time
from researchflow_tmux import current_job
job, report = current_job(), sys.argv[1] == "report"
for step in range(2001):
    if report:
        job.progress(step, 2000)
    else:
        print(f"\\r{step * 100 // 2000:3d}%|###  | {step}/2000 [00:01<00:01, 10.0it/s]", end="", flush=True)
    time.sleep(0.1)
"""


def plan(ws: RealWorkspace, *args: str) -> dict[str, dict[str, Any]]:
    """`plan --json`, job by job."""
    return {job["name"]: job for job in json.loads(ws.ok("plan", "--json", *args))["jobs"]}


def test_the_end_of_what_runs_and_the_start_of_what_waits_are_foreseen(new_workspace: Factory) -> None:
    ws = new_workspace(max_jobs_per_gpu=1)
    (ws.root / "train.py").write_text(REPORTS)
    ws.ok("start", "--no-configs")
    for name, how in (("reports", "report"), ("prints", "print"), ("next", "report")):
        ws.ok("add", "--name", name, "--", sys.executable, str(ws.root / "train.py"), how)

    def foreseen() -> dict[str, dict[str, Any]]:
        jobs = {job["name"]: job for job in json.loads(ws.ok("status", "--json"))["jobs"]}
        assert jobs["reports"]["eta_at"], jobs["reports"]
        assert jobs["prints"]["eta_at"], jobs["prints"]
        return jobs

    jobs = eventually(foreseen, 60.0, what="both running jobs have an end")  # from 2 % on: after six seconds
    assert jobs["reports"]["eta_low_at"] <= jobs["reports"]["eta_at"] <= jobs["reports"]["eta_high_at"]
    assert jobs["reports"]["progress_pct"] >= 2.0
    found = plan(ws)
    assert (found["reports"]["source"], found["prints"]["source"]) == ("progress", "log")
    first = min(found[name]["eta_low_at"] for name in ("reports", "prints"))
    assert found["next"]["start_high_at"][:19] >= first[:19], "it waits for one of the two"
    assert found["next"]["gpus"] != []
    assert "likely to start ≈ " in ws.ok("why", "next")
    assert "should end ≈ " in ws.ok("why", "reports")

    # What is known outlives the scheduler, whatever ends it.
    os.kill(json.loads(ws.ok("status", "--json"))["scheduler"]["pid"], signal.SIGKILL)
    before = found["reports"]["progress_pct"]

    def again() -> bool:
        job = ws.job("reports")
        return bool(ws.status()["scheduler"]["running"] and job["eta_at"] and job["progress_pct"] > before)

    assert eventually(again, 60.0, what="the next scheduler goes on")
    ws.ok("cancel", "*")
    ws.settled()
    assert json.loads(ws.ok("plan", "--accuracy", "--json"))["accuracy"] == [], "what did not succeed is not compared"
