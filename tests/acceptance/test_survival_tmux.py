"""Runners, sessions and the tmux server die under the installed programs: no job is lost, none runs twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support import eventually
from tests.tmux_fixtures import kill_tree
from tests.workspaces import RFSCHED, Factory, RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

LEAVES_A_CHILD = """echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"
setsid sh -c 'trap "" TERM HUP; echo $$ > "$RFSCHED_WORKSPACE/child.pid"; while :; do sleep 0.1; done' &
sleep 600"""
MEETS_THE_CHILD = """echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"
cd "$RFSCHED_WORKSPACE"
grep -q '^State:.[RSDT]' "/proc/$(cat child.pid)/status" 2>/dev/null && touch met
true"""


def long(ws: RealWorkspace, *names: str, nap: float = 600) -> None:
    """Configs whose jobs sleep."""
    for name in names:
        ws.config(name, env={"NAP": str(nap)})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# The runner -----------------------------------------------------------------------------------------------------------


def test_a_killed_runner_loses_only_its_own_job(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(max_jobs_per_gpu=1, gpu_count="simulated:2")
    ws.config("a_victim", command=ws.script("leaves.sh", LEAVES_A_CHILD))
    long(ws, "b_other", nap=4)
    ws.config("c_next", command=ws.script("meets.sh", MEETS_THE_CHILD))
    ws.ok("start")
    runner = ws.runner("a_victim")
    eventually((ws.root / "child.pid").exists)
    kill9(runner)
    assert "runner was killed" in ws.wait_for("a_victim", "failed")["reason"]
    ws.wait_for("c_next", "succeeded")
    assert not (ws.root / "met").exists(), "the slot was given on while a process of the lost job still lived"
    assert ws.job("a_victim")["reason_code"] == "lost"
    ws.wait_for("b_other", "succeeded")
    assert set(ws.runs().values()) == {1}


def test_restart_lost_queues_it_again(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(restart_lost=True, retry_delay=0.1)
    ws.config("a", command=ws.script("once.sh", '[ "$RFSCHED_ATTEMPT_NUMBER" = 2 ] || exec sleep 600'))
    ws.ok("start")
    kill9(ws.runner("a"))
    assert ws.wait_for("a", "succeeded")["attempt"] == 2


# Sessions -------------------------------------------------------------------------------------------------------------


def test_closing_a_session_by_hand_cancels_the_job_and_closing_the_schedulers_stops_it(
    workspace: RealWorkspace,
) -> None:
    ws = workspace
    long(ws, "a", "b", nap=600)
    long(ws, "c", nap=3)
    ws.ok("start")
    ws.runner("a")
    ws.runner("c")
    ws.server.run("kill-session", "-t", f"={ws.job('a')['session']}:")
    assert "session was closed" in ws.wait_for("a", "cancelled")["reason"]
    pid = ws.scheduler_pid()
    ws.server.run("kill-session", "-t", "=t_scheduler:")
    eventually(lambda: not ws.status()["scheduler"]["running"], what="the scheduler has stopped")
    assert pid is not None
    eventually(lambda: not alive(pid))
    assert ws.states()["b"] == "running"
    long(ws, "d", nap=0)
    ws.ok("start")
    assert ws.states()["a"] == "cancelled", "cancelled jobs are left alone"
    ws.wait_for("c", "succeeded")
    ws.wait_for("d", "succeeded")
    assert set(ws.runs().values()) == {1}


# The tmux server ------------------------------------------------------------------------------------------------------


def test_jobs_and_scheduler_outlive_the_tmux_server(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(max_jobs_per_gpu=1)
    counting = 'for i in $(seq 1 40); do echo "line $i"; sleep 0.1; done'
    ws.config("a", command=ws.script("count.sh", f'echo x >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"\n{counting}'))
    long(ws, "b", nap=4)
    long(ws, "c", "d", nap=0)
    ws.ok("start")
    ws.runner("a")
    ws.runner("b")
    first = ws.scheduler_pid()
    kill_tree(ws.server.pid())
    eventually(lambda: "t_scheduler" in ws.sessions(), 15.0, what="the scheduler opened a new session")
    eventually(lambda: ws.scheduler_pid() not in (None, first), 15.0, what="the lock was handed over")
    eventually(lambda: ws.job("a")["headless"], what="status says that a runs without a session")
    ws.settled()
    assert set(ws.states().values()) == {"succeeded"}
    assert set(ws.runs().values()) == {1}
    assert all(f"line {number}\n" in ws.log("a").replace("\r", "") for number in range(1, 41))
    assert "tmux server died" in ws.history()


def test_server_and_scheduler_killed_at_once(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(max_jobs_per_gpu=1, gpu_count="simulated:1")
    long(ws, "a", nap=2)
    long(ws, "b", nap=0)
    ws.ok("start")
    ws.runner("a")
    scheduler = ws.scheduler_pid()
    assert scheduler is not None
    os.kill(ws.server.pid(), signal.SIGKILL)
    kill9(scheduler)
    eventually(lambda: "t_scheduler" in ws.sessions(), 15.0, what="the keeper's next scheduler opened a new session")
    assert set(ws.settled().values()) == {"succeeded"}
    assert set(ws.runs().values()) == {1}


def test_a_deleted_socket_starts_no_second_server(workspace: RealWorkspace) -> None:
    ws = workspace
    long(ws, "a")
    ws.ok("start")
    ws.runner("a")
    server = ws.server.pid()
    os.unlink(ws.server.socket)
    long(ws, "b", nap=0)
    ws.ok("start")
    ws.wait_for("b", "succeeded")
    assert ws.server.pid() == server
    assert {"t_scheduler", ws.job("a")["session"], ws.job("b")["session"]} <= ws.sessions()


def test_a_stopped_server_pauses_launching_and_nothing_else(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(max_jobs_per_gpu=1)
    long(ws, "a", nap=3)
    ws.ok("start")
    ws.runner("a")
    server = ws.server.pid()
    os.kill(server, signal.SIGSTOP)
    try:
        long(ws, "b", "c", nap=0)
        ws.ok("start")  # adds to the running scheduler, which talks to tmux; this command does not
        eventually(lambda: "does not answer" in str(ws.status()["scheduler"]["halted"]), 15.0)
        began = time.monotonic()
        assert ws.call("status").returncode == 0
        assert time.monotonic() - began < 3.0
        assert not {"failed", "cancelled"} & set(ws.states().values())
        assert "does not answer" in " ".join(ws.reason(name) for name in ("b", "c"))
        ws.wait_for("a", "succeeded")  # by its exit record: no tmux needed
    finally:
        os.kill(server, signal.SIGCONT)
    assert set(ws.settled(40.0).values()) == {"succeeded"}
    assert set(ws.attempts_run().values()) == {1}
    assert set(ws.runs().values()) == {1}


def test_a_hostile_tmux_conf_kills_nothing(workspace: RealWorkspace, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    text = "set -g destroy-unattached on\nset -g default-shell /usr/sbin/nologin\nset -g exit-empty on\n"
    (home / ".tmux.conf").write_text(text)
    long(workspace, "a", "b", nap=1)
    workspace.ok("start", HOME=str(home))
    assert set(workspace.settled().values()) == {"succeeded"}
    assert workspace.server.run("show-options", "-gv", "destroy-unattached") == ["on"], "the test's config was read"
    assert "t_scheduler" in workspace.sessions()


def test_start_typed_in_a_pane_uses_the_server_of_that_pane(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(tmux_socket="")
    long(ws, "a", nap=0)
    command = f"{RFSCHED} start; exec sleep 600"
    ws.server.run("new-session", "-d", "-s", "mine", "-c", str(ws.root), "sh", "-c", command)
    eventually(lambda: (ws.root / ".rfsched" / "state.db").exists())
    eventually(lambda: ws.states() == {"a": "succeeded"}, 20.0)
    assert ws.sessions() == {"mine", "t_scheduler", ws.job("a")["session"]}


# Neighbours -----------------------------------------------------------------------------------------------------------


def test_workspaces_of_one_name_and_a_hand_made_session_are_told_apart(new_workspace: Factory) -> None:
    one, two = new_workspace("one"), new_workspace("two")
    one.server.run("new-session", "-d", "-s", "t_exp1_gpu0", "sleep", "600")
    for ws in (one, two):
        long(ws, "exp1")
        ws.ok("start")
        ws.runner("exp1")
    names = {ws.job("exp1")["session"] for ws in (one, two)}
    assert len(names) == 2
    assert "t_exp1_gpu0" not in names
    assert "t_exp1_gpu0 belongs to" in one.history()
    two.ok("kill-all", "--yes")
    assert two.states() == {"exp1": "cancelled"}
    assert one.states() == {"exp1": "running"}
    assert one.status()["scheduler"]["running"]
    assert {"t_exp1_gpu0", "t_scheduler", one.job("exp1")["session"]} == one.sessions()
    assert one.job_pids("exp1")
