"""What makes a success: the job's end, the word of a command that is asked afterwards, or both."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.job import verify_call
from researchflow_tmux.runner import claim, procfs, stopping, tickets
from tests.support import eventually
from tests.unit.runner.runner_harness import PYTHON, Attempt, Attempts, alive, lease


def rule(attempt_marker: str | None = None, verify: str | None = None, **more: Any) -> dict[str, Any]:
    told = {"rule": "exit_code", "marker": attempt_marker, "grace_s": 0.3, "verify_timeout_s": 20.0, **more}
    return told | ({} if verify is None else {"verify": ["sh", "-c", verify], "verify_words": verify})


YES, NO = "echo looks good", "echo 'no result.json' >&2; exit 3"


@pytest.mark.parametrize(
    ("success", "job", "verify", "succeeded"),
    [
        ("no_error_only", "exit 0", None, True),
        ("no_error_only", "exit 1", None, False),
        ("no_error_only", "exit 0", NO, True),  # nobody is asked
        ("no_error_and_verify", "exit 0", YES, True),
        ("no_error_and_verify", "exit 0", NO, False),
        ("no_error_and_verify", "exit 1", YES, False),
        ("verify_only", "exit 0", YES, True),
        ("verify_only", "exit 1", YES, True),  # an exception in the job
        ("verify_only", "kill -11 $$", YES, True),
        ("verify_only", "exit 0", NO, False),
        ("always", "exit 0", None, True),
        ("always", "exit 1", None, True),
        ("always", "kill -9 $$", None, True),
    ],
)
def test_every_rule(attempts: Attempts, success: str, job: str, verify: str | None, succeeded: bool) -> None:
    attempt = attempts.sh(job, completion=rule(verify=verify, success=success))
    assert attempt.run()["succeeded"] is succeeded


def test_what_was_stopped_before_it_began_is_no_success_of_any_kind(attempts: Attempts) -> None:
    attempt = attempts.sh("true", completion=rule(success="always"))
    Path(attempt.dir, "stop").write_text('{"by": "user", "reason": ""}')
    record = attempt.run()
    assert (record["outcome"], record["succeeded"]) == ("killed", False)


def test_the_marker_is_written_after_the_answer_and_only_for_a_yes(attempts: Attempts) -> None:
    for number, (verify, there) in enumerate([('test ! -e "$OUT"', True), (NO, False)]):
        marker = str(attempts.root / f"m{number}")
        completion = rule(marker, verify, success="no_error_and_verify")
        attempt = attempts.sh("exit 0", completion=completion)
        attempt.spec["env"]["OUT"] = marker
        Path(attempt.spec_path).write_text(json.dumps(attempt.spec))
        assert attempt.run()["marker"] is there
        assert os.path.exists(marker) is there


def test_why_it_was_not_verified_is_in_record_and_log(attempts: Attempts) -> None:
    attempt = attempts.sh("echo trained", completion=rule(verify=NO, success="no_error_and_verify"))
    record = attempt.run()
    assert (record["outcome"], record["exit_code"]) == ("exited", 0)
    assert (record["verified"], record["verify"]) == (False, "exit 3: no result.json")
    assert "not verified: exit 3: no result.json" in record["reason"]
    output = attempt.output()
    assert output.index("trained") < output.index("── verifying") < output.index("no result.json")


def test_it_runs_as_the_job_does_and_knows_how_that_ended(attempts: Attempts) -> None:
    verify = 'test -t 1 && test "$EXIT" = "" && test "$RFSCHED_EXIT_CODE" = 4 && grep -q trained "$RFSCHED_LOG"; pwd'
    attempt = attempts.sh("echo trained; exit 4", completion=rule(verify=verify, success="verify_only"), umask=0o077)
    record = attempt.run()
    assert record["verified"] is True, attempt.output()
    assert str(attempts.root) in attempt.output()


def test_a_verification_that_hangs_is_ended_with_all_its_processes(attempts: Attempts) -> None:
    verify = "trap '' TERM; sleep 300 & echo $! > child; wait; wait"
    completion = rule(verify=verify, success="no_error_and_verify", verify_timeout_s=0.3)
    attempt = attempts.sh("exit 0", completion=completion)
    record = attempt.run()
    assert (record["succeeded"], record["verify"]) == (False, "it did not end within 0.3 s")
    assert not alive(int((attempts.root / "child").read_text()))


@pytest.mark.parametrize(("verify", "words"), [("exec /no/such", "exit 127"), ("kill -9 $$", "it was killed")])
def test_one_that_cannot_run_is_no_yes(attempts: Attempts, verify: str, words: str) -> None:
    record = attempts.sh("exit 0", completion=rule(verify=verify, success="no_error_and_verify")).run()
    assert record["succeeded"] is False
    assert words in record["verify"]


def test_a_missing_program_is_told_as_such(attempts: Attempts) -> None:
    completion = rule(success="verify_only") | {"verify": ["/no/such/check"], "verify_words": "check"}
    record = attempts.sh("exit 0", completion=completion).run()
    assert record["verify"].startswith("it could not be started: ")


def test_output_without_end_hangs_neither_job_nor_verification(attempts: Attempts) -> None:
    noise = "head -c 1000000 /dev/zero | tr '\\0' x >&2"
    attempt = attempts.sh(noise, completion=rule(verify=noise, success="no_error_and_verify"))
    assert attempt.run()["succeeded"] is True
    assert len(attempt.output()) > 2_000_000


def verifying(attempts: Attempts, **changes: Any) -> Attempt:
    """An attempt whose job has ended well and whose verification goes on and on."""
    completion = rule(verify="echo asking; sleep 300", success="no_error_and_verify")
    attempt = attempts.sh("exit 0", completion=completion, **changes)
    attempt.start()
    attempt.says("asking\r")
    return attempt


def test_told_to_stop_meanwhile_it_ends_and_says_who_wanted_it(attempts: Attempts) -> None:
    attempt = verifying(attempts)
    stopping.write_stop(attempt.dir, "user", "by hand")
    os.kill(attempt.runner_pid(), signal.SIGTERM)
    record = attempt.record()
    assert (record["outcome"], record["by"], record["succeeded"]) == ("killed", "user", False)
    assert "about to be verified" in record["reason"]
    assert not os.path.exists(attempt.marker)


def test_told_to_stop_right_before_it_asks_nobody(attempts: Attempts) -> None:
    # What the job left behind keeps the runner busy after the main process has ended; then the stop comes.
    completion = rule(verify="echo asking", success="no_error_and_verify")
    script = "(trap '' HUP TERM; echo up; exec sleep 300) & sleep 0.1; exit 0"
    attempt = attempts.sh(script, completion=completion, leftover_grace_s=20.0)
    attempt.start()
    attempt.says("up")
    eventually(lambda: main_is_gone(attempt))
    os.kill(attempt.runner_pid(), signal.SIGTERM)
    record = attempt.record()
    assert (record["outcome"], record["by"]) == ("killed", "signal")
    assert "asking" not in attempt.output()


def main_is_gone(attempt: Attempt) -> bool:
    """Whether the job's main process, the leader of its session, has ended."""
    return not any(os.getsid(pid) == pid for pid in procfs.descendants(attempt.runner_pid()))


def test_the_lease_is_held_until_it_is_verified(attempts: Attempts, tmp_path: Path) -> None:
    attempt = verifying(attempts, leases=lease(tmp_path / "leases", "GPU-a"))
    assert len(tickets.live(str(tmp_path / "leases"), "GPU-a")) == 1
    assert claim.probe(attempt.dir).state == claim.HELD
    os.kill(attempt.runner_pid(), signal.SIGTERM)
    attempt.record()
    eventually(lambda: not tickets.live(str(tmp_path / "leases"), "GPU-a"))


def test_a_stopped_or_timed_out_job_is_not_asked_about(attempts: Attempts) -> None:
    completion = rule(verify="echo asking", success="verify_only")
    attempt = attempts.sh("sleep 300", completion=completion, time_limit_s=0.3)
    assert attempt.run()["outcome"] == "timed_out"
    assert "asking" not in attempt.output()


CHECKS = """
import os, sys
def good(subject, folder, log):
    print("subject", subject, "folder", folder, "log", os.path.basename(log))
    return subject == {"lr": 0.1} and open(log).read().startswith("trained")
def bad(subject, folder, log):
    return subject["lr"] > 1
def broken(subject, folder, log):
    raise ValueError("no such epoch")
"""


@pytest.mark.parametrize(
    ("function", "verified", "words"),
    [
        ("checks:good", True, ""),
        ("./checks.py:good", True, ""),
        ("gone.py:good", False, "exit 1: FileNotFoundError: [Errno 2] No such file or directory: '{root}/gone.py'"),
        ("checks:bad", False, "exit 1: checks:bad returned False"),
        ("checks:broken", False, "exit 1: ValueError: no such epoch"),
        ("checks:missing", False, "exit 1: AttributeError: module 'checks' has no attribute 'missing'"),
        ("nowhere:f", False, "exit 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_function_is_asked_with_what_the_job_is_made_of(
    attempts: Attempts, function: str, verified: bool, words: str
) -> None:
    (attempts.root / "checks.py").write_text(CHECKS)
    call = attempts.root / "call.json"
    call.write_text(json.dumps({"function": function, "subject": {"lr": 0.1}, "output_dir": "/out"}))
    argv = [PYTHON, verify_call.__file__, str(call)]
    completion = rule(success="no_error_and_verify") | {"verify": argv, "verify_words": function}
    record = attempts.sh("echo trained", completion=completion).run()
    assert (record["verified"], record["verify"]) == (verified, words.format(root=attempts.root))
