"""Which of the two files to believe."""

from __future__ import annotations

from typing import NamedTuple

from researchflow_tmux.results import layout
from researchflow_tmux.results.errors import IndexDamaged
from researchflow_tmux.results.files import IndexFiles, Stamp
from researchflow_tmux.results.values import Entry


class Loaded(NamedTuple):
    """The entries of a storage and how they were come by."""

    entries: dict[str, Entry]
    stamp: Stamp | None
    """Of index.json; None = not there."""
    lines: int | None
    """Lines of index.json if more can be added at its end; None = the next change replaces both files."""
    trouble: str | None = None
    """Why index.json must be replaced before anything else; None = it is whole."""
    keep_damaged: bool = False
    """True if index.json holds something that the entries do not have."""


class _Copy(NamedTuple):
    """One of the files: whole, cut at its end (`wrong` says so, `entries` are the rest), not usable, or not there."""

    content: bytes
    stamp: Stamp | None
    entries: dict[str, Entry] | None
    wrong: str | None


def load(files: IndexFiles) -> Loaded:
    """Read the index, or what is left of it. Changes nothing. Raises IndexDamaged if nothing can be believed."""
    index = _read(files, files.index)
    if index.entries is not None and index.wrong is None:
        lines = layout.count_lines(index.content) if layout.can_grow(index.content) else None
        return Loaded(index.entries, index.stamp, lines)
    backup = _read(files, files.backup)
    if index.stamp is None and backup.stamp is None:
        return Loaded({}, None, None)
    if backup.entries is None:
        raise IndexDamaged(
            f"{files.index} {index.wrong}, and its backup {backup.wrong}: nothing was changed",
            hint=f"repair {files.index} with an editor, or restore it or {files.backup} from a copy; to give up the "
            "index (its attachments stay where they are), delete both",
        )
    if index.entries is not None and _extent(index) >= _extent(backup):
        return Loaded(index.entries, index.stamp, None, f"{index.wrong} (a write was cut short)")
    # A write that was cut short leaves index.json no shorter than the backup: this one was damaged by something else.
    return Loaded(backup.entries, index.stamp, None, f"{index.wrong}; using the backup", index.stamp is not None)


def _extent(copy: _Copy) -> tuple[int, int]:
    return len(copy.entries or ()), len(copy.content)


def _read(files: IndexFiles, path: str) -> _Copy:
    found = files.read(path)
    if found is None:
        return _Copy(b"", None, None, "is missing")
    content, stamp = found
    try:
        return _Copy(content, stamp, layout.decode_index(content), None)
    except ValueError as error:
        wrong = f"is damaged ({error})" if content else "is empty"
    rest = layout.without_torn_end(content)
    if rest is None:
        return _Copy(content, stamp, None, wrong)
    return _Copy(rest[0], stamp, rest[1], wrong)
