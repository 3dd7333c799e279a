"""Shares of GPUs across workspaces: never more than one GPU in total, never a stale ticket, never half a set."""

from __future__ import annotations

import fcntl
import os
import random
import select
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.runner import admission, reap, tickets
from researchflow_tmux.runner.spec import Lease
from tests.support import eventually
from tests.unit.runner.runner_harness import PYTHON, Attempts, lease


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_RELEASE_PATIENCE_S", 0.1)


def take(place: Path, *uuids: str, tag: str = "ws/1.1", **needs: Any) -> admission.Leases:
    return admission.take(Lease(lease(place, *uuids, **needs)), tag)


def test_shares_are_admitted_up_to_one_gpu(place: Path) -> None:
    held = [take(place, "GPU-a", share=1 / 3) for _ in range(3)]
    with pytest.raises(admission.SlotTaken, match=r"GPU GPU-a: 1 of it is taken, 0.333333 more .* \(test 0.333333"):
        take(place, "GPU-a", share=1 / 3)
    assert len(tickets.live(str(place), "GPU-a")) == 3
    held.pop().release()
    held.append(take(place, "GPU-a", share=1 / 3))
    for leases in held:
        leases.release()
    assert tickets.live(str(place), "GPU-a") == []
    assert os.listdir(place / "GPU-a") == ["gate"]


def test_an_unlimited_job_asks_for_nothing_and_fits_beside_a_full_gpu(place: Path) -> None:
    full, nothing = take(place, "GPU-a", share=1.0), take(place, "GPU-a", share=0.0)
    assert sorted(ticket["share"] for ticket in tickets.live(str(place), "GPU-a")) == [0.0, 1.0]
    full.release()
    nothing.release()


def test_declared_memory_has_to_fit_too(place: Path) -> None:
    first = take(place, "GPU-a", share=0.0, memory_mib=9000, total_mib=16000)
    with pytest.raises(admission.SlotTaken, match="9000 of 16000 MiB are taken, 8000 more do not fit"):
        take(place, "GPU-a", share=0.0, memory_mib=8000, total_mib=16000)
    first.release()


def test_a_job_that_declares_nothing_fits_beside_declared_memory(place: Path) -> None:
    all_of_it = take(place, "GPU-a", share=0.0, memory_mib=16000, total_mib=16000)
    nothing = take(place, "GPU-a", share=0.0, memory_mib=0, total_mib=16000)
    nothing.release()
    all_of_it.release()


def test_a_ticket_that_nobody_understands_may_have_been_promised_all_the_memory(place: Path) -> None:
    take(place, "GPU-a").release()
    strange = place / "GPU-a" / "strange"
    strange.write_text("nonsense")
    with strange.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(admission.SlotTaken, match="16000 of 16000 MiB are taken"):
            take(place, "GPU-a", share=0.0, memory_mib=1, total_mib=16000)


def test_several_gpus_are_taken_all_or_none(place: Path) -> None:
    one = take(place, "GPU-b", share=1.0)
    with pytest.raises(admission.SlotTaken, match="GPU-b"):
        take(place, "GPU-c", "GPU-b", "GPU-a")
    assert tickets.live(str(place), "GPU-a") == tickets.live(str(place), "GPU-c") == []
    one.release()
    take(place, "GPU-c", "GPU-b", "GPU-a").release()


def test_two_shares_of_one_gpu_add_up(place: Path) -> None:
    both = take(place, "GPU-a", "GPU-a", share=0.5)
    assert [ticket["share"] for ticket in tickets.live(str(place), "GPU-a")] == [1.0]
    both.release()


def test_a_ticket_being_released_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_RELEASE_PATIENCE_S", 5.0)
    first = take(place, "GPU-a", share=1.0)
    timer = threading.Timer(0.15, first.release)
    timer.start()
    take(place, "GPU-a", share=1.0).release()
    timer.join()


def test_readers_never_fool_a_taker(place: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            tickets.live(str(place), "GPU-a")

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            held = take(place, "GPU-a", share=1.0)
            assert len(tickets.live(str(place), "GPU-a")) == 1
            held.release()
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_live_ticket_nobody_understands_counts_as_the_whole_gpu(place: Path) -> None:
    take(place, "GPU-a").release()
    strange = place / "GPU-a" / "strange"
    for content in ("", "nonsense", '{"share": -5, "memory_mib": 0}', '{"share": NaN, "memory_mib": 0}'):
        strange.write_text(content)
        with strange.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(admission.SlotTaken):
                take(place, "GPU-a", share=0.1)
    take(place, "GPU-a", share=1.0).release()
    assert not strange.exists()  # dead and ours: tidied away


def test_a_stuck_gate_gives_up_in_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_GATE_PATIENCE_S", 0.1)
    take(place, "GPU-a").release()
    with (place / "GPU-a" / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        with pytest.raises(admission.SlotTaken, match="stayed locked"):
            take(place, "GPU-a")


def test_tickets_that_were_cleaned_away_come_back(place: Path) -> None:
    held = take(place, "GPU-a", share=1.0)
    for file in (place / "GPU-a").iterdir():
        file.unlink()
    (place / "GPU-a").rmdir()
    held.refresh()
    with pytest.raises(admission.SlotTaken):
        take(place, "GPU-a")
    held.release()
    assert tickets.live(str(place), "GPU-a") == []


def test_directories_are_for_everybody_and_sticky(place: Path) -> None:
    previous = os.umask(0o077)
    try:
        held = take(place / "deep", "GPU-a")
    finally:
        os.umask(previous)
    assert (place / "deep" / "GPU-a").stat().st_mode & 0o7777 == 0o1777
    assert (place / "deep").stat().st_mode & 0o7777 == 0o1777
    assert place.stat().st_mode & 0o002 == 0
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in (place / "deep" / "GPU-a").iterdir())
    held.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_two_users_share_one_directory(tmp_path: Path) -> None:
    place = Path(f"/var/tmp/rfsched-test-{os.getpid()}")
    code = (
        "import os, sys; sys.path.append(sys.argv[1])\n"
        "from researchflow_tmux.runner import admission, jsontext, tickets, spec\n"
        "jsontext.dumps({}); os.setuid(65534)  # after the imports: Python may live where only root can read\n"
        "lease = spec.Lease({'dir': sys.argv[2], 'gpus': [{'uuid': 'GPU-a', 'share': 0.5}]})\n"
        "held = admission.take(lease, 'other/1.1'); print(len(tickets.live(sys.argv[2], 'GPU-a')), flush=True)\n"
        "try: admission.take(lease, 'other/2.1')\n"
        "except admission.SlotTaken as taken: print(taken, flush=True)\n"
        "os._exit(0)"
    )
    root = str(Path(__file__).parents[3])
    try:
        mine = take(place, "GPU-a", share=0.5)
        command = [PYTHON, "-I", "-S", "-c", code, root, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("2\n")
        assert "test 0.5" in done.stdout
        take(place, "GPU-a", share=0.5).release()  # the other's dead ticket is in nobody's way
        mine.release()
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)


def test_a_full_gpu_ends_the_attempt_as_slot_taken(attempts: Attempts, place: Path) -> None:
    held = take(place, "GPU-a", share=0.75)
    record = attempts("true", leases=lease(place, "GPU-a")).run()
    assert (record["outcome"], record["started_at"]) == ("slot_taken", None)
    assert "test 0.75" in record["reason"]
    held.release()


def test_an_unusable_lease_directory_is_a_failed_launch(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = attempts("true", leases=lease(tmp_path / "file", "GPU-a")).run()
    assert record["outcome"] == "launch_failed"
    assert "lease directory cannot be used" in record["reason"]
    record = attempts("true", leases=lease(tmp_path / "leases", "../a")).run()
    assert "is no plain name" in record["reason"]


def test_the_job_keeps_the_slot_when_its_runner_is_killed(attempts: Attempts, place: Path) -> None:
    attempt = attempts.sh("setsid sh -c 'echo up; exec sleep 60' & wait", leases=lease(place, "GPU-a"))
    process = attempt.start()
    attempt.says("up")
    ticket = tickets.live(str(place), "GPU-a")[0]
    assert (ticket["tag"], ticket["pid"], ticket["session"]) == (attempt.tag, process.pid, "T_exp1_gpu0")
    process.kill()
    process.wait()
    eventually(lambda: len(reap.find_by_cookie(attempt.tag)) == 1, 5, "only the daemon left")
    assert tickets.live(str(place), "GPU-a")
    assert reap.kill_by_cookie(attempt.tag) == []
    assert tickets.live(str(place), "GPU-a") == []


def test_two_workspaces_under_fire_never_share_more_than_one_gpu(attempts: Attempts, place: Path) -> None:
    """Shares 1/2 and 1/4 compete while runners die at random; the jobs themselves measure what is held."""
    chance = random.Random(11)
    running: list[Any] = []
    worst = 0.0
    held: list[float] = []
    ended = time.monotonic() + 5
    while time.monotonic() < ended:
        running = [(attempt, process) for attempt, process in running if process.poll() is None]
        if len(running) < 7:
            attempt = attempts("sleep", "0.3", leases=lease(place, "GPU-a", share=chance.choice((0.5, 0.25))), log=None)
            running.append((attempt, attempt.start()))
        elif held and chance.random() < 0.3:  # on a busy machine all would die before one holds anything
            chance.choice(running)[1].kill()
        held = [ticket["share"] for ticket in tickets.live(str(place), "GPU-a")]
        worst = max(worst, sum(held))
    for attempt in attempts.made:
        attempt.end()
    assert 0.5 <= worst <= 1.0
    assert len(attempts.made) > 20
    assert tickets.live(str(place), "GPU-a") == []
    take(place, "GPU-a", share=1.0).release()
    assert os.listdir(place / "GPU-a") == ["gate"]


TAKER = """
import os, random, sys, time; sys.path.append(sys.argv[1])
from researchflow_tmux.runner import admission, spec, tickets
admission._RELEASE_PATIENCE_S = 0.0
chance = random.Random(int(sys.argv[3]))
end = time.monotonic() + 2.5
while time.monotonic() < end:
    share = chance.choice((0.5, 0.25))
    lease = spec.Lease({"dir": sys.argv[2], "gpus": [{"uuid": uuid, "share": share} for uuid in ("GPU-b", "GPU-a")]})
    try:
        held = admission.take(lease, "ws/1.1")
    except admission.SlotTaken:
        continue
    for uuid in ("GPU-a", "GPU-b"):
        total = sum(ticket["share"] for ticket in tickets.live(sys.argv[2], uuid))
        if not share <= total <= 1:
            print("held", total, flush=True)
    print("taken", flush=True)
    if chance.random() < 0.1:
        os.kill(os.getpid(), 9)
    held.release()
"""


def test_takers_in_a_hurry_never_hold_more_than_one_gpu_and_kills_leave_nothing(place: Path) -> None:
    """Six processes take and release as fast as they can; a killed one is replaced; each counts what is held."""
    root = str(Path(__file__).parents[3])
    ended = time.monotonic() + 3
    output = ""
    codes: set[int] = set()
    processes: list[subprocess.Popen[str]] = []
    seeds = iter(range(10_000))
    while time.monotonic() < ended or processes:
        for process in [process for process in processes if process.poll() is not None]:
            output += process.communicate()[0]
            codes.add(process.returncode)
            processes.remove(process)
        while len(processes) < 6 and time.monotonic() < ended:
            command = [PYTHON, "-I", "-S", "-c", TAKER, root, str(place), str(next(seeds))]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        if processes:
            select.select([process.stdout for process in processes if process.stdout], [], [], 0.05)
    assert "held" not in output
    assert -9 in codes <= {0, -9}
    assert output.count("taken") > 100
    assert next(seeds) > 10
    assert tickets.live(str(place), "GPU-a") == tickets.live(str(place), "GPU-b") == []
    take(place, "GPU-a", "GPU-b", share=1.0).release()
    assert os.listdir(place / "GPU-a") == ["gate"]


def test_the_default_directory_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFSCHED_LEASE_DIR", str(tmp_path / "mine"))
    assert tickets.default_dir() == str(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o1777
