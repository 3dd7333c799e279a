"""Content hashes of attachments, and whether what the index says is so."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from researchflow_tmux.results.attachments import inside, named_paths
from researchflow_tmux.results.errors import IndexDamaged
from researchflow_tmux.results.files import IndexFiles
from researchflow_tmux.results.layout import decode_index
from researchflow_tmux.results.recovery import load
from researchflow_tmux.results.values import Entry, section

HASHES = "attachment_sha256"
"""Key of `extra_info` under which `hash_attachments` keeps {path relative to the storage: hex digest}."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    problem: str
    uuid: str | None = None
    """The entry; None = the index itself."""
    path: str | None = None
    """The file, as the entry or the index names it."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.uuid, self.path, self.problem) if part is not None)


def hashes_of(root: str, entry: Entry) -> dict[str, str]:
    """SHA-256 in hex of each file that the entry's attachments name, those in directories too. Raises OSError."""
    found: dict[str, str] = {}
    for path in named_paths(section(entry, "attachments")):
        relative = inside(root, path)
        if relative is not None:
            found |= {name: _digest(os.path.join(root, name)) for name in _files_at(root, relative)}
    return found


def check_index(files: IndexFiles) -> Iterator[Finding]:
    """What is wrong with index.json and its backup."""
    try:
        loaded = load(files)
    except IndexDamaged as error:
        yield Finding(problem=str(error))
        return
    if loaded.trouble:
        yield Finding(path=files.index, problem=loaded.trouble)
    if loaded.stamp is None and not loaded.trouble:
        return
    backup = files.read(files.backup)
    try:
        behind = backup is None or decode_index(backup[0]) != loaded.entries
    except ValueError as error:
        yield Finding(path=files.backup, problem=f"is damaged ({error}); the next change replaces it")
        return
    if behind:
        yield Finding(path=files.backup, problem="is not what index.json says; the next change replaces it")


def check_entries(root: str, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """Entries with other uuids than their keys; attachments that are missing, outside, or not what was hashed."""
    for uuid, entry in entries.items():
        if entry.get("uuid") != uuid:
            yield Finding(uuid=uuid, problem=f"the entry calls itself {entry.get('uuid')!r}")
        yield from _check_attachments(root, uuid, entry)
        yield from _check_hashes(root, uuid, entry)


def _check_attachments(root: str, uuid: str, entry: Entry) -> Iterator[Finding]:
    for path in named_paths(section(entry, "attachments")):
        relative = inside(root, path)
        if relative is None:
            yield Finding(uuid=uuid, path=path, problem="outside the storage: never deleted with its entry")
        elif not os.path.exists(os.path.join(root, relative)):
            yield Finding(uuid=uuid, path=path, problem="is missing")


def _check_hashes(root: str, uuid: str, entry: Entry) -> Iterator[Finding]:
    recorded = section(entry, "extra_info").get(HASHES)
    for path, digest in (recorded if isinstance(recorded, dict) else {}).items():
        relative = inside(root, path)
        try:
            now = _digest(os.path.join(root, relative)) if relative is not None else None
        except FileNotFoundError:
            yield Finding(uuid=uuid, path=path, problem="was hashed and is gone")
            continue
        except OSError as error:
            yield Finding(uuid=uuid, path=path, problem=f"cannot be read: {error.strerror}")
            continue
        if now != digest:
            yield Finding(uuid=uuid, path=path, problem="has another content than when it was hashed")


def _files_at(root: str, relative: str) -> Iterable[str]:
    full = os.path.join(root, relative)
    if not os.path.isdir(full):
        return [relative] if os.path.exists(full) else []
    found = [os.path.join(place, name) for place, _, names in os.walk(full) for name in names]
    return sorted(os.path.relpath(path, root) for path in found if os.path.exists(path))


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
