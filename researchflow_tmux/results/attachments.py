"""Attachments: files and directories below the root that an entry names, and the care taken when they are deleted.

An attachment outside the root is kept as text and never touched.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from researchflow_tmux.results.files import TEMPORARY
from researchflow_tmux.results.values import Entry, section

_FILE_NAME = re.compile(r"[^.].*\.[A-Za-z][A-Za-z0-9_]*$")
"""`weights.pt` is meant as a file, `run7` and `lr0.01` as directories; `run.v1/` says so itself."""
OWN_NAMES = frozenset({"index.json", "index.json.backup", ".lock"})


def named_paths(attachments: Any) -> Iterator[str]:
    """All paths of an entry's attachments, as they are written there, nested ones too."""
    if isinstance(attachments, str):
        yield attachments
    elif isinstance(attachments, dict):
        for inner in attachments.values():
            yield from named_paths(inner)
    elif isinstance(attachments, list):
        for inner in attachments:
            yield from named_paths(inner)


def inside(root: str, path: str, resolve: Callable[[str], str] = os.path.realpath) -> str | None:
    """`path` relative to `root`, without `.` and `..`; None for what is not below the root, the root, and the index.

    A link on the way is followed: what is really elsewhere is outside. The last part may be a link and is not followed.
    """
    if not path or "\0" in path:
        return None
    directory, name = os.path.split(os.path.normpath(os.path.join(root, path)))
    full, prefix = os.path.join(resolve(directory), name), resolve(root).rstrip(os.sep) + os.sep
    relative = full.removeprefix(prefix)
    return None if relative == full or not relative or is_own(relative) else relative


def is_own(relative: str) -> bool:
    """True for the files of the index itself."""
    return relative in OWN_NAMES or relative.startswith(TEMPORARY)


def paths_inside(root: str, entries: Iterable[Entry]) -> set[str]:
    """What the attachments of `entries` name below the root, relative to it."""
    names = {path for entry in entries for path in named_paths(section(entry, "attachments"))}
    resolve = functools.cache(os.path.realpath)  # thousands of attachments, few directories
    return {relative for path in names if (relative := inside(root, path, resolve)) is not None}


def make_places(root: str, attachments: dict[str, Any]) -> None:
    """Make the directories that the attachments need. Raises OSError.

    A missing attachment whose name has a file's ending gets its parents, any other missing one is made a directory.
    """
    for path in named_paths(attachments):
        relative = inside(root, path)
        if relative is None or os.path.lexists(os.path.join(root, relative)):
            continue
        is_file = _FILE_NAME.match(os.path.basename(relative)) and not path.endswith("/")
        os.makedirs(os.path.join(root, os.path.dirname(relative) if is_file else relative), exist_ok=True)


def is_filled(root: str, entry: Entry) -> bool:
    """True if one of the entry's attachments is a file, or a directory with a file somewhere in it."""
    for relative in paths_inside(root, [entry]):
        full = os.path.join(root, relative)
        if os.path.isfile(full) or any(names for _, _, names in os.walk(full)):
            return True
    return False


def delete(root: str, doomed: Iterable[str], kept: Collection[str]) -> list[str]:
    """Delete files and directories below the root, except what `kept` names or what lies in a kept directory.

    All paths are relative to the root. Links are removed, never what they point to. Returns what could not be deleted,
    with the reason.
    """
    problems: list[str] = []
    kept = set(kept)
    ways_to_kept = {parent for path in kept for parent in parents(path)}
    for relative in doomed:
        if relative not in kept and kept.isdisjoint(parents(relative)):
            _delete(root, relative, kept, ways_to_kept, problems)
    return problems


def parents(relative: str) -> Iterator[str]:
    """The directories above `relative`, nearest first, without the root."""
    while relative := os.path.dirname(relative):
        yield relative


def _delete(root: str, relative: str, kept: set[str], ways_to_kept: set[str], problems: list[str]) -> None:
    full = os.path.join(root, relative)
    try:
        if os.path.islink(full) or not os.path.isdir(full):
            os.unlink(full)
        elif relative not in ways_to_kept:
            shutil.rmtree(full)
        else:
            for name in sorted(os.listdir(full)):
                inner = os.path.join(relative, name)
                if inner not in kept:
                    _delete(root, inner, kept, ways_to_kept, problems)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{full}: {error.strerror}")
