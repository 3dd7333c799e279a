"""Files that people change too: what they write is never lost, and what we write is whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from researchflow_tmux.adapters import user_file
from tests.support import eventually

MOST = 1 << 20


def seen(path: Path) -> user_file.Seen:
    content = user_file.read(str(path), MOST)
    assert content is not None
    return content.seen


def replace(path: Path, data: bytes, expected: user_file.Seen) -> user_file.Seen:
    return user_file.replace(str(path), data, expected)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "f.txt"
    found.write_bytes(b"one\n")
    return found


def test_what_is_replaced_looks_like_what_is_told(path: Path) -> None:
    now = replace(path, b"two\n", seen(path))
    assert path.read_bytes() == b"two\n"
    assert now == seen(path)
    assert [item.name for item in path.parent.iterdir()] == ["f.txt"]


def test_mode_and_attributes_stay_and_a_link_stays_a_link(path: Path) -> None:
    path.chmod(0o640)
    with suppress(OSError):
        os.setxattr(path, "user.note", b"mine")
    link = path.with_name("link.txt")
    link.symlink_to("f.txt")
    replace(link, b"two\n", seen(link))
    assert link.is_symlink()
    assert path.read_bytes() == b"two\n"
    assert path.stat().st_mode & 0o777 == 0o640
    if "user.note" in os.listxattr(path):
        assert os.getxattr(path, "user.note") == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 12345, 23456)
    replace(path, b"two\n", seen(path))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_file_that_changed_is_left_alone(path: Path) -> None:
    before = seen(path)
    path.write_bytes(b"somebody was faster\n")
    with pytest.raises(user_file.ChangedMeanwhile):
        replace(path, b"two\n", before)
    path.unlink()
    with pytest.raises(user_file.ChangedMeanwhile):
        replace(path, b"two\n", before)
    path.mkdir()
    with pytest.raises(user_file.Unusable, match="directory"):
        replace(path, b"two\n", before)
    assert [item.name for item in path.parent.iterdir()] == ["f.txt"]


def test_a_file_that_a_program_has_open_for_writing_is_left_alone(path: Path) -> None:
    before = seen(path)
    with path.open("ab") as file:
        with pytest.raises(user_file.BeingWritten):
            replace(path, b"two\n", before)
        content = user_file.read(str(path), MOST)
        assert content is not None
        assert content.being_written
        file.write(b"more\n")
    assert path.read_bytes() == b"one\nmore\n"
    with path.open("rb"):  # reading is no reason
        replace(path, b"two\n", seen(path))


def test_who_begins_to_write_in_the_very_moment_waits_and_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the exchange: the writer has opened the old file, and will write to that."""
    put_in_place = user_file._put_in_place
    appender = [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write('late\\n')", str(path)]
    writers = []

    def late(temporary: str, target: str) -> bool:
        writers.append(subprocess.Popen(appender))
        eventually(lambda: Path("/proc/locks").read_text().count("LEASE  BREAKING"), 10.0)
        return put_in_place(temporary, target)

    monkeypatch.setattr(user_file, "_put_in_place", late)
    with pytest.raises(user_file.BeingWritten):
        replace(path, b"two\n", seen(path))
    assert writers[0].wait() == 0
    assert path.read_bytes() == b"one\nlate\n"
    assert [item.name for item in path.parent.iterdir()] == ["f.txt"]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert user_file.look(str(tmp_path / "nothing")) is None
    assert user_file.read(str(tmp_path / "nothing/below"), MOST) is None
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(user_file.Unusable, match="no ordinary file"):
        user_file.read(str(tmp_path / "pipe"), MOST)
    (tmp_path / "large").write_bytes(b"x" * 100)
    with pytest.raises(user_file.Unusable, match="more than the"):
        user_file.read(str(tmp_path / "large"), 99)


WRITER = """
import os, sys
from researchflow_tmux.adapters import user_file
from tests.support import eventually
path, n = sys.argv[1], 0
while True:
    n += 1
    content = user_file.read(path, 1 << 30)
    mark = b"!#?"[n % 3:n % 3 + 1]
    data = b"".join(mark + line[1:] for line in content.data.splitlines(keepends=True))
    user_file.replace(path, data, content.seen)
    print(n, flush=True)
"""


def test_killed_while_writing_the_file_is_whole(path: Path) -> None:
    lines = [b" python train.py --seed %d\n" % number for number in range(20_000)]
    path.write_bytes(b"".join(b"!" + line for line in lines))
    for writes in (1, 2, 3, 5, 8, 13):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(writes):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)  # somewhere in its next write
        process.wait()
        process.stdout.close()
        data = path.read_bytes()
        assert {line[1:] for line in data.splitlines(keepends=True)} == set(lines)
        assert len(data) == sum(map(len, lines)) + len(lines)


APPENDER = """
import sys
for number in range(2000):
    with open(sys.argv[1], "a") as file:
        file.write(f" line {number}\\n")
"""


def test_lines_appended_while_we_write_are_never_lost(path: Path) -> None:
    path.write_bytes(b" line -1\n")
    process = subprocess.Popen([sys.executable, "-c", APPENDER, str(path)])
    while process.poll() is None:
        with suppress(user_file.ChangedMeanwhile, user_file.BeingWritten):
            again(path)
    assert process.returncode == 0
    assert path.read_bytes() == b"".join(b" line %d\n" % number for number in range(-1, 2000))


def again(path: Path) -> None:
    """Write what is there, as we do with marks."""
    content = user_file.read(str(path), MOST)
    assert content is not None
    replace(path, content.data, content.seen)
