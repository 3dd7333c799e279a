"""A job's own config: it belongs to the user's script, but for its `rfsched:` section and `root_dir`."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_checks import SECTION_CHECKS, placeholder_warnings
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.yaml_nodes import Mapping, Node, Scalar
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import JobSection

SECTION = "rfsched"
ROOT_DIR = "root_dir"

_MENTIONS_SECTION = re.compile(r"""^[ \t{,]*["']?\[?rfsched["']?[ \t]*[]:=]""", re.MULTILINE)


class JobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's config says to the scheduler."""

    section: JobSection
    root_dir: str | None = None
    """As written; takes the place of output_dir for this job's marker."""
    warnings: tuple[str, ...] = ()


def parse_job_config(data: bytes, path: str) -> JobConfig:
    """Read what concerns the scheduler in the config that `data` is; `path` is what problems call it.

    A file that is named `.yml` or `.yaml` must be YAML. Anything else (TOML, an .ini, a binary file) is the script's
    business alone, unless it seems to have a section for us that cannot be read.

    Raises:
        ConfigError: With every problem of the section, or the syntax error.
    """
    is_yaml = path.lower().endswith((".yml", ".yaml"))
    document = None
    try:
        document = yaml_tree.parse(yaml_tree.decode(data, path), path, first_document_only=True)
    except ConfigError:
        if is_yaml:
            raise
    if document is not None and isinstance(document.root, Mapping):
        return _from_root(document, document.root)
    if not is_yaml and _MENTIONS_SECTION.search(data[: yaml_tree.MAX_BYTES].decode("utf-8", "replace")):
        message = f"has an `{SECTION}` section, but is neither YAML nor JSON: the section cannot be read"
        hint = "give these settings in scheduler_config.yml, or write the config as YAML"
        raise ConfigError([Problem(message=message, file=path, hint=hint)])
    return JobConfig(section=JobSection())


def _from_root(document: yaml_tree.Document, root: Mapping) -> JobConfig:
    reader = Reader(document)
    warnings: list[str] = []
    for first, again in root.duplicates():
        if again.name in (SECTION, ROOT_DIR):
            reader.fail(again.key, f"{again.name} is there twice; first in line {first.key.start.line}")
    values = section_values(reader, root)
    if reader.problems:
        raise ConfigError(reader.problems)
    section = JobSection(**values)
    if section.command is not None:
        warnings += [f"{document.file}: {text}" for text in placeholder_warnings("rfsched.command", section.command)]
    entry = root.get(ROOT_DIR)
    root_dir = _root_dir(entry.value, document.file, warnings) if entry else None
    return JobConfig(section=section, root_dir=root_dir, warnings=tuple(warnings))


def section_values(reader: Reader, root: Mapping) -> dict[str, Any]:
    """What the `rfsched:` section of a file sets; its problems go to the reader."""
    entry = root.get(SECTION)
    if entry is None or (isinstance(entry.value, Scalar) and entry.value.is_null):
        return {}
    if not isinstance(entry.value, Mapping):
        reader.fail(entry, f"`{SECTION}:` is reserved for the scheduler: expected lines of `key: value` under it")
        return {}
    found = reader.fields(entry.value, JobSection, SECTION_CHECKS, prefix=f"{SECTION}.")
    return {name: value for name, (value, _) in found.items()}


def _root_dir(node: Node, file: str, warnings: list[str]) -> str | None:
    """The key is the script's; only a plain path in it says something to us."""
    if not isinstance(node, Scalar) or node.is_null or not node.text.strip() or "\0" in node.text:
        return None
    if "$" in node.text:
        name = os.path.basename(file)
        warnings.append(f"{name}: root_dir holds a `$` that only the script can fill in; its marker is in output_dir")
        return None
    return node.text
