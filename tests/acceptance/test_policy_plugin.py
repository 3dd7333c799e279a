"""A policy of one's own with the installed programs and real tmux; and requests that cannot be met, in every way in."""

from __future__ import annotations

import json

import pytest

from researchflow_tmux import Workspace
from researchflow_tmux.adapters.decision_log import read
from researchflow_tmux.engine.planning.replaying import differences
from tests.support import eventually
from tests.workspaces import Factory, new_workspace

__all__ = ["new_workspace"]  # fixtures
pytestmark = pytest.mark.tmux

BIG_FIRST = """
import os

class BigFirst:
    def order(self, job, facts):
        return -job.priority

    def admit(self, job, facts):
        if job.name == "poison":
            os._exit(3)
        return True if job.project != "later" or os.path.exists("go") else "the go is not given"
"""


def test_a_policy_of_ones_own_decides_fails_loudly_and_comes_back(new_workspace: Factory) -> None:
    ws = new_workspace(gpu_count="simulated:1", max_jobs_per_gpu=1, check_interval=1.0)
    (ws.root / "mine.py").write_text(BIG_FIRST)
    refused = ws.call("config", "set", "policy", "mine:SmallFirst")
    assert refused.returncode == 3
    assert "mine.py has no SmallFirst; it has BigFirst" in refused.stderr
    ws.ok("config", "set", "policy", "mine:BigFirst")
    ws.ok("add", "--name", "first", "--", "sh", "-c", "until [ -e first ]; do sleep 0.05; done")
    ws.wait_for("first", "running")
    ws.ok("add", "--name", "low", "--", "true")
    ws.ok("add", "--name", "high", "--priority", "5", "--", "true")
    ws.ok("add", "--name", "wait", "--project", "later", "--priority", "9", "--", "true")
    (ws.root / "first").touch()
    ws.wait_for("low", "succeeded")
    eventually(lambda: ws.reason("wait") == "refused by the policy: the go is not given", what="it is refused")
    starts = [line.split(": running")[0].split()[-1] for line in ws.history().splitlines() if ": running" in line]
    assert starts == ["first", "high", "low"]

    ws.ok("add", "--name", "poison", "--", "true")
    ws.wait_for("poison", "succeeded")
    ws.wait_for("wait", "succeeded")  # `balanced` refuses nobody
    trouble = ws.status()["scheduler"]["policy_trouble"]
    assert "policy mine:BigFirst: its process ended (exit code 3)" in trouble
    assert "`balanced` decides" in trouble
    assert trouble in ws.ok("status")
    assert "its process ended (exit code 3)" in ws.history()

    (ws.root / "mine.py").write_text(BIG_FIRST.replace("os._exit(3)", "pass"))
    ws.ok("add", "--name", "last", "--", "true")
    ws.wait_for("last", "succeeded")
    eventually(lambda: ws.status()["scheduler"]["policy_trouble"] is None, what="it decides again")

    ws.ok("stop")
    decisions = list(read(ws.api.paths.decisions))
    started = [name for each in decisions for name in each.started]
    assert sorted(started) == [1, 2, 3, 4, 5, 6], "every start of a real run is in the log"
    assert [found for each in decisions if (found := differences(each))] == []
    shown = json.loads(ws.ok("why", "high", "--decisions", "--json"))
    assert shown["schema"] == "rfsched.decisions/1"
    assert shown["decisions"][-1]["words"] == "started on GPU 0"
    assert "the last decisions about it" in ws.ok("why", "high", "--decisions")


def test_what_cannot_be_met_is_named_in_every_way_in_and_the_queue_goes_on(new_workspace: Factory) -> None:
    ws = new_workspace(gpu_count="simulated:4", policy="balanced")
    jobs = ws.root / "jobs"
    jobs.mkdir()
    ws.config("wide_config", command="true", gpus=8)
    ws.config("good_config", command="true")
    (jobs / "list.txt").write_text("#@ gpus=8 name=wide_line\ntrue\n#@ name=good_line\ntrue\n#@ after=nobody\nfalse\n")
    (jobs / "table.csv").write_text("cmd,name,rf.gpus\ntrue,wide_row,8\ntrue,good_row,1\n")
    (jobs / "flow.yml").write_text(
        "jobs:\n  wide: {command: 'true', gpus: 8}\n  good: {command: 'true'}\n"
        "  behind: {command: 'true', needs: wide}\n"
    )
    (jobs / "grid.yml").write_text("command: true {n}\nvariables: {n: [1, 2]}\nrfsched: {gpus: 8}\n")
    circle = ws.root / "circle.yml"
    circle.write_text("jobs:\n  a: {command: 'true', needs: b}\n  b: {command: 'true', needs: a}\n")
    said = ws.call("start")
    assert said.returncode == 0, said.stderr
    assert "wide_config: cannot run here: it needs 8 GPUs" in said.stderr
    added = ws.call("add", "--name", "wide_add", "--gpus", "8", "--", "true")
    assert "note: wide_add: cannot run here: it needs 8 GPUs" in added.stderr
    late = ws.call("add", "--name", "late", "--deadline", "2020-01-01", "--", "true")
    assert "note: late (due 2020-01-01 23:59): the deadline is past, and the job runs all the same" in late.stderr
    Workspace(ws.root).submit(["true"], name="wide_python", gpus=8)
    refused = ws.call("pipeline", str(circle))
    assert refused.returncode == 3
    assert "circle" in refused.stderr
    for name in ("good_config", "good_line", "good_row", "flow_good", "late"):
        ws.wait_for(name, "succeeded")
    rows = {job["name"]: job for job in ws.status()["jobs"] if job["state"] == "queued"}
    waiting = {name for name, row in rows.items() if row["reason_code"] == "impossible"}
    assert {"wide_config", "wide_line", "wide_row", "flow_wide", "wide_add", "wide_python"} <= waiting, rows.keys()
    swept = [name for name, row in rows.items() if row["source"] == "sweep" and name in waiting]
    assert len(swept) == 2, (rows.keys(), ws.status()["not_queued"])
    assert rows["flow_behind"]["reason_code"] == "dep"
    problems = " ".join(ws.status()["not_queued"])
    assert "list.txt" in problems
    assert "there is no job of that name" in problems
