"""People type `start` again, take a stop back, and clean up: nothing runs twice and nothing waits without a word."""

from __future__ import annotations

import pytest

from tests.support import eventually
from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]

pytestmark = pytest.mark.tmux


def test_starting_again_and_again_while_jobs_end_runs_each_once(workspace: RealWorkspace) -> None:
    workspace.configure(max_jobs_per_gpu=8, env={"NAP": "0"})
    workspace.add_configs(60)
    names = ",".join(f"exp{number}.yml" for number in range(1, 61))
    for _ in range(6):
        workspace.ok("start", names)
    workspace.ok("wait")
    assert set(workspace.runs().values()) == {1}


def test_a_failure_after_a_success_stays_a_failure(workspace: RealWorkspace) -> None:
    workspace.add_configs(1)
    workspace.ok("start")
    workspace.wait_for("exp1", "succeeded")
    (workspace.root / "job.sh").write_text("#!/bin/sh\nexit 1\n")
    workspace.ok("start", "--rerun", "exp1.yml")
    eventually(lambda: workspace.states()["exp1"] == "failed", what="the second run has failed")
    assert "1 failed before and were left alone" in workspace.ok("start")
    assert workspace.states()["exp1"] == "failed"


def test_start_takes_a_stop_that_waits_back(workspace: RealWorkspace) -> None:
    workspace.configure(gpu_count="simulated:1", max_jobs_per_gpu=1, env={"NAP": "1.5"})
    workspace.add_configs(2)
    workspace.ok("start")
    workspace.wait_for("exp1", "running")
    assert workspace.call("stop", "--wait", "--timeout", "0.2").returncode == 124
    workspace.ok("start")
    workspace.wait_for("exp2", "succeeded")


def test_clean_keeps_what_would_run_again(workspace: RealWorkspace) -> None:
    (workspace.root / "job.sh").write_text("#!/bin/sh\nexit 1\n")
    workspace.add_configs(1)
    workspace.ok("start")
    eventually(lambda: workspace.states() == {"exp1": "failed"}, what="the job has failed")
    said = workspace.ok("clean", "--older-than", "0s", "--yes")
    assert "kept: 1 job whose configs are still there and would run again (exp1)" in said
    assert workspace.states() == {"exp1": "failed"}
    (workspace.root / "configs" / "exp1.yml").unlink()
    workspace.ok("clean", "--older-than", "0s", "--yes")
    assert workspace.states() == {}


def test_what_can_never_run_is_said_at_once(workspace: RealWorkspace) -> None:
    added = workspace.call("add", "--gpus", "3", "--name", "wide", "true")
    assert added.returncode == 0
    assert "note: wide: cannot run here: it needs 3 GPUs" in added.stderr
    refused = workspace.call("run", "--gpus", "3", "--name", "wider", "true")
    assert refused.returncode == 2
    assert workspace.states() == {"wide": "queued", "wider": "cancelled"}


def test_doctor_says_what_start_would_say(workspace: RealWorkspace) -> None:
    workspace.configure(python_env="/path/to/python", command="{python} {script} --config_path {config}")
    workspace.add_configs(1)
    found = workspace.call("doctor")
    assert found.returncode == 1
    assert "`rfsched start` would queue nothing" in found.stdout
    assert workspace.call("start").returncode == 3


def test_a_list_that_is_empty_is_a_mistake(workspace: RealWorkspace) -> None:
    refused = workspace.call("start", "")
    assert refused.returncode == 2
    assert "CONFIG_LIST is empty" in refused.stderr
