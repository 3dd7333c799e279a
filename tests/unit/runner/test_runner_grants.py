"""The runner keeps to what is granted of a budget, alone, and goes by what a scheduler grants later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.runner import claim, grants, kernel
from tests.unit.runner.runner_harness import Attempt, Attempts

GRACE_S = 0.4
STOP_S = grants.stop_s(GRACE_S)
_HUGE = f'{{"seconds": {"9" * 400}, "at": 1, "since_s": 1}}'
_ENDLESS = '{"seconds": Infinity, "at": 1, "since_s": 1}'
SAVES = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"saved\\n"))
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"told to end\\n"), os._exit(0)))
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


def granted(seconds: float, **changed: Any) -> dict[str, Any]:
    now = {"at": time.time(), "since_s": time.monotonic(), "boot_id": kernel.boot_id()}
    return now | {"seconds": seconds} | changed


def killed_for_budget(record: dict[str, Any]) -> bool:
    found = (record["outcome"], record["by"], record["succeeded"], record["unreaped"])
    return found == ("killed", "budget", False, [])


def test_a_job_may_save_itself_and_is_over_before_the_grant_is(attempts: Attempts) -> None:
    seconds = STOP_S + 1.5
    attempt = attempts.python(SAVES, grant=granted(seconds))
    record = attempt.run()
    assert killed_for_budget(record)
    assert record["duration_s"] <= seconds
    assert attempt.output() == "up\r\nsaved\r\ntold to end\r\n"


def test_a_job_that_minds_no_signal_is_over_before_the_grant_is(attempts: Attempts) -> None:
    seconds = STOP_S + 1.0
    record = attempts.sh("trap '' TERM USR1 INT; while :; do sleep 0.05; done", grant=granted(seconds)).run()
    assert killed_for_budget(record)
    assert record["duration_s"] <= seconds


def test_a_job_that_ends_in_time_notices_nothing(attempts: Attempts) -> None:
    record = attempts.sh("exit 0", grant=granted(60.0)).run()
    assert (record["outcome"], record["succeeded"]) == ("exited", True)


def test_what_is_complete_is_a_success_though_it_has_to_be_ended(attempts: Attempts) -> None:
    attempt = attempts.sh('echo done > "$0"; sleep 60', grant=granted(STOP_S + 1.0))
    attempt.spec["argv"].append(attempt.marker)
    attempt.spec["completion"]["grace_s"] = 60.0
    os.makedirs(os.path.dirname(attempt.marker))
    _write(attempt)
    record = attempt.run()
    assert (record["outcome"], record["succeeded"], record["marker"]) == ("exited", True, True)


@pytest.mark.parametrize("changed", [{}, {"boot_id": "another boot", "at": time.time() - 3600.0}])
def test_nothing_is_started_when_the_grant_is_over(attempts: Attempts, changed: dict[str, Any]) -> None:
    attempt = attempts.sh("echo ran", grant=granted(STOP_S - 0.1, **changed))
    record = attempt.run()
    assert killed_for_budget(record)
    assert (record["started_at"], record["duration_s"]) == (None, None)
    assert "before its job started" in record["reason"]


def test_it_finds_by_itself_that_more_was_granted(attempts: Attempts) -> None:
    first = granted(STOP_S + 0.5)
    attempt = attempts.sh("sleep 1.5; echo through", grant=first)
    grants.write(attempt.dir, first | {"seconds": 60.0})
    attempt.start()
    assert attempt.record()["succeeded"] is True


@pytest.mark.parametrize("less", [None, 0.0])
def test_less_holds_as_soon_as_it_is_told_and_without_a_budget_it_goes_on(
    attempts: Attempts, less: float | None
) -> None:
    first = granted(STOP_S + (0.7 if less is None else 600.0))
    attempt = attempts.sh("echo up; sleep 1.5; echo through", grant=first)
    attempt.start()
    attempt.says("up")
    grants.write(attempt.dir, None if less is None else first | {"seconds": less})
    os.kill(attempt.runner_pid(), signal.SIGWINCH)
    record = attempt.record()
    assert record["succeeded"] is (less is None)
    assert killed_for_budget(record) is (less is not None)


def test_what_cannot_be_read_changes_nothing(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; sleep 0.5", grant=granted(60.0))
    Path(attempt.dir, "grant").write_text('{"grant": {"seconds": "many"}}')
    attempt.start()
    attempt.says("up")
    Path(attempt.dir, "grant").write_text("{")
    os.kill(attempt.runner_pid(), signal.SIGWINCH)
    assert attempt.record()["succeeded"] is True


@pytest.mark.parametrize("grant", ['"x"', "[]", "5", '{"seconds": NaN, "at": 1, "since_s": 1}', _HUGE, _ENDLESS])
def test_what_makes_no_sense_changes_nothing(attempts: Attempts, grant: str) -> None:
    attempt = attempts.sh("echo up; sleep 0.3", grant=granted(60.0))
    Path(attempt.dir, "grant").write_text(f'{{"grant": {grant}}}')
    assert attempt.run()["succeeded"] is True
    assert grants.Grant(attempt.dir, granted(60.0), GRACE_S).stop_at() == pytest.approx(
        time.monotonic() + 60.0 - STOP_S, abs=1.0
    )


def test_a_spec_that_does_not_say_how_much_grants_nothing(attempts: Attempts) -> None:
    assert killed_for_budget(attempts.sh("echo ran", grant={"seconds": "many"}).run())


def test_more_than_poll_can_wait_for(attempts: Attempts) -> None:
    month_s = 31 * 86400.0
    attempt = attempts.sh("exit 0", grant=granted(month_s), time_limit_s=month_s)
    attempt.spec["completion"] = {}
    _write(attempt)
    assert attempt.run()["succeeded"] is True


def test_making_room_takes_no_longer_than_the_grant(attempts: Attempts) -> None:
    from researchflow_tmux.runner import stopping

    seconds = STOP_S + 1.5
    attempt = attempts.python(SAVES, grant=granted(seconds))
    attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, "preempted", "room", save=True, save_s=600.0)
    os.kill(attempt.runner_pid(), signal.SIGTERM)
    record = attempt.record()
    assert record["by"] == "preempted"
    assert record["duration_s"] <= seconds


def test_verifying_is_part_of_what_is_used(attempts: Attempts) -> None:
    seconds = STOP_S + 1.0
    attempt = attempts.sh("exit 0", grant=granted(seconds))
    attempt.spec["completion"] |= {"success": "no_error_and_verify", "verify": ["sleep", "60"], "verify_words": "sleep"}
    _write(attempt)
    record = attempt.run()
    assert killed_for_budget(record)
    assert record["duration_s"] <= seconds


def test_the_time_to_stop_counts_everything() -> None:
    assert grants.stop_s(10.0) == 5.0 + 10.0 + 2.0
    assert grants.save_s(100.0) == 5.0


def _write(attempt: Attempt) -> None:
    import json

    Path(attempt.spec_path).write_text(json.dumps(attempt.spec))
    assert claim.probe(attempt.dir).state == claim.NONE
