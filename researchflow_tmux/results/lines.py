"""Entries as JSON Lines: one entry a line, for export and import."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from researchflow_tmux.results.errors import NotStorable, StorageUnusable
from researchflow_tmux.results.fields import SECTIONS
from researchflow_tmux.results.values import Entry, storable


def write_lines(path: str, entries: Iterable[Entry]) -> int:
    """Write the file whole or not at all; return the number of entries. Raises StorageUnusable."""
    new = f"{path}.{os.getpid()}.tmp"
    count = 0
    try:
        with open(new, "x", encoding="utf-8") as file:
            for entry in entries:
                file.write(json.dumps(entry) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise StorageUnusable(f"{path} cannot be written: {error.strerror}", hint="choose another file") from error
    return count


def read_lines(path: str) -> dict[str, Entry]:
    """The entries of a file by uuid. Raises NotStorable naming the line, StorageUnusable if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(_entries(path, file))
    except OSError as error:
        raise StorageUnusable(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise NotStorable(f"{path} is not UTF-8: {error}", hint="export it again") from error


def _entries(path: str, lines: Iterable[str]) -> Iterator[tuple[str, Entry]]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        entry = _entry(place, line)
        uuid = entry["uuid"]
        if uuid in seen:
            raise NotStorable(f"{place}: uuid {uuid} was on line {seen[uuid]} already", hint="remove one of them")
        seen[uuid] = number
        yield uuid, entry


def _entry(place: str, line: str) -> Entry:
    hint = 'a line is {"uuid": "…", "metadata": {…}, "extra_info": {…}, "attachments": {…}}'
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotStorable(f"{place}: not JSON: {error}", hint=hint) from error
    if not isinstance(found, dict) or not isinstance(found.get("uuid"), str) or not found["uuid"]:
        raise NotStorable(f"{place}: no object with a uuid", hint=hint)
    for name in SECTIONS:
        if not isinstance(found.setdefault(name, {}), dict):
            raise NotStorable(f"{place}: {name} is a {type(found[name]).__name__}", hint=hint)
    return storable(found, f"{place}: entry")
