"""The log is complete, or says what it lacks; the screen never holds the job up."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from pathlib import Path

import pytest

from researchflow_tmux.runner import log as logs
from tests.unit.runner.runner_harness import Attempts


def test_twenty_megabytes_of_carriage_returns_arrive_complete_and_fast(attempts: Attempts) -> None:
    code = "import os\nline = b'x' * 99 + b'\\r'\nfor _ in range(200): os.write(1, line * 1000) == 100000 or exit(1)"
    speeds_mb_s: list[float] = []
    while not speeds_mb_s or (max(speeds_mb_s) < 15 and len(speeds_mb_s) < 4):  # the machine may be busy with more
        attempt = attempts.python(code)
        record = attempt.run()
        assert record["succeeded"]
        assert os.path.getsize(attempt.log) == 20_000_000
        speeds_mb_s.append(20 / record["duration_s"])
    assert max(speeds_mb_s) >= 15


def test_the_last_words_of_a_job_that_ends_at_once_are_kept(attempts: Attempts) -> None:
    for _ in range(10):
        attempt = attempts.python("import os; os.write(1, b'x' * 3000 + b'END'); os._exit(0)")
        attempt.run()
        assert attempt.output().endswith("END")


def test_a_job_that_closes_its_terminal_does_not_keep_the_runner_busy(attempts: Attempts) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    attempts.sh("exec <&- >&- 2>&-; sleep 0.7").run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_a_hung_up_terminal_does_not_keep_the_runner_busy(attempts: Attempts) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = attempts.sh("trap '' HUP; sleep 0.7 & exit 0", leftover_grace_s=5.0).run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert record["duration_s"] > 0.6
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_a_screen_nobody_reads_does_not_stop_the_job(attempts: Attempts) -> None:
    attempt = attempts.python("import os\nfor _ in range(100): os.write(1, b'x' * 10000)")
    process = attempt.start(stdout=subprocess.PIPE)  # a pipe that is never read
    record = attempt.record(timeout_s=10)
    assert record["succeeded"]
    assert record["duration_s"] < 5
    assert os.path.getsize(attempt.log) == 1_000_000
    assert process.wait(5) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_a_screen_that_is_gone_makes_the_run_headless(attempts: Attempts) -> None:
    attempt = attempts.sh("sleep 0.2; echo one; sleep 0.2; echo two")
    process = attempt.start(stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    record = attempt.record()
    assert (record["succeeded"], record["headless"]) == (True, True)
    assert attempt.output() == "one\r\ntwo\r\n"


def test_the_final_line_says_how_it_ended_and_where_the_log_is(attempts: Attempts) -> None:
    attempt = attempts.sh("exit 3")
    process = attempt.start(stdout=subprocess.PIPE)
    output = process.communicate(timeout=10)[0].decode()
    assert re.search(rf"── exp1 failed in \d+\.\d s \(exit 3\) · log {re.escape(attempt.log)} ──", output), output


def test_the_log_cap_keeps_the_beginning_and_the_end(attempts: Attempts) -> None:
    lines = "for n in range(700): os.write(1, b'%07d' % n + b'x' * 9993)"
    code = f"import os\nos.write(1, b'FIRST')\n{lines}\nos.write(1, b'LAST')"
    attempt = attempts.python(code)
    attempt.spec["log"]["cap_mib"] = 2
    Path(attempt.spec_path).write_text(json.dumps(attempt.spec))
    record = attempt.run()
    text = attempt.output()
    assert text.startswith("FIRST0000000")
    assert text.endswith("LAST")
    assert abs(len(text) - (2 << 20)) < 200
    assert record["log_dropped_bytes"] == 7_000_009 - (2 << 20)
    assert f"… {record['log_dropped_bytes']} bytes left out (log cap) …" in text


def test_a_log_below_the_cap_is_whole(tmp_path: Path) -> None:
    log = logs.open_log(str(tmp_path / "a.log"), 1)
    data = os.urandom(1 << 20)
    for at in range(0, len(data), 5000):
        log.write(data[at : at + 5000])
    log.close()
    assert (tmp_path / "a.log").read_bytes() == data
    assert log.dropped == 0


def test_the_log_is_private_and_never_overwrites(tmp_path: Path) -> None:
    first = logs.open_log(str(tmp_path / "new" / "a.log"))
    second = logs.open_log(str(tmp_path / "new" / "a.log"))
    first.close(), second.close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "a.log").stat().st_mode & 0o777 == 0o600
    assert second.path == str(tmp_path / "new" / "a.1.log")


def test_a_symlink_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "precious")
    log = logs.open_log(str(tmp_path / "a.log"))
    log.write(b"x")
    log.close()
    assert log.path.endswith("a.1.log")
    assert not (tmp_path / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's symlink")
def test_another_users_symlink_in_a_shared_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "target").mkdir()
    (tmp_path / "shared" / "logs").symlink_to(tmp_path / "target")
    os.lchown(tmp_path / "shared" / "logs", 65534, 65534)
    with pytest.raises(logs.LogError, match="another user's symbolic link"):
        logs.open_log(str(tmp_path / "shared" / "logs" / "a.log"))


def test_an_unwritable_log_is_a_failed_launch_before_the_job_runs(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = {"path": str(tmp_path / "file" / "a.log"), "latest": None, "cap_mib": None}
    record = attempts.sh(f"touch {tmp_path}/ran", log=log).run()
    assert record["outcome"] == "launch_failed"
    assert "correct log_dir or its permissions" in record["reason"]
    assert not (tmp_path / "ran").exists()


def test_latest_points_at_the_newest_log_and_spares_real_files(tmp_path: Path) -> None:
    latest = tmp_path / "exp1.log"
    for name in ("exp1_a1.log", "exp1_a2.log"):
        log = logs.open_log(str(tmp_path / name))
        assert logs.point_latest(str(latest), log) == ""
        log.close()
        assert os.readlink(latest) == name
    latest.unlink()
    latest.write_text("precious")
    assert "is not a symbolic link" in logs.point_latest(str(latest), log)
    assert latest.read_text() == "precious"
    assert logs.point_latest("/no/such/dir/x.log", log).startswith("/no/such/dir/x.log could not be updated")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_job_that_reads_nothing_does_not_block_on_what_is_typed(attempts: Attempts) -> None:
    attempt = attempts.sh("sleep 0.5")
    process = attempt.start(stdin=subprocess.PIPE)
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            os.write(process.stdin.fileno(), b"y" * 4096)
        except BlockingIOError:
            break
    assert attempt.record()["succeeded"]
    process.stdin.close()


def test_what_is_typed_reaches_the_job(attempts: Attempts) -> None:
    attempt = attempts.sh("read line; echo got $line")
    process = attempt.start(stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"hello\r")
    process.stdin.close()
    assert attempt.record()["succeeded"]
    assert "got hello" in attempt.output()
