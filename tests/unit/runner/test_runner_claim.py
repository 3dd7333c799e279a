"""Exactly one owner of an attempt; the exit record survives what it must."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from researchflow_tmux.runner import claim, reap, record, stopping
from tests.support import eventually
from tests.unit.runner.runner_harness import PYTHON, Attempts, alive

FACTS = {"version": 1, "tag": "ws/1.1", "outcome": "exited", "reason": "exit 0", "unreaped": []}


def test_of_many_racing_runners_one_runs_the_job(attempts: Attempts, tmp_path: Path) -> None:
    attempt = attempts.sh(f"echo ran >> {tmp_path}/ran")
    codes = [process.wait(20) for process in [attempt.start() for _ in range(12)]]
    assert sorted(codes) == [0] + [3] * 11
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert sorted(os.listdir(attempt.dir)) == ["exit", "spec.json", "start"]


def test_of_runners_and_fences_one_wins(attempts: Attempts, tmp_path: Path) -> None:
    runners_won = 0
    for _ in range(6):
        attempt = attempts.sh(
            f"touch {tmp_path}/$RAN", env={"PATH": "/usr/bin:/bin", "RAN": f"ran{len(attempts.made)}"}
        )
        ran = tmp_path / attempt.spec["env"]["RAN"]
        fences: list[bool] = []
        begin = threading.Barrier(3)

        def fence(directory: str = attempt.dir, begin: threading.Barrier = begin, fences: list[bool] = fences) -> None:
            begin.wait()
            eventually(lambda: len(os.listdir(directory)) > 1 or random.random() < 0.02, 5)
            fences.append(claim.fence(directory))

        threads = [threading.Thread(target=fence) for _ in range(2)]
        for thread in threads:
            thread.start()
        begin.wait()
        code = attempt.start().wait(20)
        for thread in threads:
            thread.join()
        assert sum(fences) + (code == 0) == 1
        assert ran.exists() == (code == 0)
        assert claim.probe(attempt.dir).fenced == any(fences)
        runners_won += code == 0
    assert 0 <= runners_won <= 6


def test_a_fenced_attempt_is_never_run(attempts: Attempts, tmp_path: Path) -> None:
    attempt = attempts.sh(f"touch {tmp_path}/ran")
    assert claim.fence(attempt.dir, attempt.tag) is True
    assert claim.fence(attempt.dir) is False
    assert attempt.start().wait(10) == 3
    found = claim.probe(attempt.dir)
    assert (found.state, found.fenced, found.content["tag"]) == ("free", True, attempt.tag)
    assert not (tmp_path / "ran").exists()


def test_the_probe_tells_nobody_a_living_and_a_gone_runner_apart(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; sleep 60")
    assert claim.probe(attempt.dir).state == claim.NONE
    process = attempt.start()
    attempt.says("up")
    found = claim.probe(attempt.dir)
    assert (found.state, found.content["pid"], found.content["tag"]) == (claim.HELD, process.pid, attempt.tag)
    assert set(found.content) == {"pid", "start_time", "boot_id", "host", "tag", "at"}
    process.kill()
    process.wait()
    assert claim.probe(attempt.dir).state == claim.FREE  # the job, if it still lives, did not inherit the lock


def test_probing_all_the_time_does_not_disturb_a_claim(attempts: Attempts) -> None:
    attempt = attempts("true")
    over = threading.Event()

    def probe() -> None:
        while not over.is_set():
            claim.probe(attempt.dir)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        assert attempt.run()["succeeded"]
    finally:
        over.set()
        thread.join()


def test_runners_killed_at_random_points_leave_nothing_that_cannot_be_proven_dead(attempts: Attempts) -> None:
    """Given a job with a daemon, when the runner dies at any moment, then the cookie finds all of the tree."""
    chance = random.Random(7)
    for _ in range(12):
        attempt = attempts.sh("setsid sleep 60 & setsid sh -c 'sleep 60 & wait' & wait")
        process = attempt.start()
        try:
            process.wait(chance.uniform(0.001, 0.06))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while claim.probe(attempt.dir).state == claim.HELD:
            assert time.monotonic() < deadline, "a fork of the runner dies with it"
        assert record.read(attempt.dir) is None
        assert reap.kill_by_cookie(attempt.tag, 10) == []
        assert reap.find_by_cookie(attempt.tag) == []


def test_the_main_process_dies_with_its_runner(attempts: Attempts) -> None:
    attempt = attempts.sh("trap '' TERM HUP; echo up $$; while :; do sleep 0.05; done")
    process = attempt.start()
    attempt.says("\r\n")
    pid = int(attempt.output().split()[1])
    process.kill()
    eventually(lambda: not alive(pid), 5, "the job dead")


def test_the_cookie_kill_misses_nothing_in_the_middle_of_an_exec(attempts: Attempts) -> None:
    """Given daemons that exec themselves for ever, then a kill that says "all gone" is right."""
    attempt = attempts.sh("")
    script = 'exec sh -c "$0" "$0"'
    environment = {"PATH": "/usr/bin:/bin", "RFSCHED_ATTEMPT": attempt.tag}
    for _ in range(5):
        processes = [subprocess.Popen(["sh", "-c", script, script], env=environment) for _ in range(4)]
        assert reap.kill_by_cookie(attempt.tag) == []
        assert [process.wait(1) for process in processes] == [-9] * 4


def test_a_process_whose_first_thread_ended_is_found(attempts: Attempts) -> None:
    attempt = attempts.sh("")
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start(); print('up', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    environment = {"PATH": "/usr/bin:/bin", "RFSCHED_ATTEMPT": attempt.tag}
    process = subprocess.Popen([PYTHON, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert reap.find_by_cookie(attempt.tag) == [process.pid]
    assert reap.kill_by_cookie(attempt.tag) == []
    process.wait(5)
    process.stdout.close()


def test_the_cookie_kill_spares_other_attempts_and_the_caller(attempts: Attempts) -> None:
    one, two = attempts.sh("echo up; sleep 60"), attempts.sh("echo up; sleep 60")
    one.start(), two.start()
    one.says("up")
    two.says("up")
    assert reap.find_by_cookie(one.tag)
    assert reap.kill_by_cookie(one.tag) == []
    assert one.record()["signal"] == 9
    assert reap.find_by_cookie(two.tag)


def test_zeros_torn_and_damaged_records_read_as_none(tmp_path: Path) -> None:
    assert record.read(str(tmp_path)) is None
    fd = record.preallocate(str(tmp_path / "exit"))
    assert os.fstat(fd).st_blocks > 0
    assert record.read(str(tmp_path)) is None
    record.write(fd, FACTS)
    os.close(fd)
    assert record.read(str(tmp_path)) == FACTS
    whole = (tmp_path / "exit").read_bytes()
    for length in range(0, len(whole.rstrip(bytes(1))) - 1, 7):
        (tmp_path / "exit").write_bytes(whole[:length] + bytes(record.SIZE - length))
        assert record.read(str(tmp_path)) is None
    (tmp_path / "exit").write_bytes(whole.replace(b"exit 0", b"exit 1"))
    assert record.read(str(tmp_path)) is None


def test_a_record_always_fits(tmp_path: Path) -> None:
    fd = record.preallocate(str(tmp_path / "exit"))
    record.write(
        fd, FACTS | {"reason": "ü" * 9000, "log": "\udc80" * 9000, "unreaped": list(range(10**6, 10**6 + 3000))}
    )
    os.close(fd)
    found = record.read(str(tmp_path))
    assert found is not None
    assert found["reason"].startswith("üü")
    assert found["unreaped"][0] == 10**6
    assert (tmp_path / "exit").stat().st_size == record.SIZE


def test_the_last_stop_request_counts(tmp_path: Path) -> None:
    assert stopping.read_stop(str(tmp_path)) is None
    stopping.write_stop(str(tmp_path), "scheduler", "preempted")
    stopping.write_stop(str(tmp_path), "user", "enough")
    assert stopping.read_stop(str(tmp_path)) == ("user", "enough")
    (tmp_path / "stop").write_text("{")
    assert stopping.read_stop(str(tmp_path)) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs (run as root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_at_the_claim_starts_nothing_and_claims_nothing(small_disk: Path, tmp_path: Path) -> None:
    attempts = Attempts(small_disk)
    attempt = attempts.sh(f"touch {tmp_path}/ran")
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk}/filler", "bs=4096"], capture_output=True, check=False)
    done = subprocess.run(attempt.command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "No space left on device" in done.stdout
    assert claim.probe(attempt.dir).state == claim.NONE
    assert record.read(attempt.dir) is None
    assert not (tmp_path / "ran").exists()
    (small_disk / "filler").unlink()
    assert attempt.run()["succeeded"]  # the same attempt may be issued again


def test_a_disk_that_fills_up_while_running_costs_output_not_the_record(small_disk: Path) -> None:
    attempts = Attempts(small_disk)
    attempt = attempts.python("import os\nfor _ in range(200): os.write(1, b'x' * 4096)")
    record_ = attempt.run()
    assert (record_["outcome"], record_["exit_code"], record_["succeeded"]) == ("exited", 0, True)
    assert record_["log_dropped_bytes"] > 500_000
    assert "could not be written" in record_["reason"]  # the marker is on the same disk
    assert not [name for name in os.listdir(attempt.dir) if name.endswith(".tmp")]


def test_an_unwritable_attempt_directory_says_so(attempts: Attempts) -> None:
    attempt = attempts("true")
    os.rename(attempt.spec_path, attempt.root / "spec.json")
    gone = [*attempt.command[:-1], str(attempt.root / "spec.json")]
    os.rmdir(attempt.dir)
    done = subprocess.run(gone, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "nothing was started" in done.stdout


def test_a_runner_told_to_stop_while_it_starts_still_leaves_a_record_or_no_claim(attempts: Attempts) -> None:
    chance = random.Random(3)
    for _ in range(10):
        attempt = attempts.sh("sleep 60")
        process = attempt.start()
        try:
            process.wait(chance.uniform(0.005, 0.04))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        process.wait(10)
        if claim.probe(attempt.dir).state != claim.NONE:
            assert attempt.record(1)["outcome"] == "killed"
