"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from researchflow_tmux.adapters.files import read_at_most, write_atomic


@pytest.mark.parametrize("durable", [True, False])
def test_content_and_mode(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    write_atomic(str(path), b"one", durable=durable)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    mask = os.umask(0o077)
    try:
        write_atomic(str(path), "zwei é", 0o644, durable=durable)
    finally:
        os.umask(mask)
    assert (path.read_text("utf-8"), path.stat().st_mode & 0o777) == ("zwei é", 0o644)
    assert os.listdir(tmp_path) == ["file"]


def test_who_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as old:
        write_atomic(str(path), "new")
        assert old.read() == "old"
    assert path.read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(str(target), "x")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError):
        write_atomic(str(tmp_path / "no" / "file"), "x")


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic("file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_what_is_no_file_is_neither_replaced_nor_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        write_atomic(str(pipe), "x")
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="named pipe"):
        read_at_most(str(pipe), 10)
    (tmp_path / "file").write_text("content")
    assert read_at_most(str(tmp_path / "file"), 4) == b"cont"
    assert read_at_most("/dev/null", 4) == b""
