"""SIGUSR1 before TERM: a job that will go on later may save a checkpoint first."""

from __future__ import annotations

import os
import signal
import time

import pytest

from researchflow_tmux.runner import procfs, stopping
from tests.unit.runner.runner_harness import PYTHON, Attempts

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
