"""add, run, wait, cancel, requeue, hold, release: jobs made and changed by hand, with the installed command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import eventually
from tests.workspaces import RFSCHED, RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

CPU = ("--gpus", "0")


def test_any_command_becomes_a_job_and_the_scheduler_starts_for_it(workspace: RealWorkspace) -> None:
    workspace.add_configs(2)
    out = workspace.ok("add", "--name", "first", *CPU, "--", "sh", "-c", "echo $GREETING in $PWD")
    assert "job 1 queued: first" in out
    assert "scheduler started in session t_scheduler" in out
    assert "follow it: rfsched logs -f 1" in out
    assert workspace.ok("wait", "first") == "1 job ended, 1 succeeded\n"
    assert workspace.ok("logs", "first") == f"in {workspace.root}\n"
    assert list(workspace.states()) == ["first"]  # configs/ is none of add's business

    other = workspace.root / "elsewhere"
    other.mkdir()
    wishes = [
        "--env",
        "GREETING=hello=you",
        "--workdir",
        str(other),
        "--priority",
        "3",
        "--group",
        "g",
        "--retries",
        "1",
    ]
    workspace.ok("add", "--name", "second", *CPU, *wishes, "--after", "first", "--", "echo $GREETING in $PWD")
    workspace.ok("wait", "@g")
    assert workspace.ok("logs", "second") == f"hello=you in {other}\n"
    assert workspace.job("second")["priority"] == 3


def test_an_option_of_the_command_is_not_ours(workspace: RealWorkspace) -> None:
    result = json.loads(workspace.ok("add", *CPU, "--json", "echo", "--name", "-n", "x"))
    assert result["scheduler"] == "started"
    workspace.ok("wait", str(result["id"]))
    assert workspace.ok("logs", str(result["id"])) == "--name -n x\n"


def test_a_scheduler_stopped_by_hand_stays_so(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "true")
    workspace.ok("stop")
    assert "the scheduler was stopped by hand and stays so" in workspace.ok("add", *CPU, "--name", "later", "true")
    assert workspace.states()["later"] == "queued"
    assert "no scheduler is running" in workspace.ok("why", "later")
    workspace.ok("start", "--no-configs")
    workspace.wait_for("later", "succeeded")


def test_no_start_only_queues(workspace: RealWorkspace) -> None:
    assert "no scheduler is running" in workspace.ok("add", "--no-start", "true")
    assert not workspace.status()["scheduler"]["running"]


RUNS: list[tuple[list[str], int, str]] = [
    (["echo out; exit 7"], 7, "out\n"),
    (["printf 'a\\rb\\n'"], 0, "b\n"),
    (["kill -9 $$"], 137, ""),
    (["--time-limit", "0.2", "sleep 30"], 124, ""),
    (["/nowhere/program"], 6, ""),
]


def test_run_returns_what_a_shell_would(workspace: RealWorkspace) -> None:
    for number, (command, code, output) in enumerate(RUNS, 1):
        result = workspace.call("run", *CPU, *command)
        assert (result.returncode, result.stdout) == (code, output), result.stderr
        assert f"[job {number} queued: " in result.stderr


def test_run_goes_on_over_retries(workspace: RealWorkspace) -> None:
    workspace.configure(retry_delay=0.1)
    script = "echo try; test -e again || { touch again; exit 3; }"
    result = workspace.call("run", *CPU, "--retries", "1", script)
    assert result.returncode == 0
    assert result.stdout == "try\ntry\n"
    assert "[attempt 2 begins]" in result.stderr


def test_ctrl_c_leaves_a_run_alone(workspace: RealWorkspace) -> None:
    process = subprocess.Popen(
        [RFSCHED, "run", *CPU, "--name", "long", "echo begun; sleep 60"],
        cwd=workspace.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    workspace.processes.append(process)  # type: ignore[arg-type]
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "long goes on without you; end it with `rfsched cancel 1`" in errors
    assert "Traceback" not in errors
    assert workspace.job("long")["state"] == "running"
    assert "told to stop: long" in workspace.ok("cancel", "long")
    workspace.wait_for("long", "cancelled")


def test_wait_tells_success_failure_and_time(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "--name", "good", "true")
    workspace.ok("add", *CPU, "--name", "bad", "exit 4")
    assert workspace.call("wait", "good").returncode == 0
    both = workspace.call("wait")
    assert both.returncode == 1
    assert both.stdout == "2 jobs ended, 1 succeeded\nbad: failed: exit code 4\n"
    rows = json.loads(workspace.call("wait", "--json").stdout)["wait"]
    assert [(row["name"], row["exit_code"]) for row in rows] == [("good", 0), ("bad", 4)]
    workspace.ok("add", *CPU, "--name", "slow", "sleep 60")
    late = workspace.call("wait", "slow", "--timeout", "0.2")
    assert late.returncode == 124
    assert "slow" in late.stderr


def test_held_released_cancelled_requeued_in_plain_words(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "--name", "a1", "--hold", "true")
    workspace.ok("add", *CPU, "--name", "a2", "--hold", "--after", "a1", "true")
    assert workspace.ok("release", "a*") == "queued: a1, a2\n"
    workspace.ok("wait")
    assert workspace.ok("hold", "a1").startswith("a1 is succeeded: only waiting jobs can be held")
    assert workspace.ok("release", "a1") == "a1 is succeeded: only held jobs can be released\n"
    assert workspace.ok("cancel", "a1") == "had ended already: a1\n"
    assert workspace.ok("requeue", "a1") == "queued: a1\n"
    workspace.ok("wait")
    assert workspace.job("a1")["attempt"] == 2

    workspace.ok("add", *CPU, "--name", "bad", "exit 1")
    workspace.call("wait")
    assert workspace.ok("retry", "--failed") == "queued: bad\n"
    workspace.call("wait")
    assert workspace.job("bad")["attempt"] == 2
    assert workspace.ok("requeue", "--cancelled") == "no job is meant: nothing was changed\n"
    assert json.loads(workspace.ok("requeue", "--failed", "--json"))["queued"] == ["bad"]


def test_running_jobs_are_stopped_and_queued_again(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "--name", "long", "sleep 60")
    eventually(lambda: workspace.job("long")["started_at"])
    assert workspace.ok("requeue", "--running") == "told to stop: long\n"
    eventually(lambda: workspace.job("long")["attempt"] == 2 and workspace.job("long")["started_at"])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["cancel", "exp"], 2, "no job 'exp'; did you mean 'exp"),
        (["requeue"], 2, "requeue what?"),
        (["add"], 2, "Missing argument"),
        (["add", "--gpu", "0", "--", "true"], 2, "No such option '--gpu'"),
        (["run", "--naem", "x", "--", "true"], 2, "No such option '--naem'"),
        (["add", "--env", "=1", "true"], 2, "'=1' is not of the form NAME=VALUE"),
        (["add", "--time-limit", "soon", "true"], 2, "expected a time such as"),
        (["add", "--workdir", "/nowhere", "true"], 2, "does not exist"),
        (["add", "--after", "nobody", "true"], 2, "there is no job of that name"),
        (["wait", "--timeout", "x"], 2, "expected a time such as"),
        (["logs", "exp2"], 2, "exp2 never ran: it has no log"),
        (["logs", "exp1", "--attempt", "9"], 2, "has no attempt 9"),
        (["status", "--since", "soon"], 2, "'soon' is no time"),
        (["config", "get", "gpu_cont"], 2, "did you mean 'gpu_count'?"),
        (["config", "set", "max_jobs_per_gpu", "many"], 3, "max_jobs_per_gpu"),
        (["clean", "--older-than", "x"], 2, "--older-than: expected a time such as"),
        (["staus"], 2, "did you mean 'status'?"),
    ],
)
def test_wrong_input_is_told_what_and_what_to_do(ended: RealWorkspace, args: list[str], code: int, words: str) -> None:
    result = ended.call(*args)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "this is a bug" not in result.stderr


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> RealWorkspace:
    """A workspace without a scheduler: exp1 has run, exp2 is held."""
    from tests.tmux_fixtures import Server

    folder = tmp_path_factory.mktemp("ended")
    made = RealWorkspace(folder / "ws", Server(Path(os.environ["TMUX_TMPDIR"])))
    try:
        made.ok("add", *CPU, "--name", "exp1", "true")
        made.ok("add", *CPU, "--name", "exp2", "--hold", "true")
        made.ok("wait", "exp1")
    finally:
        made.close()
        made.server.close()
    return made


def test_what_is_set_counts_at_once_and_holds_against_the_config(workspace: RealWorkspace) -> None:
    workspace.configure(gpu_count="simulated:1", max_jobs_per_gpu=1, check_interval=3600.0)  # no sweep will help
    workspace.config("busy", "sleep 300", priority=9)
    for name in ("a", "b"):
        workspace.config(name, "sleep 300", priority=1)
    workspace.ok("start")
    workspace.wait_for("busy", "running")
    assert workspace.ok("set", "b", "busy", "priority=5", "retries=2") == "set: b, busy\n"
    assert workspace.job("b")["priority"] == 5, "it is so when the command returns"
    assert "priority 1 → 5, retries 0 → 2" in workspace.ok("history", "b")
    workspace.ok("start")  # reads the configs again
    assert workspace.job("b")["priority"] == 5
    assert "set by hand: priority 5 (its config says 1), retries 2" in workspace.ok("why", "b")
    workspace.ok("cancel", "busy")
    workspace.wait_for("b", "running")
    assert workspace.states()["a"] == "queued"
    assert "left alone: b runs: its time limit cannot be changed now" in workspace.ok("set", "b", "time_limit=1h")
    bad = workspace.call("set", "a", "nobody", "priority=x", "prority=1")
    assert bad.returncode == 2
    for said in ("no job 'nobody'", "priority: expected a whole number", "did you mean 'priority'?"):
        assert said in bad.stderr
