"""Reads the `projects:` of a workspace, and deadlines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.config_fields import Reader, show
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Scalar
from researchflow_tmux.domain.projects import Project

_EXAMPLE = "such as `vision: {weight: 2, max_gpus: 4}`"
DEADLINE_WORDS = "a date or a moment such as `2026-12-01` or `2026-12-01 18:00`"


def read_projects(reader: Reader, entry: Entry, key: str) -> dict[str, Project]:
    """The projects by name; problems go to the reader."""
    node = entry.value
    if isinstance(node, Scalar) and node.is_null:
        return {}
    if not isinstance(node, Mapping):
        reader.fail(entry, f"{key}: expected lines of `NAME: {{weight: N}}`", _EXAMPLE)
        return {}
    for first, again in node.duplicates():
        reader.fail(again.key, f"{key}.{again.name} is there twice; first in line {first.key.start.line}")
    found: dict[str, Project] = {}
    for each in node.entries:
        if each.name is None:
            reader.fail(each.key, f"{key}: the name of a project must be a simple word")
        elif isinstance(each.value, Scalar) and each.value.is_null:
            found[each.name] = Project()
        elif not isinstance(each.value, Mapping):
            reader.fail(each, f"{key}.{each.name}: expected `{{weight: N, max_gpus: N}}`", _EXAMPLE)
        else:
            given = reader.fields(each.value, Project, {}, prefix=f"{key}.{each.name}.")
            found[each.name] = Project(**{name: value for name, (value, _) in given.items()})
    return found


def projects_schema() -> dict[str, Any]:
    """JSON Schema of `projects`, for editors."""
    project = msgspec.json.schema(Project)["$defs"]["Project"]
    project.pop("title", None)
    return {"type": "object", "additionalProperties": {**project, "type": ["object", "null"]}, "default": {}}


def parse_deadline(text: str) -> datetime:
    """A moment; without a time zone it is local, a date alone is its end. Raises ValueError saying what is expected."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected {DEADLINE_WORDS}, got {show(text)}") from None
    if len(text.strip()) <= len("2026-12-01"):
        found = found.replace(hour=23, minute=59, second=59)
    return found if found.tzinfo is not None else found.astimezone()


def check_deadline(value: str | None) -> str | None:
    """Something that can be a deadline."""
    try:
        parse_deadline(value or "2026-12-01")
    except ValueError as error:
        return str(error)
    return None
