"""Projects and users that several workspaces and users of a machine share: one file beside or above all of them.

It has the same `projects:` and `users:` as scheduler_config.yml, and nothing else. What a workspace says of the same
names refines it and can lower it, never raise it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.files import read_at_most
from researchflow_tmux.adapters.project_config import read_projects, read_users
from researchflow_tmux.adapters.yaml_nodes import Mapping as YamlMapping
from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.projects import Allowance, Project, User
from researchflow_tmux.domain.units import parse_size
from researchflow_tmux.domain.workspace import Settings
from researchflow_tmux.runner import tickets

VARIABLE = "RFSCHED_PROJECTS"
SYSTEM = "/etc/rfsched/projects.yml"
NAME = "projects.yml"
_BOUNDS = ("max_gpus", "max_cpus", "gpu_hours", "cpu_hours", "memory_hours")
A = TypeVar("A", bound=Allowance)


class MachineWide(msgspec.Struct, frozen=True, kw_only=True):
    """What that file says."""

    path: str
    projects: dict[str, Project] = {}
    users: dict[str, User] = {}


class _Sections(msgspec.Struct, frozen=True, kw_only=True):
    projects: dict[str, Any] = {}
    users: dict[str, Any] = {}


def path_of(environ: Mapping[str, str]) -> str | None:
    """The file that counts: $RFSCHED_PROJECTS, /etc/rfsched/projects.yml, or projects.yml beside the leases.

    The last one only if it is root's or one's own: anybody may put a file there. None = there is none.
    """
    chosen = environ.get(VARIABLE)
    if chosen:
        return os.path.abspath(chosen)
    if os.path.exists(SYSTEM):
        return SYSTEM
    beside = beside_leases(environ)
    try:
        found = os.lstat(beside)
    except OSError:
        return None
    return beside if stat.S_ISREG(found.st_mode) and found.st_uid in (0, os.geteuid()) else None


def beside_leases(environ: Mapping[str, str]) -> str:
    """Where the file is, or may be made, that needs no root: in the lease directory."""
    return os.path.join(environ.get("RFSCHED_LEASE_DIR") or tickets.default_dir(), NAME)


def directories(environ: Mapping[str, str]) -> list[str]:
    """Where that file is, or may appear."""
    chosen = environ.get(VARIABLE)
    places = [chosen] if chosen else [SYSTEM, beside_leases(environ)]
    return [os.path.dirname(os.path.abspath(place)) for place in places]


def load(environ: Mapping[str, str]) -> MachineWide | None:
    """What the machine's file says; None = there is none. Raises ConfigError with every problem of it."""
    path = path_of(environ)
    if path is None:
        return None
    try:
        data = read_at_most(path, yaml_tree.MAX_BYTES + 1)
    except OSError as error:
        named = f"{VARIABLE} names it; unset it, or make the file" if environ.get(VARIABLE) else None
        raise ConfigError(
            [Problem(message=f"cannot be read: {error.strerror or error}", file=path, hint=named)]
        ) from None
    return parse(data, path)


def parse(data: bytes, path: str) -> MachineWide:
    """What `data` says; `path` is what problems call it."""
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    root = document.root
    if root is None:
        return MachineWide(path=path)
    if not isinstance(root, YamlMapping):
        raise ConfigError([document.problem(root.start, "expected `projects:` and `users:`")])
    reader = Reader(document)
    found = reader.fields(root, _Sections, {}, special={"projects": read_projects, "users": read_users})
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return MachineWide(path=path, **{name: value for name, (value, _) in found.items()})


def version_of(environ: Mapping[str, str]) -> tuple[object, ...]:
    """Which file counts, and which version of it: another value = read it again."""
    path = path_of(environ)
    try:
        found = os.stat(path or "")
    except OSError:
        return (path,)
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def shared_owners(machine: MachineWide | None) -> frozenset[Owner]:
    """Whose accounts are the whole machine's."""
    if machine is None:
        return frozenset()
    users = (Owner("user", name) for name in machine.users)
    return frozenset(Owner("project", name) for name in machine.projects).union(users)


def with_machine(settings: Settings, machine: MachineWide | None) -> Settings:
    """The settings of a workspace on a machine with such a file."""
    if machine is None or not (machine.projects or machine.users):
        return settings
    projects = {**settings.projects, **machine.projects}
    for name in machine.projects.keys() & settings.projects.keys():
        own, common = settings.projects[name], machine.projects[name]
        projects[name] = replace(_lower(own, common), deadline=own.deadline or common.deadline)
    users = {**settings.users, **machine.users}
    for name in machine.users.keys() & settings.users.keys():
        users[name] = _lower(settings.users[name], machine.users[name])
    return replace(settings, projects=projects, users=users)


def _lower(own: A, common: A) -> A:
    """The machine's allowance, with what the workspace sets lower. Budgets count by the machine's period."""
    changes: dict[str, Any] = {
        name: value
        for name in _BOUNDS
        if (value := getattr(own, name)) is not None
        and (getattr(common, name) is None or value < getattr(common, name))
        and (not name.endswith("_hours") or own.period == common.period)
    }
    memory = own.max_memory
    if memory is not None and (common.max_memory is None or parse_size(memory) < parse_size(common.max_memory)):
        changes["max_memory"] = memory
    return replace(common, **changes)
