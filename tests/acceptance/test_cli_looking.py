"""status, attach, logs, why, history, config, clean, doctor: looking and tidying with the installed command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from researchflow_tmux.api import status
from researchflow_tmux.api.status import Shown
from researchflow_tmux.api.workspace import Workspace
from tests.support import eventually
from tests.tmux_fixtures import Server, kill_tree
from tests.workspaces import RFSCHED, RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

CPU = ("--gpus", "0")


class Terminal:
    """A terminal of a given size, in a tmux server of its own, that runs one command."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.server = Server(folder)

    def run(self, command: str, cwd: Path, width: int = 100, height: int = 30) -> None:
        """Begin the command; the pane stays for a look when it has ended."""
        size = ("-x", str(width), "-y", str(height))
        keep = (";", "set-option", "-g", "remain-on-exit", "on")
        self.server.tmux().start("new-session", "-d", "-s", "o", *size, "-c", str(cwd), "sh", "-c", command, *keep)

    def screen(self) -> str:
        """What it shows."""
        return "\n".join(self.server.run("capture-pane", "-p", "-t", "=o:"))

    def sees(self, text: str, timeout_s: float = 10.0) -> str:
        """Wait until it shows `text`."""
        eventually(lambda: text in self.screen(), timeout_s, what=f"{text!r} on the screen")
        return self.screen()


@pytest.fixture
def terminal() -> Iterator[Callable[[], Terminal]]:
    """Makes terminals."""
    import tempfile

    made: list[Terminal] = []
    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:

        def make() -> Terminal:
            made.append(Terminal(Path(folder) / str(len(made))))
            return made[-1]

        try:
            yield make
        finally:
            for each in made:
                each.server.close()


def test_status_says_who_runs_where_and_why_others_wait(
    workspace: RealWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add_configs(6)
    workspace.ok("start", NAP="60")
    eventually(lambda: sum(state == "running" for state in workspace.states().values()) == 4)
    text = workspace.ok()
    assert "scheduler running since" in text
    assert "4 running, 2 waiting" in text
    assert "GPU 0  Simulated GPU  2/2 slots" in text
    assert "t_exp1_gpu0" in text
    assert "all slots are taken" in text
    assert "\x1b" not in text
    assert "exp2" not in workspace.ok("status", "exp6").split("WAITING")[1]
    assert "RUNNING" not in workspace.ok("ps", "--state", "waiting")
    rows = json.loads(workspace.ok("status", "--json", "--state", "queued"))["jobs"]
    assert [row["name"] for row in rows] == ["exp5", "exp6"]
    monkeypatch.setattr(status, "MANY", 0)  # as if the queue were long: the scheduler itself says why
    reader = Workspace(str(workspace.root))
    monkeypatch.setattr("researchflow_tmux.api.workspace.plan_of", None)  # nothing is worked out here
    view = reader.status(Shown(waiting=1))
    waits = [(each.name, each.reason_code) for each in view.jobs if each.state == "queued"]
    assert (waits, view.not_listed) == ([("exp5", "capacity")], 1)
    why = workspace.ok("why", "exp6")
    assert "who holds the slots" in why
    assert "exp1" in why


def test_watch_redraws_and_ends_quietly(workspace: RealWorkspace, terminal: Callable[[], Terminal]) -> None:
    workspace.ok("add", *CPU, "--name", "long", "sleep 60")
    watching = subprocess.Popen(
        [RFSCHED, "status", "--watch", "--json"], cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    workspace.processes.append(watching)
    assert watching.stdout is not None
    views = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert views[0]["at"] < views[1]["at"]
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=10)
    assert (watching.returncode, errors) == (0, b"")

    seen = terminal()
    seen.run(f"trap : INT; {RFSCHED} status --watch; echo ended with $?", workspace.root, 80, 24)
    seen.sees("long")
    workspace.ok("add", *CPU, "--name", "another", "--hold", "true")
    seen.sees("another")
    seen.server.run("send-keys", "-t", "=o:", "C-c")
    seen.sees("ended with 0")


def test_attach_opens_the_scheduler_and_jobs_alive_and_dead(
    workspace: RealWorkspace, terminal: Callable[[], Terminal]
) -> None:
    workspace.ok("add", *CPU, "--name", "talking", "echo I am here; sleep 60")
    workspace.ok("add", *CPU, "--name", "done", "echo last words")
    workspace.ok("wait", "done")
    for args, words in [("", "LAST EVENTS"), ("talking", "I am here"), ("done", "done succeeded in")]:
        seen = terminal()
        seen.run(f"{RFSCHED} attach {args}", workspace.root, 80, 24)
        seen.sees(words)
    piped = workspace.call("attach", "talking")
    assert piped.returncode == 2
    assert "can only be shown in a terminal" in piped.stderr
    workspace.ok("add", *CPU, "--name", "waiting", "--after", "talking", "true")
    assert "has no session yet: waits for: talking (running)" in workspace.ok("attach", "waiting")


def test_attach_switches_the_client_inside_the_same_tmux(
    workspace: RealWorkspace, terminal: Callable[[], Terminal]
) -> None:
    workspace.ok("add", *CPU, "--name", "talking", "echo I am here; sleep 60")
    eventually(lambda: workspace.job("talking")["started_at"])
    seen = terminal()
    seen.run(f"{RFSCHED} attach", workspace.root, 80, 24)
    seen.sees("talking")
    server = workspace.server
    server.run("new-session", "-d", "-s", "mine", "-c", str(workspace.root), "sh")
    server.run("switch-client", "-t", "=mine:")
    server.run("send-keys", "-t", "=mine:", f"{RFSCHED} attach talking", "Enter")
    seen.sees("I am here")
    server.run("kill-session", "-t", "=mine:")


def test_a_job_that_outlived_tmux_is_followed_by_its_log(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "--name", "stayer", "echo before; while ! test -e go; do sleep 0.05; done; echo after")
    eventually(lambda: "before" in workspace.call("logs", "stayer").stdout)
    kill_tree(workspace.server.pid())
    following = subprocess.Popen(
        [RFSCHED, "attach", "stayer"],
        cwd=workspace.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    workspace.processes.append(following)  # type: ignore[arg-type]
    assert following.stdout is not None
    assert following.stdout.readline() == "before\n"
    (workspace.root / "go").touch()
    rest, errors = following.communicate(timeout=30)
    assert rest == "after\n"
    assert "runs on without its session" in errors
    assert "[stayer: succeeded]" in errors


def test_logs_show_what_stayed_on_the_screen(workspace: RealWorkspace) -> None:
    workspace.configure(retry_delay=0.1)
    script = "printf '10%%\\r100%%\\n'; echo end; test -e again || { touch again; exit 1; }"
    workspace.ok("add", *CPU, "--name", "bar", "--retries", "1", script)
    workspace.ok("wait")
    assert workspace.ok("logs", "bar") == "100%\nend\n"
    assert workspace.ok("logs", "bar", "-n", "1") == "end\n"
    assert (
        workspace.ok("logs", "bar", "--raw", "--attempt", "1") == "10%\n100%\nend\n"
    )  # read as text: \\r is a new line
    assert "scheduler started" in workspace.ok("logs")
    lines = [json.loads(line) for line in workspace.ok("history", "bar", "--json").splitlines()]
    assert [line["kind"] for line in lines].count("attempt_ended") == 2
    assert "bar: succeeded" in workspace.ok("history", "-n", "3")
    why = workspace.ok("why", "bar")
    assert "failed: exit code 1" in why
    assert "rfsched requeue bar" in why


def test_the_morning_after(workspace: RealWorkspace) -> None:
    workspace.ok("add", *CPU, "--name", "good", "true")
    workspace.ok("add", "--name", "bad", "echo out of luck; exit 3")
    workspace.ok("add", *CPU, "--name", "long", "sleep 60")
    workspace.call("wait", "good", "bad")
    text = workspace.ok("status", "--since", "1h")
    assert "1 finished, 1 failed" in text
    assert "1 still running" in text
    assert "its last line: out of luck" in text
    found = json.loads(workspace.ok("status", "--since", "1h", "--json"))
    assert [line["name"] for line in found["failed"]] == ["bad"]
    assert found["gpu_hours"] >= 0
    later = json.loads(workspace.ok("status", "--since", "0s", "--json"))
    assert (later["finished"], later["failed"]) == ([], [])


def test_settings_are_shown_and_changed(workspace: RealWorkspace) -> None:
    assert "scheduler_config.yml:1" in workspace.ok("config")
    rows = json.loads(workspace.ok("config", "--json"))["settings"]
    assert rows["keep_sessions"] == {"value": 20, "from": "default"}
    assert "no scheduler is running" in workspace.ok("config", "set", "keep_sessions", "5")
    assert workspace.ok("config", "get", "keep_sessions") == "5\n"
    workspace.ok("start", "--no-configs")
    said = workspace.ok("config", "set", "max_jobs_per_gpu", "3")
    assert said.startswith("max_jobs_per_gpu: 2 → 3\nthe running scheduler took it over")
    eventually(lambda: workspace.status()["gpus"][0]["slots"] == 3)
    assert "task_name" in json.loads(workspace.ok("config", "schema"))["properties"]


@pytest.mark.parametrize("running", [True, False])
def test_clean_forgets_old_jobs_and_touches_nothing_else(workspace: RealWorkspace, running: bool) -> None:
    workspace.ok("add", *CPU, "--name", "old", "true")
    workspace.ok("add", *CPU, "--name", "kept", "--hold", "true")
    workspace.ok("wait", "old")
    if not running:
        workspace.ok("stop")
    assert "no job ended more than 1d ago" in workspace.ok("clean", "--older-than", "1d")
    assert "would remove 1 job: old" in workspace.ok("clean", "--older-than", "0s")
    assert set(workspace.states()) == {"old", "kept"}
    assert "removed 1 job (old)" in workspace.ok("clean", "--older-than", "0s", "--yes")
    assert set(workspace.states()) == {"kept"}
    assert not list((workspace.root / ".rfsched" / "attempts").iterdir())
    assert not list((workspace.root / "logs" / "train_logs").iterdir())
    assert (workspace.root / "scheduler_config.yml").exists()
    workspace.ok("add", *CPU, "--name", "old", "true")
    assert workspace.job("old")["id"] == 3


def test_help_for_the_lost(tmp_path: Path) -> None:
    def call(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        everything = {**os.environ, **env}
        return subprocess.run(
            [RFSCHED, *args], cwd=tmp_path, env=everything, capture_output=True, text=True, timeout=30, check=False
        )

    bare = call()
    assert bare.returncode == 0
    assert "rfsched setup" in bare.stdout
    status = call("status")
    assert status.returncode == 2
    assert "this is not a workspace" in status.stderr
    assert "rfsched setup" in call("status", "-w", "/nowhere").stderr
    assert call("version").stdout.startswith("rfsched ")
    assert call("help", "add").stdout.startswith("Usage: rfsched add")
    doctor = call("doctor", "--json")
    assert {check["status"] for check in json.loads(doctor.stdout)["checks"]} <= {"ok", "warn", "fail"}
    assert "Python" in call("version").stdout


def test_setup_ends_with_what_to_type_next(tmp_path: Path) -> None:
    done = subprocess.run(
        [RFSCHED, "setup", "mine"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.endswith("next:\n  cd mine\n  rfsched start\n")
    again = subprocess.run(
        [RFSCHED, "setup", "mine"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_names_of_jobs_are_completed(workspace: RealWorkspace) -> None:
    workspace.ok("add", "--no-start", "--name", "exp1", "true")
    workspace.ok("add", "--no-start", "--name", "other", "true")
    for shell, script in [("bash", "complete -o nosort"), ("zsh", "#compdef rfsched"), ("fish", "complete --no-files")]:
        assert script in workspace.ok("completion", shell)

    def completed(words: str) -> str:
        at = str(len(words.split()) - (not words.endswith(" ")))
        return workspace.call(_RFSCHED_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=at).stdout

    assert completed("rfsched logs ex") == "plain,exp1\n"
    assert completed("rfsched stat") == "plain,status\n"
    assert "plain,keep_sessions" in completed("rfsched config set keep")


def test_python_m_is_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "researchflow_tmux", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("rfsched ")


def test_a_reboot_brings_the_scheduler_back_unless_it_was_stopped(workspace: RealWorkspace, tmp_path: Path) -> None:
    table = tmp_path / "table"
    crontab = tmp_path / "bin" / "crontab"
    crontab.parent.mkdir()
    crontab.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {table}; else cat > {table}; fi\n')
    crontab.chmod(0o755)
    table.write_text("0 5 * * * backup\n")
    path = f"{crontab.parent}:{os.environ['PATH']}"
    assert "autostart is off" in workspace.ok("autostart", PATH=path)
    assert "autostart is on" in workspace.ok("autostart", "on", PATH=path)
    [_, line] = table.read_text().splitlines()
    command = line.removeprefix("@reboot ")

    def reboot() -> None:
        subprocess.run(["sh", "-c", command], env={**os.environ, "PATH": "/usr/bin:/bin"}, timeout=30, check=True)

    workspace.ok("add", "--no-start", *CPU, "--name", "later", "true")
    reboot()
    workspace.wait_for("later", "succeeded")
    workspace.ok("stop")
    reboot()
    assert not workspace.status()["scheduler"]["running"]
    assert "autostart is off" in workspace.ok("autostart", "off", PATH=path)
    assert table.read_text() == "0 5 * * * backup\n"
