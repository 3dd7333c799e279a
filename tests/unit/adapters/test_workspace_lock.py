"""One writer per workspace, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from researchflow_tmux.adapters import workspace_lock
from researchflow_tmux.adapters.workspace_lock import LockHolder, acquire, holder, refuse_foreign_attempts
from researchflow_tmux.domain.errors import StoreError, WorkspaceBusy
from researchflow_tmux.domain.workspace import WorkspacePaths
from tests.contract.store_samples import attempt, ended
from tests.support import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return WorkspacePaths(root=str(tmp_path), config=str(tmp_path / "scheduler_config.yml"))


class Other:
    """Another process at the lock."""

    def __init__(self, paths: WorkspacePaths, mode: str) -> None:
        argv = [sys.executable, "-m", "tests.unit.adapters.lock_process", paths.root, mode]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.communicate("\n")
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return self.process.wait()


@pytest.fixture
def other(paths: WorkspacePaths) -> Iterator[Other]:
    other = Other(paths, "hold")
    assert other.line() == "held"
    yield other
    other.end()


def test_the_holder_is_named_to_whoever_comes_second(paths: WorkspacePaths, other: Other) -> None:
    with pytest.raises(WorkspaceBusy, match=rf"a scheduler \(pid {other.process.pid} on .*, session exp_scheduler\)"):
        acquire(paths, "cli")
    found = holder(paths)
    assert found is not None
    assert (found.pid, found.role, found.session) == (other.process.pid, "scheduler", "exp_scheduler")


def test_a_second_process_is_refused(paths: WorkspacePaths, other: Other) -> None:
    second = Other(paths, "hold")
    assert second.line().startswith("busy: ")
    assert second.end() == 0


def test_kill_9_frees_it_at_once(paths: WorkspacePaths, other: Other) -> None:
    other.process.send_signal(signal.SIGKILL)
    other.process.wait()
    assert holder(paths) is None
    with acquire(paths, "scheduler") as lock:
        assert lock.holder.pid == os.getpid()


def test_who_waits_gets_it_when_it_is_given_back(paths: WorkspacePaths, other: Other) -> None:
    ending = threading.Timer(0.1, lambda: other.process.communicate("\n"))
    ending.start()
    with acquire(paths, "cli", wait_s=20):
        found = holder(paths)
        assert isinstance(found, LockHolder)
        assert found.pid == os.getpid()
    ending.join()


def test_a_clean_end_leaves_nothing(paths: WorkspacePaths) -> None:
    lock = acquire(paths, "scheduler")
    assert Path(paths.lock).stat().st_mode & 0o777 == 0o600
    lock.release()
    lock.release()
    assert Path(paths.lock).read_bytes() == b""
    assert holder(paths) is None


def test_nobody_holds_a_lock_that_never_was(paths: WorkspacePaths) -> None:
    assert holder(paths) is None
    assert not os.path.exists(paths.state)


def test_a_forked_child_does_not_keep_it(paths: WorkspacePaths) -> None:
    # Given a scheduler that forked a helper (which never calls exec)
    scheduler = Other(paths, "fork")
    child = int(scheduler.line().split()[1])
    try:
        # When the scheduler is killed, Then the lock is free although the helper lives
        scheduler.process.send_signal(signal.SIGKILL)
        scheduler.process.wait()
        acquire(paths, "scheduler").release()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        scheduler.end()


def test_a_started_program_does_not_keep_it(paths: WorkspacePaths) -> None:
    lock = acquire(paths, "scheduler")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as program:
        lock.forget()
        eventually(lambda: holder(paths) is None, what="the lock is free")
        assert program.poll() is None
        program.communicate(b"\n")


def test_many_take_turns_while_others_look(paths: WorkspacePaths) -> None:
    crowd = [Other(paths, "turns") for _ in range(4)]
    for one in crowd:
        output, _ = one.process.communicate(timeout=60)
        assert (output, one.process.returncode) == ("", 0)


def test_a_deleted_or_replaced_file_is_noticed(paths: WorkspacePaths) -> None:
    lock = acquire(paths, "scheduler")
    assert lock.still_ours()
    os.unlink(paths.lock)
    assert not lock.still_ours()
    with acquire(paths, "scheduler") as second:  # deleting the file is how a person takes it away for good
        assert second.still_ours()
        assert not lock.still_ours()
        lock.release()
        assert second.still_ours()
        assert holder(paths) == second.holder


def test_another_session_name_is_told(paths: WorkspacePaths) -> None:
    with acquire(paths, "scheduler", session="a_very_long_session_name") as lock:
        lock.tell_session("b")
        assert holder(paths) == lock.holder
        assert lock.holder.session == "b"


def foreign(paths: WorkspacePaths, **fields: object) -> None:
    """The lock file as a scheduler left it that did not end cleanly."""
    os.makedirs(paths.state, exist_ok=True)
    content = {"pid": 77, "role": "scheduler", "host": "elsewhere", "boot_id": "other-boot", "session": None}
    Path(paths.lock).write_bytes(msgspec.json.encode(content | fields))


@pytest.mark.parametrize("role", ["scheduler", "cli"])
def test_a_scheduler_of_another_host_that_left_no_word_is_respected(
    paths: WorkspacePaths, role: workspace_lock.Role
) -> None:
    foreign(paths)
    before = Path(paths.lock).read_bytes()
    with pytest.raises(
        WorkspaceBusy, match=r"pid 77 on elsewhere.*did not end cleanly.*\n.*rfsched stop.* on elsewhere"
    ):
        acquire(paths, role)
    assert Path(paths.lock).read_bytes() == before
    os.unlink(paths.lock)  # as the hint says
    acquire(paths, role).release()


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "cli"},
        {"host": os.uname().nodename},
        {"boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip()},
    ],
    ids=["a command", "this host before its reboot", "a container on this kernel"],
)
def test_what_is_no_scheduler_elsewhere_is_no_obstacle(paths: WorkspacePaths, fields: dict[str, object]) -> None:
    foreign(paths, **fields)
    acquire(paths, "scheduler").release()


@pytest.mark.parametrize("junk", [b"{", b"null", b"[]", b"\0" * 100])
def test_junk_in_the_file_is_no_obstacle(paths: WorkspacePaths, junk: bytes) -> None:
    os.makedirs(paths.state)
    Path(paths.lock).write_bytes(junk)
    assert holder(paths) is None
    with acquire(paths, "scheduler") as lock:
        assert holder(paths) == lock.holder


def test_live_attempts_of_another_host_are_respected(paths: WorkspacePaths) -> None:
    with acquire(paths, "cli") as lock:
        refuse_foreign_attempts([attempt(1, 1, ended())], lock)
        own = msgspec.structs.replace(attempt(3), hostname=lock.holder.host)
        refuse_foreign_attempts([own], lock)
        with pytest.raises(WorkspaceBusy, match=r"job 2 of this workspace runs on here"):
            refuse_foreign_attempts([own, attempt(2)], lock)


def test_a_place_that_cannot_be_used_is_said(paths: WorkspacePaths) -> None:
    Path(paths.state).write_text("a file where the directory should be")
    with pytest.raises(StoreError, match=r"\.rfsched/lock: "):
        acquire(paths, "scheduler")
    with pytest.raises(StoreError, match=r"\.rfsched/lock: Not a directory"):
        holder(paths)
