"""One look at the bytes of a table: its rows, or why there are none."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.sources.tables.columns import Columns, read_columns
from researchflow_tmux.adapters.sources.tables.csv_grid import read_csv
from researchflow_tmux.adapters.sources.tables.editors import lock_beside
from researchflow_tmux.adapters.sources.tables.grid import MAX_BYTES, Grid, Unreadable
from researchflow_tmux.adapters.sources.tables.json_grid import read_json
from researchflow_tmux.adapters.sources.tables.rows import Row, few, read_rows
from researchflow_tmux.domain.errors import Problem


def _xlsx(data: bytes) -> Grid:
    from researchflow_tmux.adapters.sources.tables.xlsx_grid import read_xlsx  # zip and XML are for who has such files

    return read_xlsx(data)


FORMATS: dict[str, Callable[[bytes], Grid]] = {
    ".csv": read_csv,
    ".tsv": lambda data: read_csv(data, tabs=True),
    ".json": read_json,
    ".xlsx": _xlsx,
}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it was read."""

    seen: user_file.Seen
    grid: Grid
    columns: Columns
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether each row is known: only then one that is not there is gone."""
        return self.columns.usable and all(row.key is not None for row in self.rows)


def is_table(name: str) -> bool:
    """Whether a file of this name is a task table; hidden files and those of open editors are none."""
    return os.path.splitext(name)[1].lower() in FORMATS and not name.startswith((".", "~$"))


def read_table(path: str, file: str) -> Table | None:
    """The table at `path`, which problems call `file`; None = there is none.

    Raises:
        Unreadable: It holds no table.
        user_file.ChangedMeanwhile: It is being written just now.
    """
    try:
        found = user_file.read(path, MAX_BYTES)
    except user_file.Unusable as error:
        raise Unreadable(error.message, hint=error.hint) from None
    if found is None:
        if os.path.isdir(path):
            raise Unreadable("is a directory", hint="give it another name")
        return None
    if found.being_written and lock_beside(path) is None:
        raise user_file.ChangedMeanwhile  # half a row is a wrong command; spreadsheet programs write all at once
    return interpret(FORMATS[os.path.splitext(path)[1].lower()](found.data), found.seen, file)


def interpret(grid: Grid, seen: user_file.Seen, file: str) -> Table:
    """What the cells mean."""
    columns = read_columns(grid, file)
    rows, problems = read_rows(grid, columns, file) if columns.usable else ([], [])
    return Table(
        seen=seen,
        grid=grid,
        columns=columns,
        rows=tuple(rows),
        problems=(*columns.problems, *few(problems, file)),
        warnings=(*(f"{file} {text}" for text in grid.warnings), *columns.warnings),
    )
