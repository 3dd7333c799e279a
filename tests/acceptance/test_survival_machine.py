"""Reboots, full disks, two schedulers, other hosts, deleted and copied state: through the installed programs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from tests.support import eventually
from tests.tmux_fixtures import kill_tree
from tests.workspaces import RFSCHED, Factory, RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"
MIB = 1024**2


def long(ws: RealWorkspace, *names: str, nap: float = 600) -> None:
    """Configs whose jobs sleep."""
    for name in names:
        ws.config(name, env={"NAP": str(nap)})


def rewrite(ws: RealWorkspace, **changed: str) -> None:
    """Change fields of every live attempt in the database, and of every claim."""
    names = {"boot_id": "boot_id", "hostname": "host"}
    with sqlite3.connect(ws.root / ".rfsched" / "state.db") as db:
        for job_id, number, doc in db.execute("SELECT job_id, number, doc FROM attempts WHERE live = 1").fetchall():
            where = (json.dumps(json.loads(doc) | changed), job_id, number)
            db.execute("UPDATE attempts SET doc = ? WHERE job_id = ? AND number = ?", where)
    db.close()
    for start in ws.root.glob(".rfsched/attempts/*/*/start"):
        content = json.loads(start.read_text()) | {names[key]: value for key, value in changed.items()}
        start.write_text(json.dumps(content))


# The machine ----------------------------------------------------------------------------------------------------------


def test_after_a_reboot_the_running_are_lost_by_name_and_the_planned_run_once(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:3", max_jobs_per_gpu=1)
    long(ws, "a")
    long(ws, "b", "c", "d", nap=0)
    ws.ok("start")
    runner = ws.runner("a")
    for name in "bcd":
        ws.wait_for(name, "succeeded")
    ws.ok("stop")
    ws.ok("requeue", "b", "c")
    crashed = ws.scheduler(RFSCHED_KILL_AT="intent saved:1")
    crashed.wait(timeout=20)
    kill_tree(ws.server.pid())
    kill9(runner)
    rewrite(ws, boot_id=OTHER_BOOT)
    ws.ok("start")
    assert ws.wait_for("a", "failed")["reason_code"] == "lost"
    assert "restarted" in ws.reason("a")
    assert ws.settled() == {"a": "failed", "b": "succeeded", "c": "succeeded", "d": "succeeded"}
    assert ws.runs() == {"a": 1, "b": 2, "c": 2, "d": 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system needs the right to mount: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path) -> Path:
    """Leave no room at all."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    return filler


def test_a_full_disk_loses_nothing(small_disk: Path, new_workspace: Factory) -> None:
    ws = new_workspace("unused")
    ws = RealWorkspace(small_disk / "ws", ws.server, {"max_jobs_per_gpu": 1})
    try:
        ws.config(
            "a", command=ws.script("until.sh", 'echo x >> "ran/$RFSCHED_JOB"\nwhile [ ! -e go ]; do sleep 0.05; done')
        )
        long(ws, "b", "c", nap=0)
        (ws.root / "configs" / "d.yml").write_text("lr: 0.1\n")
        ws.ok("start")
        ws.runner("a")
        eventually(lambda: ws.states()["b"] == ws.states()["c"] == ws.states()["d"] == "succeeded")
        (ws.root / "go").touch()
        filler = fill(small_disk)
        refused = ws.call("start")
        assert refused.returncode in (0, 4), refused.stderr
        assert "Traceback" not in refused.stderr
        if refused.returncode == 4:
            assert "full" in refused.stderr or "space" in refused.stderr, refused.stderr
        assert ws.call("status").returncode == 0
        filler.unlink()
        assert set(ws.settled().values()) == {"succeeded"}, "its exit record had its place"
        long(ws, "e", nap=0)
        ws.ok("start")
        ws.wait_for("e", "succeeded")
        assert set(ws.runs().values()) == {1}
    finally:
        ws.close()


def test_a_log_directory_that_cannot_be_is_told_before_anything_is_queued(workspace: RealWorkspace) -> None:
    ws = workspace
    (ws.root / "occupied").write_text("a file")
    ws.configure(log_dir="occupied/logs")
    long(ws, "a", nap=0)
    result = ws.call("start")
    assert result.returncode == 3
    assert "occupied/logs" in result.stderr
    assert "log_dir" in result.stderr
    assert not ws.status_or_none()
    ws.configure(log_dir="logs")
    ws.ok("start")
    ws.wait_for("a", "succeeded")


# One scheduler --------------------------------------------------------------------------------------------------------


def test_one_of_two_schedulers_wins_and_the_other_says_so(workspace: RealWorkspace) -> None:
    ws = workspace
    long(ws, "a", "b", nap=0.5)
    both = [
        subprocess.Popen([RFSCHED, "start"], cwd=ws.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("scheduler started" in text for text in said) == 1, said
    assert sum("running already" in text for text in said) == 1, said
    winner = ws.scheduler_pid()
    third = subprocess.run([RFSCHED, "start", "--foreground"], cwd=ws.root, capture_output=True, text=True, check=False)
    assert third.returncode == 4
    assert f"pid {winner}" in third.stderr
    assert "scheduler" in third.stderr
    assert ws.scheduler_pid() == winner
    assert set(ws.settled().values()) == {"succeeded"}
    assert set(ws.runs().values()) == {1}
    long(ws, "c", nap=0)
    assert "running already" in ws.ok("start")
    ws.wait_for("c", "succeeded")


def test_another_host_is_refused_in_words(workspace: RealWorkspace) -> None:
    ws = workspace
    long(ws, "a")
    ws.ok("start")
    runner = ws.runner("a")
    scheduler = ws.scheduler_pid()
    assert scheduler is not None
    keeper = int(Path(f"/proc/{scheduler}/stat").read_text().rpartition(")")[2].split()[1])
    kill9(keeper)
    kill9(scheduler)
    lock = ws.root / ".rfsched" / "lock"
    content = json.loads(lock.read_text())
    lock.write_text(json.dumps(content | {"host": "node17", "boot_id": OTHER_BOOT}))
    for command in (["start"], ["kill-all", "--yes"]):
        refused = ws.call(*command)
        assert refused.returncode == 4
        assert "node17" in refused.stderr, refused.stderr
    lock.write_text("")
    rewrite(ws, hostname="node17", boot_id=OTHER_BOOT)
    for command in (["start"], ["kill-all", "--yes"]):
        refused = ws.call(*command)
        assert refused.returncode == 4
        assert "node17" in refused.stderr, refused.stderr
    assert ws.states() == {"a": "running"}
    kill9(runner)
    (ws.root / ".rfsched").rename(ws.root / "was_elsewhere")


def test_state_deleted_under_a_scheduler_ends_it(workspace: RealWorkspace) -> None:
    ws = workspace
    long(ws, "a")
    ws.ok("start")
    runner = ws.runner("a")
    first = ws.scheduler_pid()
    shutil.rmtree(ws.root / ".rfsched")
    long(ws, "b", nap=0)
    ws.configure(config_pattern="b*.yml")
    ws.ok("start")
    assert ws.wait_for("b", "succeeded")
    assert ws.scheduler_pid() != first
    eventually(lambda: not Path(f"/proc/{first}/exe").exists(), what="the first scheduler has ended")
    assert "was deleted or replaced under this scheduler" in ws.history()
    assert "t_a_gpu0" in ws.history(), "it says which session runs on"
    long(ws, "b2", nap=0)
    ws.ok("start")
    ws.wait_for("b2", "succeeded")
    kill9(runner)


# Copies ---------------------------------------------------------------------------------------------------------------


def test_a_copy_is_another_workspace_and_a_moved_one_is_the_same(new_workspace: Factory, tmp_path: Path) -> None:
    ws = new_workspace("original")
    long(ws, "a")
    ws.ok("start")
    ws.runner("a")
    subprocess.run(["cp", "-r", str(ws.root), str(tmp_path / "copy")], check=True)
    copy = new_workspace("copy")
    long(copy, "b", nap=0)
    copy.ok("start")
    copy.wait_for("b", "succeeded")
    assert "is a copy of that one" in copy.reason("a")
    assert copy.job("a")["state"] == "failed"
    assert copy.tag("b").partition("/")[0] != ws.tag("a").partition("/")[0]
    copy.ok("kill-all", "--yes")
    assert ws.states() == {"a": "running"}
    assert ws.status()["scheduler"]["running"]
    assert ws.job_pids("a")
    ws.ok("stop")
    before = ws.tag("a")
    ws.root.rename(tmp_path / "moved")
    moved = new_workspace("moved")
    moved.ok("start", "--no-configs")
    assert moved.tag("a") == before
    assert moved.states() == {"a": "running"}


# While it runs --------------------------------------------------------------------------------------------------------


def test_configs_that_appear_and_settings_that_change_while_it_runs(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:1", max_jobs_per_gpu=2, check_interval=60.0)
    long(ws, "a", nap=0)
    ws.ok("start")
    ws.wait_for("a", "succeeded")
    bad = ws.config("b", gpuss=1)
    eventually(lambda: "not queued" in ws.history() and "b.yml:1:" in ws.history(), what="the bad config is told")
    assert "b" not in ws.states()
    eventually(lambda: "NOT QUEUED" in ws.ok("status") and f"{bad}:1:" in ws.ok("status"), what="status names it")
    bad.write_text("lr: 0.1\n")
    eventually(lambda: ws.states().get("b") == "succeeded", what="the corrected config ran")
    eventually(lambda: "NOT QUEUED" not in ws.ok("status"), what="status forgets what was corrected")
    ws.ok("config", "set", "max_jobs_per_gpu", "1")
    eventually(lambda: "settings taken over" in ws.history())
    long(ws, "c", "d")
    eventually(lambda: ws.states().get("d") == "queued")
    ws.runner("c")
    assert ws.job("d")["reason_code"] == "capacity"
    shutil.rmtree(ws.root / "configs")
    assert ws.states()["c"] == "running"
    assert os.path.exists(ws.root / ".rfsched")


def test_opening_the_state_twice_in_one_process_keeps_its_locks(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file when it closes any descriptor of it, SQLite's too."""
    path = str(tmp_path / "state.db")
    store = SqliteStore(path, boot_id=OTHER_BOOT)
    store.load()
    SqliteInbox(path).close()
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    )
    taken = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    store.close()
    assert "BlockingIOError" in taken.stderr, "another process may delete the write-ahead log under us"
