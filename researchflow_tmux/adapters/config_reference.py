"""What the settings are, for editors (JSON Schema) and for people (Markdown): both made from the Struct itself."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from researchflow_tmux.adapters.config_fields import show
from researchflow_tmux.adapters.config_words import default_of, description, expected, members, type_of
from researchflow_tmux.adapters.hook_config import hooks_schema
from researchflow_tmux.adapters.project_config import allowances_schema
from researchflow_tmux.domain.projects import Project, User
from researchflow_tmux.domain.workspace import JobSection, Settings

SCHEMA_NAME = "scheduler_config.schema.json"


def settings_schema() -> dict[str, Any]:
    """JSON Schema of scheduler_config.yml, in the draft that YAML editors know best."""
    schema = msgspec.json.schema(Settings)
    body: dict[str, Any] = schema["$defs"]["Settings"]
    properties = body["properties"]
    properties["hooks"] = hooks_schema() | {"description": properties["hooks"]["description"]}
    for key, struct in (("projects", Project), ("users", User)):
        properties[key] = allowances_schema(struct) | {"description": properties[key]["description"]}
    for field in msgspec.structs.fields(Settings):
        _allow_empty(properties[field.name], field.type, field.required)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "scheduler_config.yml",
        "description": "Settings of an rfsched workspace.",
        "type": "object",
        "properties": properties,
        "required": body.get("required", []),
        "additionalProperties": False,
    }


def _allow_empty(schema: dict[str, Any], field_type: Any, required: bool) -> None:
    """An empty value of an optional text, list or mapping counts as its default: no editor should complain."""
    kinds = members(type_of(field_type))
    lenient = any(isinstance(kind, inspect.StrType | inspect.ListType | inspect.DictType) for kind in kinds)
    if required or not lenient:
        return
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    elif "anyOf" in schema and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"].append({"type": "null"})


def reference_markdown() -> str:
    """Every key of scheduler_config.yml and of a job config's `rfsched:` section, as two tables."""
    return (
        "## scheduler_config.yml\n\n"
        + _table(Settings)
        + "\n## A project, and a user\n\nThe keys of each entry of `projects`. A user has the same but `weight` and "
        + "`deadline`.\n\n"
        + _table(Project)
        + "\n## The `rfsched:` section of a job's own config\n\n"
        + _table(JobSection)
    )


def _table(struct: type[msgspec.Struct]) -> str:
    rows = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = default_of(field)
        cells = (f"`{field.name}`", expected(type_of(field.type)), _default(default), description(field.type))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "must be given"
    if value is None or value in ("", [], {}):
        return "empty"
    return f"`{value}`" if isinstance(value, str) else f"`{show(value)}`"
