"""Reads scheduler_config.yml; every problem at once, and for every value where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping as Environ
from typing import Any

import msgspec

from researchflow_tmux.adapters import machine_projects, yaml_tree
from researchflow_tmux.adapters.config_checks import SETTINGS_CHECKS, warnings_of
from researchflow_tmux.adapters.config_fields import Reader, Special
from researchflow_tmux.adapters.files import read_at_most
from researchflow_tmux.adapters.hook_config import read_hooks
from researchflow_tmux.adapters.machine_projects import MachineWide
from researchflow_tmux.adapters.project_config import read_projects, read_users
from researchflow_tmux.adapters.yaml_nodes import Mapping
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import Settings


class LoadedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, and what is known about them."""

    settings: Settings
    origins: dict[str, str]
    """Where each value is set: `file:line`, or "default". Every key is there."""
    warnings: tuple[str, ...] = ()
    machine: MachineWide | None = None
    """What all workspaces of this machine share; it is part of `settings`."""


def load_settings(path: str, environ: Environ[str, str] | None = None) -> LoadedSettings:
    """Read the settings of a workspace, with the projects and users of its machine.

    Raises:
        ConfigError: With every problem of the file, or of that of the machine.
    """
    own = parse_settings(read_bytes(path), path)
    machine = machine_projects.load(os.environ if environ is None else environ)
    if machine is None:
        return own
    settings = machine_projects.with_machine(own.settings, machine)
    also = {key: f"{own.origins[key]} and {machine.path}" for key in ("projects", "users") if getattr(machine, key)}
    return msgspec.structs.replace(own, settings=settings, origins=own.origins | also, machine=machine)


def read_bytes(path: str) -> bytes:
    """The bytes of a config (never endlessly many). Raises ConfigError in plain words."""
    try:
        return read_at_most(path, yaml_tree.MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "`rfsched setup DIRECTORY` makes a workspace; inside one, any command finds its config"
        raise ConfigError([Problem(message="there is no such file", file=path, hint=hint)]) from None
    except OSError as error:
        raise ConfigError([Problem(message=f"cannot be read: {error.strerror or error}", file=path)]) from None


_SPECIAL: dict[str, Special] = {"hooks": read_hooks, "projects": read_projects, "users": read_users}


def parse_settings(data: bytes, path: str) -> LoadedSettings:
    """The settings that `data` means; `path` is what problems call it."""
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    root = document.root
    if root is not None and not isinstance(root, Mapping):
        raise ConfigError([document.problem(root.start, "expected lines of `key: value`")])
    reader = Reader(document)
    found = reader.fields(root, Settings, SETTINGS_CHECKS, special=_SPECIAL) if root is not None else {}
    if "task_name" not in found and not (root and root.get("task_name")):
        folder = os.path.basename(os.path.dirname(os.path.abspath(path))) or "my_task"
        hint = f"it names the tmux sessions; for example `task_name: {folder}`"
        reader.problems.append(document.problem(None, "task_name is missing", hint))
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    values: dict[str, Any] = {name: value for name, (value, _) in found.items()}
    settings = Settings(**values)
    origins = dict.fromkeys(Settings.__struct_fields__, "default")
    origins.update({name: f"{path}:{entry.key.start.line}" for name, (_, entry) in found.items()})
    return LoadedSettings(settings=settings, origins=origins, warnings=tuple(warnings_of(settings, set(values))))
