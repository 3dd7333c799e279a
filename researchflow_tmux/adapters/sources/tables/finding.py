"""Which task tables there are: all in the job directory and below it, and those that the settings name."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence

import msgspec

from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.adapters.sources.tables.grid import can_be_carried
from researchflow_tmux.adapters.sources.tables.reading import FORMATS, is_table
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.workspace import WorkspacePaths

_LEFT_OVER = re.compile(rf"\..+(?:{'|'.join(map(re.escape, FORMATS))})\.([0-9]+)\.[0-9a-f]{{8}}\.tmp", re.IGNORECASE)


class Found(msgspec.Struct, kw_only=True):
    """The tables, by their paths relative to the workspace, in a fixed order."""

    files: list[str] = msgspec.field(default_factory=list)
    directories: set[str] = msgspec.field(default_factory=set)
    """Where a change matters."""
    problems: list[Problem] = msgspec.field(default_factory=list)


def find(paths: WorkspacePaths, job_dir: str, named: Sequence[str]) -> Found:
    """Look for tables. What a killed process has left beside one while it wrote it is removed."""
    found = Found(directories={job_dir})
    seen: dict[tuple[int, int], str] = {}
    for path in _walk(job_dir, found):
        _add(paths.root, path, found, seen)
    for name in named:
        path = absolute(paths.root, name)
        found.directories.add(os.path.dirname(path))
        if not is_table(os.path.basename(path)):
            what = f"`tables` names {name}, which is no {', '.join(FORMATS)} file"
            found.problems.append(Problem(message=what, file=paths.config))
        elif not os.path.lexists(path):
            what = f"`tables` names {name}, which does not exist"
            found.problems.append(Problem(message=what, file=paths.config, hint=f"looked for {path}"))
        elif os.path.relpath(path, paths.root) not in found.files:
            _add(paths.root, path, found, seen)
    return found


def _walk(job_dir: str, found: Found) -> Iterator[str]:
    for folder, inner, names in os.walk(job_dir):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found.directories.add(folder)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if is_table(name):
                yield path
            elif name.startswith("."):
                _clear_away(path, name)


def _add(root: str, path: str, found: Found, seen: dict[tuple[int, int], str]) -> None:
    file = os.path.relpath(path, root)
    if not can_be_carried(file):
        shown = os.fsencode(file).decode(errors="replace")
        found.problems.append(Problem(message="has a name that is not UTF-8", file=shown, hint="rename it"))
        return
    try:
        status = os.stat(path)
    except OSError:
        found.files.append(file)  # whoever reads it says what is wrong
        return
    first = seen.setdefault((status.st_dev, status.st_ino), file)
    if first != file:
        message = f"is the same file as {first}: its rows run once"
        found.problems.append(Problem(message=message, file=file, hint="keep one of the two names"))
        return
    found.files.append(file)
    if os.path.islink(path):
        found.directories.add(os.path.dirname(os.path.realpath(path)))


def _clear_away(path: str, name: str) -> None:
    ours = _LEFT_OVER.fullmatch(name)
    if ours and not os.path.exists(f"/proc/{ours[1]}"):
        with contextlib.suppress(OSError):
            os.unlink(path)
