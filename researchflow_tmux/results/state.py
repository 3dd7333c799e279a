"""The entries in memory, kept equal to the files. The caller holds the lock."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import msgspec

from researchflow_tmux.results import layout
from researchflow_tmux.results.files import IndexFiles, Seal, Stamp
from researchflow_tmux.results.lookup import Lookup
from researchflow_tmux.results.recovery import load
from researchflow_tmux.results.values import Entry

_LOG = logging.getLogger(__name__)
FEW_LINES = 1000
"""So many replaced lines are never worth a rewrite."""


class State:
    """What one process knows of an index."""

    def __init__(self, files: IndexFiles) -> None:
        self.entries: dict[str, Entry] = {}
        self.lookup = Lookup(self.entries)
        self.trouble: str | None = None
        self.has_written = False
        self._files = files
        self._loaded = False
        self._stamp: Stamp | None = None
        self._base: str | None = None
        self._lines: int | None = None
        self._keep_damaged = False

    def is_current(self) -> bool:
        """True if index.json is as it was when we last looked. Needs no lock."""
        return self._loaded and self.trouble is None and self._files.stamp(self._files.index) == self._stamp

    def sync(self, note: bytes) -> None:
        """Catch up with the files. `note` is the lock file's. Raises IndexDamaged, StorageUnusable."""
        seal = _seal(note)
        # The lock file's content is sure to be fresh; what `stat` says of a network disk may be some seconds old.
        if self.is_current() and (seal is None or seal.index == self._stamp):
            return
        if self._read_additions(seal):
            return
        loaded = load(self._files)
        self.entries, self.trouble = loaded.entries, loaded.trouble
        self._stamp, self._lines, self._keep_damaged = loaded.stamp, loaded.lines, loaded.keep_damaged
        self._base = seal.base if seal is not None and seal.index == loaded.stamp else None
        self.lookup = Lookup(self.entries)
        self._loaded = True
        if self.trouble:
            _LOG.warning("%s %s", self._files.index, self.trouble)

    def forget(self) -> None:
        """Read everything anew next time."""
        self._loaded = False

    def commit(self, changed: Mapping[str, Entry], removed: Collection[str], note: bytes) -> bytes:
        """Store, then take over: all of it or, with an error, nothing. Returns the lock file's new note.

        Raises StorageUnusable.
        """
        seal = _seal(note)
        if len(changed) == 1 and not removed and seal is not None and self._may_add(seal):
            ((uuid, entry),) = changed.items()
            new = self._files.add(layout.encode_line(uuid, entry), seal, first=not self.entries)
            self._lines = (self._lines or 0) + 1
        else:
            gone = set(removed)
            new = self._replace({uuid: one for uuid, one in {**self.entries, **changed}.items() if uuid not in gone})
        self._apply(changed, removed)
        # Last: whatever interrupts us before this, the stamp is an old one and everything is read anew.
        self._stamp, self._base, self.has_written = new.index, new.base, True
        return msgspec.json.encode(new)

    def rewrite(self) -> bytes:
        """Replace both files by one line per entry. Returns the lock file's new note. Raises StorageUnusable."""
        new = self._replace(self.entries)
        self._stamp, self._base = new.index, new.base
        return msgspec.json.encode(new)

    def is_tidy(self) -> bool:
        """True if nothing is gained by a rewrite: no line was replaced, and the backup is as long as index.json."""
        if self._stamp is None or self._lines is None:  # empty, or written by another program, which never adds lines
            return True
        backup = self._files.stamp(self._files.backup)
        return self._lines == len(self.entries) and backup is not None and backup.size == self._stamp.size

    def _replace(self, entries: Mapping[str, Entry]) -> Seal:
        if self._keep_damaged:
            self._files.set_aside()
            self._keep_damaged = False
        new = self._files.replace(entries)
        self._lines, self.trouble = len(entries), None
        return new

    def _may_add(self, seal: Seal) -> bool:
        if self._lines is None or seal.index != self._stamp or seal.backup.size != seal.index.size:
            return False
        if self._files.stamp(self._files.backup) != seal.backup:
            return False
        return self._lines - len(self.entries) < max(FEW_LINES, len(self.entries))

    def _read_additions(self, seal: Seal | None) -> bool:
        """Read only the lines that were added since; False if there may be other changes."""
        if not self._loaded or self._stamp is None or seal is None or self._base != seal.base or self._lines is None:
            return False
        found = self._files.read(self._files.index, self._stamp.size - len(layout.TAIL))
        if found is None or found[1] != seal.index:
            return False
        try:
            changed = layout.decode_addition(found[0])
        except ValueError:
            return False
        self._apply(changed, ())
        self._stamp = found[1]
        self._lines += found[0].count(b"\n") - 2
        return True

    def _apply(self, changed: Mapping[str, Entry], removed: Collection[str]) -> None:
        for uuid, entry in changed.items():
            self.lookup.changed(uuid, self.entries.get(uuid), entry)
            self.entries[uuid] = entry
        for uuid in removed:
            self.lookup.changed(uuid, self.entries.pop(uuid), None)


def _seal(note: bytes) -> Seal | None:
    """None = nobody of ours wrote last, or nobody at all."""
    try:
        return msgspec.json.decode(note, type=Seal)
    except msgspec.MsgspecError:
        return None
