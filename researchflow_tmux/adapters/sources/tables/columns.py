"""What the columns of a table mean: counts, name, command, `rf.` columns for the scheduler, parameters of the job."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Annotated

import msgspec
from msgspec import Meta

from researchflow_tmux.adapters.sources.tables.grid import Grid, can_be_carried, typed
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.workspace import JobSection

RUN, NEED, NAME, CMD = "run_num", "need_run_num", "name", "cmd"
RESERVED = (RUN, NEED, NAME, CMD)
PREFIX = "rf."
NOTE = "#"
"""Columns whose name begins so are the user's notes."""


class RowSection(JobSection, frozen=True, kw_only=True, omit_defaults=True):
    """What `rf.` columns may say: the `rfsched:` section of a config without `command`, and what only rows have."""

    group: Annotated[str | None, Meta(description="Its group; without it, the name of the table.")] = None


OPTIONS = tuple(name for name in RowSection.__struct_fields__ if name != "command")


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a record each thing is, counted from 0."""

    reserved: dict[str, int]
    options: tuple[tuple[int, str], ...]
    """`rf.` columns as (place, key of the `rfsched:` section)."""
    unknown: tuple[int, ...]
    """`rf.` columns that mean nothing: rows that say something there are not queued."""
    parameters: tuple[tuple[int, str], ...]
    nameless: tuple[int, ...]
    notes: frozenset[int]
    missing: tuple[str, ...]
    """Reserved columns that the table does not have."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    usable: bool = True
    """False = no row can be understood."""


def read_columns(grid: Grid, file: str) -> Columns:
    """The meaning of a table's header; `file` is what problems call the table."""
    header = list(grid.header)
    problems = _header_problems(grid, file)
    usable = not problems
    options, unknown = [], []
    for place, name in enumerate(header):
        if not name.startswith(PREFIX):
            continue
        if name[len(PREFIX) :] in OPTIONS:
            options.append((place, name[len(PREFIX) :]))
        else:
            unknown.append(place)
            message = f"there is no column {name}: rows that say something there are not queued"
            problems.append(grid.problem(file, None, place, message, _option_hint(name)))
    ours = {*RESERVED, ""}
    parameters = [
        (place, name) for place, name in enumerate(header) if name not in ours and not name.startswith((PREFIX, NOTE))
    ]
    return Columns(
        reserved={name: header.index(name) for name in RESERVED if name in header},
        options=tuple(options),
        unknown=tuple(unknown),
        parameters=tuple(parameters),
        nameless=tuple(place for place, name in enumerate(header) if not name),
        notes=frozenset(place for place, name in enumerate(header) if name.startswith(NOTE)),
        missing=tuple(name for name in RESERVED if name not in header),
        problems=tuple(problems),
        warnings=tuple(_warnings(file, [name for _, name in parameters])),
        usable=usable,
    )


def _header_problems(grid: Grid, file: str) -> list[Problem]:
    header = list(grid.header)
    found = []
    fault = grid.fault(None)
    if fault is not None:
        found.append(grid.problem(file, None, *fault))
    if not any(header):
        hint = "the first row names the columns, such as: name,lr,cmd"
        return [grid.problem(file, None, None, "the header names no column", hint)]
    number = next((place for place, name in enumerate(header) if name and not isinstance(typed(name), str)), None)
    if number is not None:
        hint = "put a row above that names the columns, such as: name,lr,cmd"
        return [grid.problem(file, None, number, f"{header[number]} names no column: there is no header", hint)]
    odd = next((place for place, name in enumerate(header) if not can_be_carried(name)), None)
    if odd is not None:
        message = "the name of this column holds a character that no command line can carry"
        return [grid.problem(file, None, odd, message, "rename it")]
    count = Counter(name for name in header if name)
    for place, name in enumerate(header):
        if count[name] > 1 and header.index(name) != place:
            hint = "give each column a name of its own"
            found.append(grid.problem(file, None, place, f"the column {name} is there twice", hint))
        elif name not in RESERVED and _plain(name) in (RUN, NEED):
            message = f"the column {name} looks like {_plain(name)}, and is another word"
            found.append(grid.problem(file, None, place, message, f"rename it to {_plain(name)}"))
    return found


def _plain(name: str) -> str:
    word = name.lower().replace(" ", "_").replace("-", "_")
    close = difflib.get_close_matches(word, (RUN, NEED), n=1, cutoff=0.85) if "run" in word else []
    return close[0] if close else word


def _option_hint(name: str) -> str:
    if name == f"{PREFIX}command":
        return "the command of a row is in the column cmd"
    word = name[len(PREFIX) :].lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(word, OPTIONS, n=1, cutoff=0.6)
    return f"did you mean {PREFIX}{close[0]}?" if close else f"there are {', '.join(PREFIX + key for key in OPTIONS)}"


def _warnings(file: str, names: list[str]) -> list[str]:
    found = [
        f"{file}: the column {name!r} has blanks in its name and becomes the one word {'--' + name!r}"
        for name in names
        if len(name.split()) > 1
    ]
    found += [
        f"{file}: the column {name!r} is a parameter; did you mean {name.lower()}?"
        for name in names
        if name.lower() in (NAME, CMD)
    ]
    return found
