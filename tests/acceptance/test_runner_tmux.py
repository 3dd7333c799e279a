"""The runner in a real pane: keys, sizes, and a tmux server that is killed, stopped or told to close the session."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.runner import claim
from tests.support import eventually
from tests.unit.runner.runner_harness import Attempt, Attempts, alive, making_attempts

pytestmark = pytest.mark.tmux


class Tmux:
    """A tmux server of its own on a private socket."""

    def __init__(self, directory: str) -> None:
        self.socket = f"{directory}/tmux.sock"
        self("new-session", "-d", "-s", "keeper", "-x", "120", "-y", "30", "sleep 600")
        self.pid = int(self("display-message", "-p", "#{pid}"))

    def __call__(self, *words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10, env=environment).stdout

    def launch(self, attempt: Attempt) -> None:
        self("new-session", "-d", "-s", "job", "-x", "111", "-y", "33", *attempt.command)

    def screen(self) -> str:
        return self("capture-pane", "-p", "-S", "-", "-t", "=job:")

    def end(self) -> None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            if alive(self.pid):
                os.kill(self.pid, number)
        eventually(lambda: not alive(self.pid), 5)


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    with tempfile.TemporaryDirectory(prefix="rf") as directory:  # a short path: sockets allow 107 characters
        server = Tmux(directory)
        try:
            yield server
        finally:
            server.end()


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    with making_attempts(tmp_path) as made:
        yield made


def test_the_job_has_the_panes_size_and_learns_of_changes(attempts: Attempts, tmux: Tmux) -> None:
    script = "trap 'stty size; echo TERM=$TERM $TMUX_PANE' WINCH; stty size; echo up; while :; do sleep 0.05; done"
    attempt = attempts.sh(script)
    tmux.launch(attempt)
    attempt.says("up")
    assert "33 111" in attempt.output()
    tmux("resize-window", "-t", "=job:", "-x", "99", "-y", "22")
    attempt.says("22 99")
    attempt.says("%1")
    assert "TERM=screen" in attempt.output() or "TERM=tmux" in attempt.output()


def test_ctrl_c_reaches_the_job_and_ctrl_s_does_not_freeze_it(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts.sh("trap 'echo interrupted; exit 7' INT; echo up; while :; do sleep 0.05; done")
    tmux.launch(attempt)
    attempt.says("up")
    tmux("send-keys", "-t", "=job:", "C-s")
    tmux("send-keys", "-t", "=job:", "C-c")
    record = attempt.record()
    assert (record["outcome"], record["exit_code"], record["by"]) == ("exited", 7, None)
    assert "interrupted" in attempt.output()


def test_the_screen_shows_the_output_and_the_last_line(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts.sh("printf 'one\\ntwo\\n'; sleep 0.1")
    tmux("set-option", "-g", "remain-on-exit", "on")
    tmux.launch(attempt)
    attempt.record()
    screen = eventually(lambda: "──" in tmux.screen() and tmux.screen())
    assert str(screen).startswith("one\ntwo\n")
    assert "── exp1 succeeded in" in str(screen)


def test_killing_the_session_cancels_the_job(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts.sh("echo up; sleep 60")
    tmux.launch(attempt)
    attempt.says("up")
    tmux("kill-session", "-t", "=job:")
    record = attempt.record()
    assert (record["outcome"], record["by"], record["succeeded"]) == ("killed", "session_killed", False)
    eventually(lambda: claim.probe(attempt.dir).state == claim.FREE)


def test_a_killed_server_leaves_the_job_running_with_its_log(attempts: Attempts, tmux: Tmux, tmp_path: Path) -> None:
    script = f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.05; echo tick; done; echo finished"
    # No marker and no lease: nothing but the end of the job wakes the runner up again.
    attempt = attempts.sh(script, completion={"rule": "exit_code", "marker": None, "grace_s": 1.0})
    tmux.launch(attempt)
    attempt.says("tick")
    os.kill(tmux.pid, signal.SIGKILL)
    eventually(lambda: not alive(tmux.pid))
    seen = attempt.output().count("tick")
    eventually(
        lambda: attempt.output().count("tick") > seen + 12, 10, "the job going on for longer than the decision takes"
    )
    (tmp_path / "go").touch()
    record = attempt.record()
    assert (record["outcome"], record["succeeded"], record["headless"]) == ("exited", True, True)
    assert attempt.output().endswith("finished\r\n")


def test_a_server_that_is_told_to_end_leaves_the_job_running(attempts: Attempts, tmux: Tmux, tmp_path: Path) -> None:
    attempt = attempts.sh(f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.05; echo tick; done")
    tmux.launch(attempt)
    attempt.says("tick")
    tmux("kill-server")
    seen = attempt.output().count("tick")
    eventually(lambda: attempt.output().count("tick") > seen + 12)
    (tmp_path / "go").touch()
    assert attempt.record()["succeeded"]


def test_a_stopped_server_does_not_stop_the_job(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts.python(
        "import os\nprint('up', flush=True)\nfor _ in range(500): os.write(1, b'x' * 9999 + b'\\n')\nprint('end')"
    )
    tmux.launch(attempt)
    attempt.says("up")
    os.kill(tmux.pid, signal.SIGSTOP)
    record = attempt.record(timeout_s=15)
    assert record["succeeded"]
    assert attempt.output().endswith("end\r\n")
    assert os.path.getsize(attempt.log) == 500 * 10001 + 4 + 5


def test_much_output_through_a_real_pane_is_fast(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts.python("import os\nline = b'x' * 99 + b'\\r'\nfor _ in range(100): os.write(1, line * 1000)")
    tmux.launch(attempt)
    record = attempt.record(timeout_s=20)
    print(f"{10 / record['duration_s']:.1f} MB/s")
    assert os.path.getsize(attempt.log) == 10_000_000


def test_a_terminate_reaches_the_foreground_group_of_an_interactive_shell(attempts: Attempts, tmux: Tmux) -> None:
    attempt = attempts("bash", "--norc", "-i", stop_grace_s=0.5)
    tmux.launch(attempt)
    tmux(
        "send-keys",
        "-t",
        "=job:",
        "sh -c \"trap 'echo told; exit 0' TERM; echo 'u''p'; while :; do sleep 0.05; done\"",
        "Enter",
    )
    attempt.says("up\r\n")
    os.kill(attempt.runner_pid(), signal.SIGTERM)
    attempt.says("told")
    assert attempt.record()["outcome"] == "killed"
