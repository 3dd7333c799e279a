"""`rf.` cells as the `rfsched:` section of a config: the same keys, the same checks, the same words."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
from msgspec import inspect

from researchflow_tmux.adapters.config_checks import SECTION_CHECKS
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.config_words import members, type_of
from researchflow_tmux.adapters.sources.tables.columns import PREFIX, RowSection
from researchflow_tmux.adapters.sources.tables.grid import Grid
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Place, Scalar, Sequence
from researchflow_tmux.adapters.yaml_tree import Document
from researchflow_tmux.domain.errors import Problem

Options = tuple[tuple[int, str, str], ...]
"""(place, key, text) of the `rf.` cells of a row."""


class Sections:
    """Turns the `rf.` cells of rows into sections; rows that say the same share one."""

    def __init__(self, grid: Grid, file: str) -> None:
        self._grid = grid
        self._file = file
        self._known: dict[tuple[tuple[str, str], ...], RowSection] = {}

    def read(self, record: int, options: Options) -> RowSection | list[Problem]:
        """The section of one row, or what is wrong with it."""
        said = tuple((key, text) for _, key, text in options)
        if said not in self._known:
            cells = _Cells(self._grid, self._file, record)
            reader = Reader(cells)
            found = reader.fields(_mapping(options), RowSection, SECTION_CHECKS, prefix=PREFIX)
            problems = [*reader.problems, *_unfit(cells, found)]
            if problems:
                return problems
            self._known[said] = RowSection(**{name: value for name, (value, _) in found.items()})
        return self._known[said]


class _Cells(Document):
    """Stands for a text whose columns are those of the table."""

    def __init__(self, grid: Grid, file: str, record: int) -> None:
        super().__init__("", file)
        self._grid = grid
        self._record = record

    def problem(self, place: Place | None, message: str, hint: str | None = None) -> Problem:
        column = None if place is None else place.column
        return self._grid.problem(self.file, self._record, column, message, hint)


def _unfit(cells: _Cells, found: dict[str, tuple[Any, Entry]]) -> list[Problem]:
    """Rows have no completion files: what asks for one cannot be had."""
    value, entry = found.get("completion", ("exit_code", None))
    if entry is None or value in (None, "exit_code"):
        return []
    message = f"{PREFIX}completion: {value} needs a completion file, which rows do not have"
    return [cells.problem(entry.start, message, "leave it empty: exit code 0 is a success")]


def _mapping(options: Options) -> Mapping:
    entries = []
    for column, key, text in options:
        place = Place(0, 1, column)
        name = Scalar(start=place, end=place, text=key)
        entries.append(Entry(name, _node(key, text.strip(), place), place, place))
    start = Place(0, 1, 0)
    return Mapping(start=start, end=start, flow=False, entries=entries)


def _node(key: str, text: str, place: Place) -> Node:
    """A list is written `a, b`, variables `A=1 B=2`."""
    kinds = members(type_of(_TYPES[key]))
    if any(isinstance(kind, inspect.ListType) for kind in kinds):
        items = [item.strip() for item in text.removeprefix("[").removesuffix("]").split(",")]
        nodes: list[Node] = [Scalar(start=place, end=place, text=item, style="'") for item in items if item]
        return Sequence(start=place, end=place, flow=True, items=nodes)
    if any(isinstance(kind, inspect.DictType) for kind in kinds) and "=" in text:
        pairs = [word.partition("=") for word in _words(text)]
        entries = [_pair(name, value, place) for name, _, value in pairs]
        return Mapping(start=place, end=place, flow=True, entries=entries)
    return Scalar(start=place, end=place, text=text)


def _pair(name: str, value: str, place: Place) -> Entry:
    scalars = [Scalar(start=place, end=place, text=text, style="'") for text in (name, value)]
    return Entry(scalars[0], scalars[1], place, place)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


_TYPES = {field.name: field.type for field in msgspec.structs.fields(RowSection)}
