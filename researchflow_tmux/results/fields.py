"""Naming a value inside an entry: "accuracy", "training.lr", "metadata.model", "uuid"."""

from __future__ import annotations

from typing import Any

from researchflow_tmux.results.values import Entry, section

SECTIONS = ("metadata", "extra_info", "attachments")
MISSING = object()
"""What `lookup` returns for a value that is not there, to tell it from null."""


def lookup(entry: Entry, name: str) -> Any:
    """The value that `name` means, or MISSING.

    `uuid` is the uuid. A section's name in front (`metadata.`, `extra_info.`, `attachments.`) looks only there; else
    metadata is searched, then extra_info. A dot goes one level down, unless there is a key with that very dot in it.
    """
    if name == "uuid":
        return entry.get("uuid", MISSING)
    head, dot, rest = name.partition(".")
    if dot and head in SECTIONS:
        return descend(section(entry, head), rest)
    for place in ("metadata", "extra_info"):
        value = descend(section(entry, place), name)
        if value is not MISSING:
            return value
    return MISSING


def descend(value: Any, path: str) -> Any:
    """The value at `path` below a dictionary, or MISSING. The longest key that is there wins: "a.b" before "a", "b"."""
    if not isinstance(value, dict):
        return MISSING
    if path in value:
        return value[path]
    end = path.rfind(".")
    while end > 0:
        if path[:end] in value:
            found = descend(value[path[:end]], path[end + 1 :])
            if found is not MISSING:
                return found
        end = path.rfind(".", 0, end)
    return MISSING


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots. Lists and empty dictionaries stay values."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= flat(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = inner
    return found
