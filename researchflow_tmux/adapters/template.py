"""What `rfsched setup` does: a new workspace from the template, or a bash scheduler's workspace taken over."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys

import msgspec

from researchflow_tmux.adapters.config_convert import convert
from researchflow_tmux.adapters.config_file import read_bytes
from researchflow_tmux.adapters.config_reference import SCHEMA_NAME, settings_schema
from researchflow_tmux.adapters.environment import current_umask
from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.workspace import CONFIG_NAME, STATE_DIR

SCRIPT_NAME = "scheduler.sh"
_EXAMPLE = (
    "train.py",
    "data/",
    "configs/",
    "jobs/",
    "sweep_example.yml",
    "pipeline_example.yml",
    "task_table_example.csv",
)
"""Belong together: the example script, its data and its experiments."""
_OUT = "out/.gitkeep"
_SETUP_PYTHON = re.compile(rb"^setup_python=.*$", re.MULTILINE)


class SetupReport(msgspec.Struct, kw_only=True):
    """What setup did; paths are relative to the workspace."""

    workspace: str
    created: list[str] = []
    kept: list[str] = []
    """There already, and not touched."""
    backed_up: list[tuple[str, str]] = []
    """(file, its copy) before it was changed."""
    converted: list[str] = []
    """Changed to our form."""
    notes: list[str] = []
    """What somebody should know or do."""

    def lines(self) -> list[str]:
        """The report for a terminal: what was done, what somebody should know, and the next step."""
        copies = [f"{name} -> {copy}" for name, copy in self.backed_up]
        said = [("created", self.created), ("kept", self.kept), ("backed up", copies), ("converted", self.converted)]
        lines = [f"{self.workspace} is a workspace"]
        lines += [f"  {what:<10} {', '.join(names)}" for what, names in said if names]
        lines += ["  note       " + note.replace("\n", "\n             ") for note in self.notes]
        lines.append(f"next: cd {shlex.quote(self.workspace)} && ./{SCRIPT_NAME} start")
        return lines


def template_dir() -> str:
    """Where the template is: inside the installed package, or beside it in a source tree."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for base in (package, os.path.dirname(package)):
        path = os.path.join(base, "workspace_template")
        if os.path.isfile(os.path.join(path, CONFIG_NAME)):
            return path
    raise UsageError("the workspace template is missing", hint="install researchflow_tmux again")


def setup(workspace: str, force: bool = False) -> SetupReport:
    """Make `workspace` a workspace. Files that are there are never overwritten, but for what `force` names.

    Args:
        workspace: The directory; made if it is missing.
        force: Take over a directory that has a scheduler_config.yml: that file keeps every value and comment, keys
            that mean nothing here become comments, and scheduler.sh is replaced; both after a backup.

    Raises:
        UsageError: It has a config and `force` is not given, or the directory cannot be written.
    """
    root = os.path.abspath(os.path.expanduser(workspace))
    if os.path.exists(root) and not os.path.isdir(root):
        raise UsageError(f"{root} is a file", hint="name a directory")
    if os.path.lexists(os.path.join(root, CONFIG_NAME)) and not force:
        raise UsageError(
            f"{root} has a {CONFIG_NAME} already",
            hint="--force takes it over: your configs, values and comments stay, unknown keys become comments, "
            f"{SCRIPT_NAME} is replaced (a backup stays beside it), and missing files are added",
        )
    try:
        return _Setup(root, force).run()
    except OSError as error:
        raise UsageError(
            f"{error.filename or root} cannot be written: {error.strerror or error}",
            hint="choose a directory that is yours, or correct its permissions",
        ) from error


class _Setup:
    def __init__(self, root: str, force: bool) -> None:
        self.root = root
        self.force = force
        self.source = template_dir()
        self.report = SetupReport(workspace=root)
        self.mask = current_umask()

    def run(self) -> SetupReport:
        os.makedirs(self.root, exist_ok=True)
        taken_over = os.path.lexists(self.path(CONFIG_NAME))
        own_work = taken_over or os.path.lexists(self.path("train.py")) or _has_files(self.path("configs"))
        if taken_over:
            self.take_over_config()
        if own_work and not taken_over:
            self.report.notes.append("the example experiments were left out: there is work of yours here already")
        for name in self.template_files():
            if name == SCRIPT_NAME:
                self.put_script()
            elif not (own_work and name.startswith(_EXAMPLE)) and not (taken_over and name in (CONFIG_NAME, _OUT)):
                self.add(name)
        self.make_private_directory()
        return self.report

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def template_files(self) -> list[str]:
        found = []
        for directory, folders, files in os.walk(self.source):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            found += [os.path.relpath(os.path.join(directory, name), self.source) for name in files]
        return sorted(found)

    def content(self, name: str) -> bytes:
        with open(os.path.join(self.source, name), "rb") as file:
            data = file.read()
        if name == CONFIG_NAME:
            task = re.sub(r"[^A-Za-z0-9_-]+", "_", os.path.basename(self.root)).strip("_-") or "my_experiment"
            # Quoted where YAML would take the folder's name for a number or a word of its own.
            value = task if re.match(r"[A-Za-z]", task) and task.lower() not in _YAML_WORDS else f'"{task}"'
            return data.replace(b"task_name: my_experiment", f"task_name: {value}".encode(), 1)
        if name == SCRIPT_NAME:
            line = f"setup_python={shlex.quote(sys.executable)}".encode()
            return _SETUP_PYTHON.sub(lambda _: line, data, count=1)
        return data

    def add(self, name: str) -> None:
        """Copy one file of the template unless something of that name is there."""
        target = self.path(name)
        if os.path.lexists(target):
            self.report.kept.append(name)
            return
        self.write(name, self.content(name))
        self.report.created.append(name)

    def write(self, name: str, data: bytes) -> None:
        target = self.path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        mode = 0o777 if name == SCRIPT_NAME else 0o666
        write_atomic(target, data, mode & ~self.mask)

    def put_script(self) -> None:
        """scheduler.sh: a new one, or ours in the place of a bash scheduler's, which stays as a backup."""
        target = self.path(SCRIPT_NAME)
        if not os.path.lexists(target):
            self.add(SCRIPT_NAME)
            return
        ours, there = self.content(SCRIPT_NAME), _read_if_file(target)
        if there is not None and _SETUP_PYTHON.sub(b"", there) == _SETUP_PYTHON.sub(b"", ours):
            self.report.kept.append(SCRIPT_NAME)
            if there != ours:
                self.write(SCRIPT_NAME, ours)
                self.report.notes.append(f"{SCRIPT_NAME} now falls back to {sys.executable}")
        elif not self.force:
            self.report.kept.append(SCRIPT_NAME)
            self.report.notes.append(f"{SCRIPT_NAME} was there and stays as it is; --force replaces it by ours")
        else:
            self.back_up(SCRIPT_NAME)
            self.write(SCRIPT_NAME, ours)
            self.report.converted.append(SCRIPT_NAME)

    def take_over_config(self) -> None:
        """Keep the user's config byte for byte, but for keys that mean nothing here."""
        target = self.path(CONFIG_NAME)
        data = read_bytes(target)
        found = convert(data, target)
        self.report.notes += found.notes
        if found.data == data:
            self.report.kept.append(CONFIG_NAME)
            return
        self.back_up(CONFIG_NAME)
        real = os.path.realpath(target)
        write_atomic(real, found.data, stat.S_IMODE(os.stat(real).st_mode))
        self.report.converted.append(CONFIG_NAME)

    def back_up(self, name: str) -> None:
        """Leave what is there now as `name.bak`, `.bak2`, …: the first that is free."""
        source = self.path(name)
        number = 1
        while True:
            copy = f"{source}.bak{'' if number == 1 else number}"
            try:
                if os.path.islink(source):
                    os.symlink(os.readlink(source), copy)
                else:
                    _copy_new(source, copy)
            except FileExistsError:
                number += 1
                continue
            self.report.backed_up.append((name, os.path.basename(copy)))
            return

    def make_private_directory(self) -> None:
        """The state directory, with the schema that editors read."""
        directory = self.path(STATE_DIR)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if stat.S_IMODE(os.stat(directory).st_mode) != 0o700:
            os.chmod(directory, 0o700)
        name = os.path.join(STATE_DIR, SCHEMA_NAME)
        text = json.dumps(settings_schema(), indent=2) + "\n"
        if _read_if_file(self.path(name)) == text.encode():
            self.report.kept.append(name)
            return
        write_atomic(self.path(name), text, 0o600)
        self.report.created.append(name)


_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _has_files(directory: str) -> bool:
    return os.path.isdir(directory) and bool(os.listdir(directory))


def _read_if_file(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _copy_new(source: str, copy: str) -> None:
    """Copy a file to a name that must be free, with its mode; on disk on return."""
    with open(source, "rb") as file:
        data, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    with open(copy, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
