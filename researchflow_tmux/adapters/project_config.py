"""Reads the `projects:` and `users:` of a workspace."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from researchflow_tmux.adapters.config_checks import check_memory
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.deadlines import check_deadline
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Scalar
from researchflow_tmux.domain.projects import Allowance, Project, User

_EXAMPLES: dict[type[Allowance], str] = {
    Project: "such as `vision: {weight: 2, max_gpus: 4}`",
    User: "such as `ann: {max_gpus: 4, gpu_hours: 500}`",
}
_CHECKS = {"max_memory": check_memory, "deadline": check_deadline}
A = TypeVar("A", bound=Allowance)


def read_projects(reader: Reader, entry: Entry, key: str) -> dict[str, Project]:
    """The projects by name; problems go to the reader."""
    return _read(reader, entry, key, Project)


def read_users(reader: Reader, entry: Entry, key: str) -> dict[str, User]:
    """The users by login name; problems go to the reader."""
    return _read(reader, entry, key, User)


def _read(reader: Reader, entry: Entry, key: str, struct: type[A]) -> dict[str, A]:
    node, example = entry.value, _EXAMPLES[struct]
    if isinstance(node, Scalar) and node.is_null:
        return {}
    if not isinstance(node, Mapping):
        reader.fail(entry, f"{key}: expected lines of `NAME: {{key: value}}`", example)
        return {}
    for first, again in node.duplicates():
        reader.fail(again.key, f"{key}.{again.name} is there twice; first in line {first.key.start.line}")
    found: dict[str, A] = {}
    for each in node.entries:
        if each.name is None:
            reader.fail(each.key, f"{key}: the name must be a simple word")
        elif isinstance(each.value, Scalar) and each.value.is_null:
            found[each.name] = struct()
        elif not isinstance(each.value, Mapping):
            reader.fail(each, f"{key}.{each.name}: expected `{{key: value}}`", example)
        else:
            given = reader.fields(each.value, struct, _CHECKS, prefix=f"{key}.{each.name}.")
            found[each.name] = struct(**{name: value for name, (value, _) in given.items()})
    return found


def allowances_schema(struct: type[Allowance]) -> dict[str, Any]:
    """JSON Schema of `projects` or `users`, for editors."""
    one = msgspec.json.schema(struct)["$defs"][struct.__name__]
    one.pop("title", None)
    return {"type": "object", "additionalProperties": {**one, "type": ["object", "null"]}, "default": {}}
