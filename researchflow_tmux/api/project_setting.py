"""`project set`: what one project or user may have, changed in a file and in force at once."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.adapters import machine_projects
from researchflow_tmux.adapters.config_file import parse_settings, read_bytes
from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.machine_projects import MachineWide
from researchflow_tmux.adapters.project_edit import edit
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import ConfigError, Problem, UsageError
from researchflow_tmux.domain.projects import Project, User

_REQUIRED = {"weight": "1", "period": "month"}
"""What stands for "none" of values that are always there."""


class ProjectSet(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed, and where."""

    name: str
    section: str
    """`projects` or `users`."""
    path: str
    new: bool
    """It was not there before."""
    values: dict[str, str]
    notes: list[str] = []
    running: bool = False
    """A scheduler of this workspace took it over."""


def set_allowance(
    workspace: Workspace, name: str, words: Sequence[str], *, user: bool, machine: bool, now: datetime
) -> ProjectSet:
    """Change values of a project or user, given as KEY=VALUE, in scheduler_config.yml or the machine's file.

    Raises UsageError or ConfigError with every problem; then the file is as it was.
    """
    section = "users" if user else "projects"
    values = _values(words, section, now)
    path = _machine_file() if machine else workspace.paths.config
    before = _content(path, machine=machine)
    known = _known(before, path, machine=machine)
    changed = edit(before, path, section, name, values)
    _check(changed, path, machine=machine)
    shared = None if machine else machine_projects.load(os.environ)
    _write(path, changed, machine=machine)
    workspace.forget_settings()
    running = asking.scheduler(workspace.paths) is not None
    if running:
        workspace.ask("reload", {})
    return ProjectSet(
        name=name,
        section=section,
        path=path,
        new=name not in known[section],
        values=values,
        running=running,
        notes=_notes(workspace, name, section, known[section], values, shared),
    )


def _values(words: Sequence[str], section: str, now: datetime) -> dict[str, str]:
    keys = (User if section == "users" else Project).__struct_fields__
    values: dict[str, str] = {}
    problems = []
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            problems.append(f"{word!r} is not of the form KEY=VALUE")
        elif key not in keys:
            close = difflib.get_close_matches(key.lower(), keys, n=1)
            problems.append(f"no key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        elif key in values:
            problems.append(f"{key} is there twice")
        else:
            values[key] = _REQUIRED.get(key, "null") if text.strip().lower() in ("", "none") else text.strip()
            problems += _over(key, text, now)
    if problems or not values:
        raise UsageError("\n".join(problems or ["set what?"]), hint=f"KEY=VALUE, KEY one of {', '.join(keys)}")
    return values


def _over(key: str, text: str, now: datetime) -> list[str]:
    """A deadline that nobody can make any more. What is no moment is refused with the file."""
    try:
        return [f"deadline: {text} is over"] if key == "deadline" and parse_deadline(text) <= now else []
    except ValueError:
        return []


def _machine_file() -> str:
    """The machine's file, or where a new one goes."""
    return machine_projects.path_of(os.environ) or machine_projects.beside_leases(os.environ)


def _content(path: str, *, machine: bool) -> bytes:
    if machine and not os.path.exists(path):
        return b"# Projects and users that the workspaces of this machine share; `rfsched project` shows them.\n"
    return read_bytes(path)


def _known(data: bytes, path: str, *, machine: bool) -> Mapping[str, Sequence[str]]:
    try:
        found = machine_projects.parse(data, path) if machine else parse_settings(data, path).settings
    except ConfigError:
        return {"projects": (), "users": ()}
    return {"projects": list(found.projects), "users": list(found.users)}


def _check(data: bytes, path: str, *, machine: bool) -> None:
    """Raises ConfigError with every problem of what the file would be: of those that it has now, too."""
    if machine:
        machine_projects.parse(data, path)
    else:
        parse_settings(data, path)


def _write(path: str, data: bytes, *, machine: bool) -> None:
    real = os.path.realpath(path)
    try:
        mode = stat.S_IMODE(os.stat(real).st_mode) if os.path.exists(real) else 0o644 if machine else 0o600
        os.makedirs(os.path.dirname(real), exist_ok=True)
        write_atomic(real, data, mode)
    except OSError as error:
        hint = "it is its owner who can change what all share" if machine else None
        raise ConfigError([Problem(message=f"cannot be written: {error.strerror}", file=path, hint=hint)]) from None


def _notes(
    workspace: Workspace,
    name: str,
    section: str,
    known: Sequence[str],
    keys: Collection[str],
    shared: MachineWide | None,
) -> list[str]:
    """`shared` = the machine's projects, if it is not they that were changed."""
    found = []
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        found.append(f"there was no {section.removesuffix('s')} {name!r} so far{meant}")
    if shared is not None and name in getattr(shared, section):
        found.append(f"{name} is in {shared.path}: here it can be lowered for this workspace; --machine changes it")
    if not {"weight", "deadline"}.isdisjoint(keys) and workspace.settings.policy == "queue":
        found.append("weights and deadlines matter only when a `policy` is chosen, such as `balanced`")
    return found
