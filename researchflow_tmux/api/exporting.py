"""Pictures and data of the past, as files: what is drawn in which format, and which files may be replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.drawing.viewer import Table

FORMATS = ("svg", "html", "json", "png", "csv", "txt", "vega")
SUFFIXES = {f".{form}": form for form in FORMATS if form != "vega"} | {".htm": "html", ".vl.json": "vega"}
FOREIGN = (".pdf", ".ps", ".eps", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tiff", ".xlsx", ".ods", ".md", ".tex")
"""Names of files that somebody may wish for and cannot have: no jobs."""
MARK = b"rfsched"
"""What files of ours have near their beginning."""
LOOK_BYTES = 2_048


class Export(NamedTuple):
    """One thing that can be exported: how it becomes text in each format that it has."""

    what: str
    data: msgspec.Struct
    said: str
    """In one line."""
    svg: Callable[[], str] | None = None
    html: Callable[[], str] | None = None
    vega: Callable[[], dict[str, Any]] | None = None
    """A specification for Vega-Lite."""
    rows: Callable[[], tuple[Sequence[str], Sequence[Sequence[Any]]]] | None = None
    """Header and rows, for CSV."""
    tables: Callable[[], Sequence[Table]] | None = None
    """For text, which whoever shows it lays out."""

    def made(self, form: str) -> bytes:
        """The file's content. Raises UsageError for a format that it does not have."""
        makers: dict[str, Callable[[], str] | None] = {
            "svg": self.svg,
            "html": self.html,
            "json": lambda: msgspec.json.encode(self.data).decode() + "\n",
            "vega": None if self.vega is None else self._vega,
            "csv": None if self.rows is None else self._csv,
        }
        if form == "png" and self.svg is not None:
            from researchflow_tmux.adapters.png import png_of

            return png_of(self.svg())
        maker = makers.get(form)
        if maker is None:
            have = [name for name, each in {**makers, "png": self.svg, "txt": self.tables}.items() if each is not None]
            raise UsageError(f"{self.what} cannot be exported as {form}", hint="choose one of " + ", ".join(have))
        return maker().encode("utf-8", "replace")

    def _vega(self) -> str:
        assert self.vega is not None
        return msgspec.json.encode(self.vega()).decode() + "\n"

    def _csv(self) -> str:
        import csv
        import io

        assert self.rows is not None
        header, rows = self.rows()
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        return out.getvalue()


def format_of(path: str | None, wanted: str | None) -> str | None:
    """The format that was said, else that of the file's name; None = neither says one. Raises UsageError."""
    if wanted is not None or path is None or path == "-":
        return wanted
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: the name does not say in which format", hint=f"end it in {', '.join(SUFFIXES)}, or give --format"
        )
    return SUFFIXES[suffix]


def suffix_of(path: str) -> str:
    """How the name ends: `.svg`, `.vl.json`."""
    return ".vl.json" if path.lower().endswith(".vl.json") else os.path.splitext(path)[1].lower()


def write(path: str, content: bytes, form: str, *, force: bool) -> None:
    """Write the file, whole or not at all. Raises UsageError when it is there and not ours, or cannot be written."""
    path = os.path.realpath(path)
    try:
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            with open(path, "wb") as device:  # such as /dev/null: nothing that could be replaced
                device.write(content)
            return
        if not force and not _ours(path, content, form):
            raise UsageError(f"{path} is there and was not made by rfsched", hint="--force replaces it")
        write_atomic(path, content, mode=None)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another place with -o") from None


def _ours(path: str, content: bytes, form: str) -> bool:
    """Whether there is no file, an empty one, or one of the same kind as `content`."""
    try:
        with open(path, "rb") as file:
            begin = file.read(LOOK_BYTES)
    except FileNotFoundError:
        return True
    if not begin:
        return True
    if form == "csv":
        return begin.split(b"\n", 1)[0] == content[:LOOK_BYTES].split(b"\n", 1)[0]
    return begin[:4] == content[:4] and MARK in begin
