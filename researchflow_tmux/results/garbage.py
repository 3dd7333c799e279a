"""What lies in a storage and belongs to no entry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import msgspec

from researchflow_tmux.results.attachments import is_filled, is_own, parents
from researchflow_tmux.results.values import Entry, section


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleaning removed, or would remove."""

    files: tuple[str, ...] = ()
    """Relative to the storage, sorted."""
    size_bytes: int = 0
    """Of `files`."""
    entries: tuple[str, ...] = ()
    """Uuids, in the order of the index."""
    problems: tuple[str, ...] = ()
    """What could not be removed, and why."""


def stray_files(root: str, named: set[str], *, deep: bool) -> tuple[tuple[str, ...], int]:
    """Files that `named` (relative paths) does not name, with the sum of their sizes in bytes.

    Directories that it names are whole. Without `deep` only files directly in the root count.
    """
    found, size_bytes = [], 0
    for relative in _files(root, deep=deep):
        if is_own(relative) or relative in named or not named.isdisjoint(parents(relative)):
            continue
        found.append(relative)
        size_bytes += os.lstat(os.path.join(root, relative)).st_size
    return tuple(sorted(found)), size_bytes


def stray_entries(root: str, entries: Mapping[str, Entry], *, empty: bool, unfinished: bool) -> tuple[str, ...]:
    """Uuids of entries none of whose attachments has a file (`empty`), or that are not finished (`unfinished`)."""
    return tuple(
        uuid
        for uuid, entry in entries.items()
        if (unfinished and section(entry, "extra_info").get("finished", False) not in (True,))
        or (empty and not is_filled(root, entry))
    )


def _files(root: str, *, deep: bool) -> Iterator[str]:
    for place, directories, names in os.walk(root):
        links = [name for name in directories if os.path.islink(os.path.join(place, name))]
        for name in [*names, *(links if deep else ())]:
            yield os.path.relpath(os.path.join(place, name), root)
        if not deep:
            return
