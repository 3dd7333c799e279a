"""Values as a record keeps them: in JSON's types, of a bounded size, without what is nobody's business."""

from __future__ import annotations

import math
import os
import re
import shlex
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.job import JobSpec

MAX_CONFIG_BYTES = 256 * 1024
"""A longer config is not taken into the index, where it would be read with every look at the results."""
MAX_OUTPUTS = 200
MAX_LOOKED_AT = 20_000
"""Files of an output directory that are looked at: it may be shared by a hundred thousand jobs."""
SECTION = "rfsched"
_INT64 = 2**63
_CHECKED = re.compile(r"^rf_check (?:[\w@%+=:,./-]+|(?:'[^']*'|\"'\")+)\n", re.MULTILINE)
_MODULES = re.compile(r"\Aif ! command -v module >/dev/null.*?^fi\n", re.MULTILINE | re.DOTALL)
_CONDA = re.compile(r"^.*rfsched: conda could not activate .*\n", re.MULTILINE)


def storable(value: Any) -> Any:
    """`value` in JSON's types: what JSON cannot say (infinity, not-a-number, odd keys, wild bytes) as its text."""
    match value:
        case dict():
            return {storable(str(key)): storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case None | bool():
            return value
        case int() if -_INT64 <= value < _INT64:
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            return str(value).encode("utf-8", "backslashreplace").decode()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A job's config as a record has it."""

    values: Any = None
    """None = no YAML or JSON, or too long."""
    holds_variables: bool = False
    """It sets variables for the job, whose values (keys and tokens, often) are not for a record."""


def read_config(path: str) -> Config:
    """The job's config as plain values, without the variables that it sets for the job. Never raises."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            return Config(holds_variables=_mentions_variables(data))
        root = yaml_tree.parse(yaml_tree.decode(data, path), path, first_document_only=True).root
        values = None if root is None else storable(root.value())
        if len(msgspec.json.encode(values)) > 4 * MAX_CONFIG_BYTES:  # a few aliases can stand for millions of values
            return Config(holds_variables=_mentions_variables(data))
    except (OSError, ConfigError, ValueError):
        return Config()
    if not isinstance(values, dict):
        return Config(values=values)
    section = values.get(SECTION)
    if not isinstance(section, dict) or not section.get("env"):
        return Config(values=values)
    return Config(values={**values, SECTION: {**section, "env": sorted(section["env"])}}, holds_variables=True)


def _mentions_variables(data: bytes) -> bool:
    return SECTION.encode() in data


def typed_command(spec: JobSpec) -> str:
    """The command as the user typed it: without the lines that the workspace's `before` and conda put in front."""
    if spec.shell is None:
        return shlex.join(spec.argv)
    text = spec.shell
    for pattern in (_MODULES, _CHECKED, _CONDA):
        ends = [found.end() for found in pattern.finditer(text)]
        text = text[ends[-1] :] if ends else text
    return text.strip("\n").removeprefix("exec ")


def outputs(spec: JobSpec, since: float | None) -> list[str]:
    """What in the job's output directory carries its name and was written during the run; at most MAX_OUTPUTS paths."""
    directory = spec.output_dir
    if directory is None or since is None:
        return []
    found: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for seen, entry in enumerate(entries):
                if len(found) >= MAX_OUTPUTS or seen >= MAX_LOOKED_AT:
                    break
                if _is_named_after(entry.name, spec.name) and entry.stat().st_mtime >= since - 1.0:
                    found.append(entry.path)
    except OSError:
        pass  # not there, or going away while we look: what was found counts
    return sorted(found)


def _is_named_after(file: str, job: str) -> bool:
    """`exp1.pt` and `exp1_best.pt` belong to exp1, `exp10.pt` does not."""
    return file.startswith(job) and not file[len(job) : len(job) + 1].isalnum()


def text_of(path: str | None, most_bytes: int) -> str | None:
    """The beginning of a file as text; None = it is not there."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read(most_bytes).decode("utf-8", "replace")
    except OSError:
        return None
