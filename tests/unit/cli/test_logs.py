"""Logs as they were seen on the screen, from their end, and while they grow."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from researchflow_tmux.api import logs


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\n", b"plain\n"),
        (b"pty\r\n", b"pty\n"),
        (b"\r 10%\r 50%\r100%\r\n", b"100%\n"),
        (b"no end", b"no end\n"),
        (b"\n", b"\n"),
        (b"a\r\r\n", b"a\n"),
    ],
)
def test_only_what_stayed_on_the_screen(raw: bytes, shown: bytes) -> None:
    assert b"".join(logs.seen([raw])) == shown


@pytest.mark.parametrize("size", [3, 7, 1 << 16])
@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 5, b""),
    ],
)
def test_last_lines(monkeypatch: pytest.MonkeyPatch, size: int, text: bytes, number: int, expected: bytes) -> None:
    monkeypatch.setattr(logs, "CHUNK", size)
    file = io.BytesIO(text)
    logs.last_lines(file, number)
    assert file.read() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a\nError: no\r\n\r\n", "Error: no"),
        (b" 1%\r 2%\r", "2%"),
        (b"", None),
        (b"\xff\n", "\ufffd"),
    ],
)
def test_last_line(tmp_path: Path, text: bytes, expected: str | None) -> None:
    (tmp_path / "log").write_bytes(text)
    assert logs.last_line(str(tmp_path / "log")) == expected


def test_the_last_line_of_no_log() -> None:
    assert logs.last_line(None) is None
    assert logs.last_line("/nowhere/log") is None


def test_a_log_that_is_not_there_yet_is_read_once_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    growing = logs.Growing(str(path), None)
    assert list(growing.read()) == []
    path.write_bytes(b"one\ntw")
    assert list(growing.read()) == [b"one\n"]
    with path.open("ab") as file:
        file.write(b"o\nthree")
    assert list(growing.read()) == [b"two\n"]
    assert list(growing.read(final=True)) == [b"three"]
    assert list(growing.read(final=True)) == []
    growing.close()
