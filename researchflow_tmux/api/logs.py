"""Reading logs: as a person saw them on the screen, the last lines of them, and following one while it grows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

CHUNK = 1 << 16


def seen(lines: Iterable[bytes]) -> Iterator[bytes]:
    """What stayed on the screen of each line: the text after its last carriage return, with a plain line end."""
    for line in lines:
        yield line.rstrip(b"\r\n").rpartition(b"\r")[2] + b"\n"


def last_lines(file: BinaryIO, number: int) -> None:
    """Move to where the last `number` lines begin, reading from the end only as much as that takes."""
    position = end = file.seek(0, os.SEEK_END)
    if not number or not end:
        return
    file.seek(end - 1)
    breaks = number + (file.read(1) == b"\n")
    while position > 0:
        size = min(CHUNK, position)
        position -= size
        file.seek(position)
        chunk = file.read(size)
        at = size
        while breaks and (at := chunk.rfind(b"\n", 0, at)) >= 0:
            breaks -= 1
        if not breaks:
            file.seek(position + at + 1)
            return
    file.seek(0)


def last_line(path: str | None) -> str | None:
    """The last line with text in it, as it was seen; None = there is none."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - CHUNK, 0))
            lines = [line.strip() for line in seen(file.read().split(b"\n"))]
    except OSError:
        return None
    text = next((line for line in reversed(lines) if line), b"")
    return text.decode(errors="replace") or None


class Growing:
    """A log that is still being written; it may not be there yet."""

    def __init__(self, path: str, tail: int | None) -> None:
        self.path = path
        self._tail = tail
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self, *, final: bool = False) -> Iterator[bytes]:
        """Whole lines that came since the last call; `final` = also an unfinished one."""
        for chunk in self.chunks():
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
        if final and self._rest:
            rest, self._rest = self._rest, b""
            yield rest

    def chunks(self) -> Iterator[bytes]:
        """Bytes that came since the last call, as they are."""
        if self._file is None:
            try:
                self._file = open(self.path, "rb")  # noqa: SIM115 - stays open between calls
            except FileNotFoundError:
                return
            if self._tail is not None:
                last_lines(self._file, self._tail)
        while chunk := self._file.read(CHUNK):
            yield chunk

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
