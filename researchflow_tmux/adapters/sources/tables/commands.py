"""From a row to its command: the cell `cmd`, the template `table_command`, or a Python function."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import researchflow_tmux
from researchflow_tmux.adapters.commands import Command, CommandBuilder
from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.adapters.sources.tables.rows import Row
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

MOST_BYTES = 100_000
"""The kernel takes no longer word, and no editor shows one."""

_FUNCTION = re.compile(r"(?:.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")
_LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(researchflow_tmux.__file__)), "job", "table_function.py")
_FROM_FUNCTION = "{python} {launcher} {function} {variable} {row}"


class RowCommands:
    """Makes the commands of the rows of all tables; what they share is looked up once."""

    def __init__(self, settings: Settings, variables: Mapping[str, str], paths: WorkspacePaths) -> None:
        self._settings = settings
        self._root = paths.root
        self._builder = CommandBuilder(settings, variables, paths)

    def build(self, row: Row, names: Sequence[str]) -> Command:
        """The command of a row; `names` are all parameters, also those that it leaves empty. Raises ConfigError."""
        function = self._settings.table_function
        command = self._from_function(row, names, function) if function else self._from_template(row, names)
        size = max(len(word.encode()) for word in (*command.argv, command.shell or ""))
        if size > MOST_BYTES:
            raise _error(
                f"its command would be {size} bytes long; {MOST_BYTES} are possible", "put long texts into files"
            )
        return command

    def _from_template(self, row: Row, names: Sequence[str]) -> Command:
        template = self._settings.table_command or row.cmd
        if row.cmd and "{cmd}" not in self._settings.table_command:
            template = row.cmd  # what the row says itself holds before what is said for all
        if not template:
            hint = "fill in the cell cmd, or set table_command, such as: python train.py {args}"
            raise _error("has no command", hint)
        cells = row.parameters
        given: dict[str, str | list[str]] = {name: cells[name].text if name in cells else "" for name in names}
        given |= {"args": arguments(row), "name": row.name, "row": _json(row, names)}
        if "{cmd}" in template and template != row.cmd:
            template = template.replace("{cmd}", row.cmd)
        if not any(f"{{{name}}}" in template for name in given):
            template = f"{template} {{args}}"
        return self._builder.fill(template, given)

    def _from_function(self, row: Row, names: Sequence[str], function: str) -> Command:
        if not _FUNCTION.fullmatch(function):
            hint = "write table_function: module:function, or path/to/file.py:function"
            raise _error(f"table_function is {function!r}, which names no function", hint)
        place, _, name = function.rpartition(":")
        if place.endswith(".py"):
            place = absolute(self._root, place)
            if not os.path.isfile(place):
                raise _error(f"table_function names {place}, which does not exist", "correct scheduler_config.yml")
        given = {
            "launcher": _LAUNCHER,
            "function": f"{place}:{name}",
            "variable": self._settings.cuda_visible_devices_var,
            "row": _json(row, names),
        }
        return self._builder.fill(_FROM_FUNCTION, given)


def arguments(row: Row) -> list[str]:
    """`--key value` for every parameter that has a value, in the order of the columns."""
    words = []
    for name, cell in row.parameters.items():
        words += [name if name.startswith("-") else f"--{name}", cell.text]
    return words


def values_of(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """The parameters with their values; None = the cell is blank."""
    cells = row.parameters
    return {name: cells[name].value if name in cells else None for name in names}


def _json(row: Row, names: Sequence[str]) -> str:
    whole = {"parameters": values_of(row, names), "name": row.name, "cmd": row.cmd}
    return json.dumps(whole, ensure_ascii=False)  # whole numbers of any size


def _error(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message=message, hint=hint)])
