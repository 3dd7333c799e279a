"""A threadward project through the installed command: its tasks as jobs, its hooks around them, and what runs again."""

from __future__ import annotations

import sys

import pytest

from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

TASK = """
import os

def note(text):
    with open("ran.txt", "a") as file:
        file.write(text + "\\n")

def before_all_tasks():
    note("before all")

def task_method(variables, task_folder, log_file):
    print(f"training {variables['model']} on GPU", os.environ.get("CUDA_VISIBLE_DEVICES"))
    note(os.path.relpath(task_folder))
    if variables["model"] == "[org/b]" and not os.path.exists("mended"):
        raise RuntimeError("no such model")

def verify_task_success(variables, task_folder, log_file):
    return "training" in open(log_file).read()

def after_all_tasks():
    note("after all")
"""
VARIABLES = """
def setup_variable_set(variable_set):
    variable_set.add_variable("model", ["org/a", "org/b"], nicknames=["a", "b"])
    variable_set.add_variable("seed", [0, 1], exceptions={"b": [0]})

def model_to_value(string_value, nickname):
    return f"[{string_value}]"
"""


def test_tasks_run_as_jobs_and_what_failed_runs_again(workspace: RealWorkspace) -> None:
    workspace.configure(python_env=sys.executable)
    project = workspace.root / "proj"
    project.mkdir()
    assert len(workspace.ok("threadward", "init", "proj").splitlines()) == 3
    assert workspace.ok("threadward", "init", "proj") == "all three files are there already\n"
    files = project / "threadward"
    (files / "task_specification.py").write_text(TASK)
    (files / "variable_iteration.py").write_text(VARIABLES)
    (files / "resource_constraints.py").write_text("NUM_WORKERS = 2\nNUM_GPUS_PER_WORKER = 1/2\n")

    out = workspace.ok("threadward", "run", "proj", "--dry-run").splitlines()
    assert [line.split()[0] for line in out[1:]] == ["proj_a_0", "proj_a_1", "proj_b_0", "3"]
    assert workspace.ok("threadward", "run", "proj").splitlines()[0] == "3 tasks: 3 queued"
    said = workspace.call("wait", "@proj")
    assert said.returncode == 1
    assert "5 jobs ended, 4 succeeded\nproj_b_0: failed: exit code 1" in said.stdout
    ran = (project / "ran.txt").read_text().splitlines()
    assert (ran[0], ran[-1]) == ("before all", "after all")
    assert sorted(ran[1:-1]) == [f"threadward_results/{folder}" for folder in ("a/0", "a/1", "b/0")]
    assert (files / "task_queue" / "failed_tasks.txt").read_text() == "b_0\n"
    assert set((files / "task_queue" / "successful_tasks.txt").read_text().split()) == {"a_0", "a_1"}
    log = (project / "threadward_results" / "b" / "0" / "log.txt").read_text()
    assert "training [org/b] on GPU" in log
    assert "RuntimeError: no such model" in log
    assert workspace.log("proj_b_0") == log

    (project / "mended").write_text("")
    assert workspace.ok("threadward", "run", "proj").splitlines()[0] == "3 tasks: 1 queued, 2 succeeded before"
    assert workspace.ok("wait", "@proj", "@model=b") == "5 jobs ended, 5 succeeded\n"
    assert (project / "ran.txt").read_text().splitlines()[5:] == ["before all", "threadward_results/b/0", "after all"]
    assert (files / "task_queue" / "failed_tasks.txt").read_text() == ""
    assert workspace.ok("threadward", "run", "proj") == "3 tasks: 0 queued, 3 succeeded before\n"


def test_another_number_of_workers_holds_for_what_waits(workspace: RealWorkspace) -> None:
    workspace.configure(python_env=sys.executable, max_jobs_per_gpu=1)
    workspace.ok("threadward", "init")
    folder = workspace.root / "threadward"
    (folder / "task_specification.py").write_text("import time\ndef task_method(*_):\n    time.sleep(60)\n")
    workspace.ok("threadward", "run")
    workspace.wait_for("ws_small_0", "running")
    assert workspace.reason("ws_small_1") == "as many of its array run as may: 1 of ws"
    (folder / "resource_constraints.py").write_text("NUM_WORKERS = 2\n")
    assert workspace.ok("threadward", "run") == "4 tasks: 0 queued, 4 under way\n"
    workspace.wait_for("ws_small_1", "running")
    assert workspace.states()["ws_small_2"] == "queued"


def test_what_is_wrong_queues_nothing(workspace: RealWorkspace) -> None:
    workspace.configure(python_env=sys.executable)
    result = workspace.call("threadward", "run")
    assert (result.returncode, "has no threadward/" in result.stderr) == (2, True)
    workspace.ok("threadward", "init")
    file = workspace.root / "threadward" / "variable_iteration.py"
    file.write_text("def setup_variable_set(variable_set):\n    variable_set.add_variable('a', [1, 1])\n")
    result = workspace.call("threadward", "run")
    assert result.returncode == 3
    assert f"{file}:2: a has a value twice" in result.stderr
    assert workspace.status_or_none() is None
