"""What every format gives: a header, records of cells, and a way to change single cells without touching the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from researchflow_tmux.domain.errors import Problem

Value = bool | int | float | str
MAX_BYTES = 64 * 1024 * 1024
MAX_RECORDS = 200_000
MAX_COLUMNS = 2_000

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,300})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,5})?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_BOOLS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Cell(msgspec.Struct, frozen=True):
    """One value of a record; an empty one is None instead."""

    text: str
    """As it goes on a command line."""
    value: Value
    """As a Python function gets it."""


Record = list[Cell | None]
"""One cell per column of the header, and further ones if the row is longer than that."""
Edits = Mapping[tuple[int, int], int | str]
"""New values by (record, column), both counted from 0. Columns past the header are those that are added."""


class Unreadable(Exception):  # noqa: N818 - it reads as the fact it states
    """The file holds no table; carries what is wrong."""

    def __init__(self, message: str, *, hint: str | None = None, line: int | None = None, column: int | None = None):
        super().__init__(message)
        self.message, self.hint, self.line, self.column = message, hint, line, column

    def problem(self, file: str) -> Problem:
        """The same, as a problem of this file."""
        return Problem(message=self.message, file=file, line=self.line, column=self.column, hint=self.hint)


class Grid(Protocol):
    """One table as it was read. Nothing of it changes; `patched` makes a new one."""

    @property
    def header(self) -> Sequence[str]:
        """Names of columns, without blanks around them; an empty name is that of a column nobody named."""
        ...

    @property
    def records(self) -> Sequence[Record]:
        """The rows below the header."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know of how it was read."""
        ...

    @property
    def closed(self) -> str | None:
        """Why no column can be added; None = it can."""
        ...

    def problem(self, file: str, record: int | None, column: int | None, message: str, hint: str | None) -> Problem:
        """A problem at its place: of a cell, of a row (no column), or of a column (no record: its header)."""
        ...

    def fault(self, record: int | None) -> tuple[int | None, str, str | None] | None:
        """(column, what, hint) of what makes a row, or the header (None), unfit to be read; None = nothing."""
        ...

    def frozen_cell(self, record: int, column: int) -> str | None:
        """Why the cell must not be overwritten (it holds a formula); None = it may be."""
        ...

    def patched(self, edits: Edits, added: Sequence[str] = ()) -> Grid:
        """The table with these columns after the last one and these cells changed; all other bytes are the same."""
        ...

    def content(self) -> bytes:
        """The whole file."""
        ...


def cell_of(text: str) -> Cell | None:
    """A cell of written text: its type is what it looks like, the text stays as it is."""
    if not text.strip():
        return None
    return Cell(text, typed(text))


def typed(text: str) -> Value:
    """The value that a text stands for: a number, true or false, else the text itself. `007` is text."""
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "+-.0123456789" or _LEADING_ZERO.match(text):
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def plain_number(number: float) -> str:
    """A number of a spreadsheet as a person would write it: 64 and not 64.0."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def can_be_carried(text: str) -> bool:
    """Whether a command line can hold this text."""
    if text.isprintable():
        return True
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def width(header: Sequence[str], records: Sequence[Record]) -> int:
    """Columns up to the last one that has a name or a value."""
    used = max((index for index, name in enumerate(header) if name), default=-1)
    for record in records:
        last = len(record) - 1
        while last > used and record[last] is None:
            last -= 1
        used = max(used, last)
    return used + 1
