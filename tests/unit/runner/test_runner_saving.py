"""SIGUSR1 before TERM: a job that will go on later may save a checkpoint first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from researchflow_tmux.runner import procfs, stopping
from researchflow_tmux.runner.patience import Patience
from tests.unit.runner.runner_harness import PYTHON, Attempt, Attempts

if TYPE_CHECKING:
    from researchflow_tmux.runner.tree import Tree

SAVES = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: (os.write(1, b"saved\\n"), {then}))
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"told to end\\n"), os._exit(0)))
os.write(1, b"up\\n")
while True:
    signal.pause()
"""
LATER, NOW = SAVES.format(then="None"), SAVES.format(then="os._exit(0)")


def test_the_time_limit_lets_a_job_save_first_and_then_ends_it(attempts: Attempts) -> None:
    attempt = attempts.python(LATER, time_limit_s=0.4)
    record = attempt.run()
    assert (record["outcome"], record["by"], record["unreaped"]) == ("timed_out", "time_limit", [])
    assert attempt.output() == "up\r\nsaved\r\ntold to end\r\n"


def test_a_job_that_ends_after_saving_is_not_waited_for(attempts: Attempts) -> None:
    attempt = attempts.python(NOW, time_limit_s=0.4, stop_grace_s=60.0)
    began = time.monotonic()
    record = attempt.run()
    assert time.monotonic() - began < 4, "half of the grace, at most 5 s, is what a save may take"
    assert (record["outcome"], record["exit_code"]) == ("timed_out", 0)
    assert attempt.output() == "up\r\nsaved\r\n"


def test_what_a_saving_job_left_behind_is_ended_too(attempts: Attempts) -> None:
    code = f"import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)\n{NOW}"
    attempt = attempts.python(code, time_limit_s=0.6)
    record = attempt.run()
    assert (record["outcome"], record["leftovers"], record["unreaped"]) == ("timed_out", 1, [])


@pytest.mark.parametrize(("save", "said"), [(True, "up\r\nsaved\r\ntold to end\r\n"), (False, "up\r\ntold to end\r\n")])
def test_a_request_says_whether_the_job_may_save_first(attempts: Attempts, save: bool, said: str) -> None:
    attempt = attempts.python(LATER)
    process = attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, "preempted", "a deadline is near", save=save)
    process.terminate()
    record = attempt.record()
    assert (record["outcome"], record["by"]) == ("killed", "preempted")
    assert attempt.output() == said


def test_the_signal_goes_only_to_those_that_catch_it(attempts: Attempts) -> None:
    """`sh` and `sleep` would die of SIGUSR1; the Python below them saves."""
    attempt = attempts.sh(f"sleep 60 & {PYTHON} -I -S -c '{LATER}'; echo still here", time_limit_s=0.6)
    record = attempt.run()
    assert record["outcome"] == "timed_out"
    assert attempt.output().startswith("up\r\nsaved\r\n")
    assert "Terminated" not in attempt.output().partition("saved")[0]


def test_nobody_who_catches_it_no_waiting(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; exec sleep 60", stop_grace_s=60.0)
    process = attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, "preempted", "", save=True)
    began = time.monotonic()
    process.terminate()
    assert attempt.record(timeout_s=4)["signal"] == signal.SIGTERM
    assert time.monotonic() - began < 4


def test_asked_again_while_it_saves_it_ends_at_once(attempts: Attempts) -> None:
    attempt = attempts.python(LATER, stop_grace_s=60.0)
    process = attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, "preempted", "", save=True)
    process.terminate()
    attempt.says("saved")
    process.terminate()
    assert attempt.record(timeout_s=4)["signal"] == signal.SIGKILL


def test_who_catches_what_is_read_from_the_kernel() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        assert procfs.catches(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert not procfs.catches(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not procfs.catches(2**22 + 1, signal.SIGUSR1), "no such process"


# -- more time, for a job that makes room for another one --------------------------------------------------------------

COMMITS = """
import os, signal, sys
def save(*_):
    os.write(1, b"saved\\n")
    os.makedirs(os.path.join(os.environ["RFSCHED_CHECKPOINT_DIR"], "ckpt-00000001-step-7-abcdef"))
signal.signal(signal.SIGUSR1, save)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


def with_variables(attempt: Attempt, **variables: str) -> Attempt:
    """The attempt with more in its job's environment."""
    attempt.spec["env"] |= variables
    Path(attempt.spec_path).write_text(json.dumps(attempt.spec))
    return attempt


def make_room(attempt: Attempt, save_s: float, by: str = "preempted") -> subprocess.Popen[bytes]:
    """Start the attempt and ask it to make room once it is up."""
    process = attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, by, "a deadline is near", save=True, save_s=save_s)
    process.terminate()
    return process


def test_a_job_is_not_waited_for_once_it_has_saved_a_checkpoint(attempts: Attempts, tmp_path: Path) -> None:
    attempt = with_variables(attempts.python(COMMITS), RFSCHED_CHECKPOINT_DIR=str(tmp_path))
    make_room(attempt, save_s=600.0)
    record = attempt.record(timeout_s=20)
    assert (record["outcome"], record["by"], record["succeeded"]) == ("killed", "preempted", False)
    assert attempt.output() == "up\r\nsaved\r\n"


def test_a_scheduler_that_passes_the_request_on_again_takes_no_time_away(attempts: Attempts) -> None:
    slow = LATER.replace("None", 'os.write(1, b"saving\\n"), time.sleep(1.0), os.write(1, b"done\\n")')
    attempt = attempts.python(f"import time\n{slow}", stop_grace_s=60.0)
    process = make_room(attempt, save_s=2.0)
    attempt.says("saving")
    stopping.write_stop(attempt.dir, "preempted", "a deadline is near", save=True, save_s=2.0)
    process.terminate()
    assert attempt.record(timeout_s=20)["by"] == "preempted"
    assert attempt.output().endswith("done\r\ntold to end\r\n")


def test_a_job_that_makes_room_is_ended_sooner_when_it_is_cancelled(attempts: Attempts) -> None:
    attempt = attempts.python(LATER, stop_grace_s=60.0)
    process = make_room(attempt, save_s=600.0)
    attempt.says("saved")
    stopping.write_stop(attempt.dir, "user", "stopped by user")
    process.terminate()
    attempt.record(timeout_s=20)
    assert attempt.output() == "up\r\nsaved\r\ntold to end\r\n"


def test_who_has_only_a_handler_for_the_end_has_the_time_to_save_then(attempts: Attempts) -> None:
    attempt = attempts.sh('trap "sleep 0.4; echo saved; exit 0" TERM; echo up; while :; do sleep 0.05; done')
    make_room(attempt, save_s=30.0)
    record = attempt.record(timeout_s=20)
    assert "saved" in attempt.output(), "the usual grace of this test is shorter"
    assert (record["outcome"], record["succeeded"]) == ("killed", False), "it may have saved and left with 0"


@pytest.mark.parametrize(
    ("handler", "told", "succeeded"),
    [
        ("os._exit(0)", None, False),  # saved, and left
        ("os._exit(0)", 0.5, False),
        ("os._exit(0)", 1.0, True),
        ("os._exit(3)", 1.0, False),
    ],
)
def test_whoever_was_through_has_succeeded(
    attempts: Attempts, tmp_path: Path, handler: str, told: float | None, succeeded: bool
) -> None:
    progress = tmp_path / "progress.json"
    if told is not None:
        progress.write_text(json.dumps({"fraction": told}))
    attempt = with_variables(attempts.python(SAVES.format(then=handler)), RFSCHED_PROGRESS=str(progress))
    make_room(attempt, save_s=60.0)
    record = attempt.record(timeout_s=20)
    assert (record["succeeded"], record["by"]) == (succeeded, None if succeeded else "preempted")


def test_a_marker_says_that_a_job_was_through(attempts: Attempts) -> None:
    marker = attempts.root / "out" / "exp1_completed.txt"
    marker.parent.mkdir()
    attempt = attempts.python(SAVES.format(then=f"open({str(marker)!r}, 'w').close()"))
    make_room(attempt, save_s=0.3)
    record = attempt.record(timeout_s=20)
    assert (record["outcome"], record["succeeded"], record["marker"]) == ("exited", True, True)


def test_who_heeds_no_signal_and_ends_with_0_was_through() -> None:
    tree = SimpleNamespace(living=list)
    patience = Patience(1.0, {}, cast("Tree", tree))
    assert patience.was_through(0)
    assert not patience.was_through(15)
    assert not patience.was_through(None)
    assert not patience.saved()
