"""The machine register on disk: strange files, other users, a gate that is stuck, and what it costs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.domain.accounts import AccountUse, Hours, Rate
from researchflow_tmux.domain.register import LiveAttempt
from tests.contract.test_register import NOW, by_id, page


@pytest.fixture
def register(tmp_path: Path) -> FileRegister:
    return FileRegister(str(tmp_path), "b")


def test_pages_can_be_read_by_all_and_removed_by_their_owner_alone(register: FileRegister, tmp_path: Path) -> None:
    register.publish(page("a"))
    directory = tmp_path / "register"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1777
    [file] = directory.glob("*.json")
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (f"{os.geteuid()}.a.json", 0o644)


def test_strange_files_are_named_and_nothing_breaks(register: FileRegister, tmp_path: Path) -> None:
    register.publish(page("good"))
    directory = tmp_path / "register"
    uid = os.geteuid()
    (directory / f"{uid}.link.json").symlink_to(directory / f"{uid}.good.json")
    (directory / f"{uid}.folder.json").mkdir()
    os.mkfifo(directory / f"{uid}.fifo.json")
    (directory / f"{uid}.empty.json").touch()
    (directory / f"{uid}.copy.json").write_bytes((directory / f"{uid}.good.json").read_bytes())
    (directory / "README").write_text("not a page")
    (directory / f".{uid}.good.json.1.tmp").write_text("left over")
    problems = {seen.name.split(".")[1]: seen.problem for seen in register.read(NOW)}
    assert problems == {
        "good": None,
        "link": "is no file",
        "folder": "is no file",
        "fifo": "is no file",
        "empty": "cannot be understood",
        "copy": "is another workspace's",
    }


def test_nobody_can_write_the_page_of_another_user(register: FileRegister, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files that are others'")
    register.publish(page("mine"))
    forged = tmp_path / "register" / "1234.theirs.json"
    forged.write_bytes((tmp_path / "register" / "0.mine.json").read_bytes().replace(b"mine", b"theirs"))
    os.chown(forged, 4321, 4321)
    assert {seen.name: seen.problem for seen in register.read(NOW)}["1234.theirs.json"] == (
        "belongs to somebody else than its name says"
    )
    os.chown(forged, 1234, 1234)
    assert by_id(register.read(NOW))["theirs"].problem is None


def test_a_user_without_rights_reads_pages_and_adds_one(request: pytest.FixtureRequest) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    leases = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))  # above which everybody may look
    request.addfinalizer(lambda: shutil.rmtree(leases))
    leases.chmod(0o1777)
    roots = FileRegister(str(leases), "b")
    roots.publish(page("roots"))
    assert roots.lock(1.0) is None  # root makes the gate
    roots.unlock()
    script = f"""
import os
from tests.unit.adapters.test_register import FileRegister, NOW, by_id, page
os.setgroups([]); os.setgid(4321); os.setuid(4321)
register = FileRegister({str(leases)!r}, "b")
assert "roots" in by_id(register.read(NOW)), register.read(NOW)
assert register.lock(2.0) is None, "a gate that is root's can be locked"
register.publish(page("theirs"))
register.unlock()
try:
    os.unlink({str(leases / "register" / "0.roots.json")!r})
except PermissionError:
    print("fine")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "fine\n", done.stderr
    assert set(by_id(FileRegister(str(leases), "b").read(NOW))) == {"roots", "theirs"}


def test_a_stuck_gate_costs_no_more_than_the_patience(register: FileRegister, tmp_path: Path) -> None:
    assert register.lock(0.0) is None
    began = time.monotonic()
    other = FileRegister(str(tmp_path), "b")
    assert "holds the register's gate" in (other.lock(0.05) or "")
    assert time.monotonic() - began < 5.0


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in (FileRegister(str(tmp_path / "file"), "b").lock(0.0) or "")
    with pytest.raises(OSError, match="file"):
        FileRegister(str(tmp_path / "file"), "b").publish(page("a"))


def test_after_a_reboot_nothing_of_it_lives(register: FileRegister, tmp_path: Path) -> None:
    attempt = LiveAttempt(tag="a/1.1", owners=("project p",), rate=Rate(gpus=1), runner_pid=os.getpid())
    register.publish(page("a", attempts=(attempt,)))
    [seen] = FileRegister(str(tmp_path), "another boot").read(NOW)
    assert (seen.alive, seen.living) == (False, frozenset())


def test_a_runner_without_leases_is_known_by_its_process(register: FileRegister) -> None:
    runs = LiveAttempt(tag="a/1.1", owners=("project p",), rate=Rate(cpus=1), runner_pid=os.getpid())
    gone = LiveAttempt(tag="a/2.1", owners=("project p",), rate=Rate(cpus=1), runner_pid=2**22 + 5)
    register.publish(page("a", start_time=0, attempts=(runs, gone)))
    assert register.read(NOW)[0].living == {"a/1.1"}


def test_own_pages_of_workspaces_that_are_gone_are_removed_unless_they_used_something(
    register: FileRegister, tmp_path: Path
) -> None:
    used = {"project p": AccountUse(settled={"total": Hours(gpu=1.0)})}
    register.publish(page("here", path=str(tmp_path)))
    register.publish(page("gone", path=str(tmp_path / "gone")))
    register.publish(page("used", path=str(tmp_path / "used"), uses=used))
    FileRegister(str(tmp_path), "b", uid=os.geteuid() + 1).tidy()
    assert len(register.read(NOW)) == 3, "nobody else removes them"
    register.tidy()
    assert set(by_id(register.read(NOW))) == {"here", "used"}


def test_pages_that_did_not_change_are_not_read_again(register: FileRegister, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        register.publish(page(f"w{number}"))
    assert len(register.read(NOW)) == 50
    opened: list[str] = []
    real = os.open

    def counted(path: str, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", counted)
    assert len(register.read(NOW)) == 50
    monkeypatch.undo()
    register.publish(page("w7", counts={"failed": 1}))
    monkeypatch.setattr(os, "open", counted)
    opened.clear()
    assert by_id(register.read(NOW))["w7"].page == page("w7", counts={"failed": 1})
    assert len(opened) == 1
