"""What a row says: how often it is to run, its name, its command and its parameters; and what keeps it from running."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import msgspec

from researchflow_tmux.adapters.sources.tables.columns import CMD, NAME, NEED, RUN, Columns
from researchflow_tmux.adapters.sources.tables.grid import Cell, Grid, Record, can_be_carried, typed
from researchflow_tmux.domain.errors import Problem

MOST_RUNS = 10_000
MOST_JOBS = 200_000
"""Runs that the rows of one table may need together."""
MOST_TOLD = 20
"""Problems of one kind of file that are told one by one."""
NO_COMMAND = "No command"
"""What FlowLine writes into an empty column cmd."""

_AUTOMATIC = re.compile(r"Task:[0-9]+")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One task."""

    record: int
    """Its place in the grid."""
    key: str | None
    """What it is known by: a hash of its content and which of the rows with that content; None = not to be told."""
    run: int = 0
    need: int = 0
    name: str = ""
    cmd: str = ""
    parameters: dict[str, Cell] = {}
    options: tuple[tuple[int, str, str], ...] = ()
    """(place, key, text) of its `rf.` cells."""
    good: bool = True
    """False = a problem is told about it or a column of it, and nothing is done for it or to it."""


class _Fault(Exception):  # noqa: N818 - it reads as the fact it states
    def __init__(self, column: int | None, message: str, hint: str | None = None) -> None:
        self.column, self.message, self.hint = column, message, hint


def read_rows(grid: Grid, columns: Columns, file: str) -> tuple[list[Row], list[Problem]]:
    """All rows that hold more than notes, and the problems of those that cannot run."""
    rows: list[Row] = []
    problems: list[Problem] = []
    seen: Counter[str] = Counter()
    for index, record in enumerate(grid.records):
        if not any(cell is not None and place not in columns.notes for place, cell in enumerate(record)):
            continue
        try:
            _check_shape(grid, columns, index, record)
        except _Fault as fault:
            problems.append(grid.problem(file, index, fault.column, fault.message, fault.hint))
            rows.append(Row(record=index, key=None, good=False))
            continue
        content = _content(columns, record)
        seen[content] += 1
        key = f"{content}.{seen[content]}"
        try:
            rows.append(_row(columns, index, record, key))
        except _Fault as fault:
            problems.append(grid.problem(file, index, fault.column, fault.message, fault.hint))
            rows.append(Row(record=index, key=key, good=False))
    return _not_too_many(rows, problems, file)


def _not_too_many(rows: list[Row], problems: list[Problem], file: str) -> tuple[list[Row], list[Problem]]:
    total = sum(max(row.need - row.run, 0) for row in rows if row.good)
    if total <= MOST_JOBS:
        return rows, problems
    message = f"its rows need {total} runs together; {MOST_JOBS} are possible"
    told = Problem(message=message, file=file, hint=f"write smaller numbers into {NEED}, or split the table")
    return [msgspec.structs.replace(row, good=False) for row in rows], [told, *problems]


def few(problems: list[Problem], file: str) -> list[Problem]:
    """The first problems, and how many more there are."""
    if len(problems) <= MOST_TOLD:
        return problems
    rest = f"{len(problems) - MOST_TOLD} more rows have problems"
    return [*problems[:MOST_TOLD], Problem(message=rest, file=file, hint="correct these first")]


def _check_shape(grid: Grid, columns: Columns, index: int, record: Record) -> None:
    fault = grid.fault(index)
    if fault is not None:
        raise _Fault(*fault)
    count = len(grid.header)
    for column in (*columns.nameless, *range(count, len(record))):
        if column < len(record) and record[column] is not None:
            if column < count:
                raise _Fault(column, "has a value in a column without a name", "name the column, or empty the cell")
            message = f"has more cells ({len(record)}) than the header has names ({count})"
            raise _Fault(column, message, "a cell with a comma in it stands in quotes")

    for column, cell in enumerate(record):
        if cell is not None and not can_be_carried(cell.text):
            raise _Fault(column, "holds a character that no command line can carry", "delete it")


def _row(columns: Columns, index: int, record: Record, key: str) -> Row:
    name, cmd = (_text(columns, record, column) for column in (NAME, CMD))
    return Row(
        record=index,
        key=key,
        run=_count(columns, record, RUN, 0),
        need=_count(columns, record, NEED, 1),
        name=name or automatic_name(index),
        cmd="" if cmd == NO_COMMAND else cmd,
        good=all(_at(record, column) is None for column in columns.unknown),
        parameters={name: cell for place, name in columns.parameters if (cell := _at(record, place)) is not None},
        options=tuple(
            (place, key, cell.text) for place, key in columns.options if (cell := _at(record, place)) is not None
        ),
    )


def automatic_name(index: int) -> str:
    """What FlowLine calls a row without a name; rows are counted from 0."""
    return f"Task:{index}"


def _count(columns: Columns, record: Record, name: str, default: int) -> int:
    place = columns.reserved.get(name)
    cell = None if place is None else _at(record, place)
    if cell is None:
        return default
    value = typed(cell.value.strip()) if isinstance(cell.value, str) else cell.value  # a number stored as text
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**53:
        raise _Fault(place, f"{name} is {_short(cell.text)}, which is no count", "write a whole number from 0")
    if name == NEED and value > MOST_RUNS:
        raise _Fault(place, f"{name} is {value}: more than {MOST_RUNS} runs of one row", "write a smaller number")
    return value


def _content(columns: Columns, record: Record) -> str:
    """A hash of what makes the row this task and no other: not its counts, its resources or an automatic name."""
    cells = [(name, _canonical(cell)) for place, name in columns.parameters if (cell := _at(record, place)) is not None]
    name, cmd = (_text(columns, record, column) for column in (NAME, CMD))
    if name and not _AUTOMATIC.fullmatch(name):
        cells.append(("\0name", name))
    if cmd and cmd != NO_COMMAND:
        cells.append(("\0cmd", cmd))
    data = msgspec.json.encode(sorted(cells))
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _canonical(cell: Cell) -> str:
    """The value, however it is written: a spreadsheet makes 0.001 of the 1e-3 in a CSV file that it saves."""
    value = cell.value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return repr(value) if isinstance(value, bool | float) else str(value)


def _text(columns: Columns, record: Record, name: str) -> str:
    place = columns.reserved.get(name)
    cell = None if place is None else _at(record, place)
    return "" if cell is None else cell.text.strip()


def _at(record: Record, place: int) -> Cell | None:
    return record[place] if place < len(record) else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
