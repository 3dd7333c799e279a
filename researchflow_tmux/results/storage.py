"""`MetadataStorage`: entries, and what can be done with many of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from researchflow_tmux.results import attachments as places
from researchflow_tmux.results.entries import EntryOperations, UuidQuery, named
from researchflow_tmux.results.errors import EntryError, QueryError, StorageUnusable
from researchflow_tmux.results.fields import SECTIONS, flat
from researchflow_tmux.results.files import IndexFiles
from researchflow_tmux.results.garbage import Garbage, stray_entries, stray_files
from researchflow_tmux.results.lines import read_lines, write_lines
from researchflow_tmux.results.query import compile_query, sorted_by
from researchflow_tmux.results.state import State
from researchflow_tmux.results.values import Entry, copied, section
from researchflow_tmux.results.verification import HASHES, Finding, check_entries, check_index, hashes_of

Where = Mapping[str, Any] | Callable[[Entry], bool] | None
OnConflict = Literal["error", "skip", "replace"]


class MetadataStorage(EntryOperations):
    """Results with metadata, in `storage_dir`: index.json and the attachments beside it.

    Threads and processes may use it at once. `lock_timeout_s` is how long one waits for another (StorageBusy after
    that); `durable=False` leaves it to the system when a change reaches the disk (a crash of the machine may then lose
    the last ones); `single_machine=True` says that no other machine uses a directory on a network disk without locks.
    """

    def find(
        self,
        where: Where = None,
        *,
        sort: str | Sequence[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Entry]:
        """Entries by comparison: `find({"model": "bert", "accuracy": {">": 0.9}}, sort="-accuracy", limit=5)`.

        A name is looked for in metadata, then in extra_info; dots go into nested dictionaries; "metadata.lr",
        "extra_info.lr", "attachments.lr" and "uuid" name the place. Operators: > >= < <= = != in, not in, contains,
        exists, ~ (regular expression); numbers compare with numbers, text with text, nothing else with anything.
        Without an operator the rules of `read_entries` hold. `where` may be a function of an entry instead. Entries
        without the value to sort by come last. The entries are copies. Raises QueryError.
        """
        if offset < 0 or (limit is not None and limit < 0):
            raise QueryError(f"limit and offset count entries: {limit}, {offset}", hint="use 0 or more")
        holds = where if callable(where) else compile_query(where or {})
        with self._current() as state:
            found = [entry for entry in state.entries.values() if holds(entry)]
            end = None if limit is None else offset + limit
            return [copied(entry) for entry in islice(sorted_by(found, sort), offset, end)]

    def to_records(
        self, where: Where = None, *, sort: str | Sequence[str] | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """What `find` finds as flat dictionaries with the same keys, None where an entry has no such value.

        Keys are "uuid", "metadata.training.lr", "extra_info.accuracy", …: for `pandas.DataFrame(storage.to_records())`
        or `polars.DataFrame(…)`. Lists stay lists. Raises QueryError.
        """
        rows = []
        for entry in self.find(where, sort=sort, limit=limit):
            row = {"uuid": entry.get("uuid")}
            for name in SECTIONS:
                row |= flat(section(entry, name), f"{name}.")
            rows.append(row)
        columns = dict.fromkeys(key for row in rows for key in row)
        return [{key: row.get(key) for key in columns} for row in rows]

    def hash_attachments(self, uuid_query: UuidQuery | None = None) -> dict[str, dict[str, str]]:
        """Record the content of attachments in `extra_info["attachment_sha256"]`, for `verify`.

        For the entries named, or all. Returns {uuid: {path relative to the storage: SHA-256 in hex}}; directories are
        hashed file by file. Raises EntryError if a uuid is not there, StorageUnusable if a file cannot be read.
        """
        with self._writing() as state:
            uuids = named(state, uuid_query)
            if uuid_query is not None and len(uuids) != len(
                {uuid_query} if isinstance(uuid_query, str) else set(uuid_query)
            ):
                raise EntryError(f"no such entry among {uuid_query}", hint="`read_entries()` lists what there is")
            try:
                hashes = {uuid: hashes_of(self._root, state.entries[uuid]) for uuid in uuids}
            except OSError as error:
                raise StorageUnusable(
                    f"{error.filename} cannot be read: {error.strerror}", hint="nothing was recorded; check its rights"
                ) from error
            if hashes:
                self._commit({uuid: _with_hashes(state.entries[uuid], found) for uuid, found in hashes.items()})
            return hashes

    def verify(self) -> list[Finding]:
        """All that is not as it should be: the index, its backup, attachments missing or changed. Changes nothing.

        Empty = all is well. Reads every file that `hash_attachments` has recorded. Raises StorageUnusable.
        """
        findings = list(check_index(IndexFiles(self._root, durable=False)))
        if any(finding.uuid is None and finding.path is None for finding in findings):
            return findings  # neither file of the index can be read
        with self._current() as state:
            entries = dict(state.entries)
        return findings + list(check_entries(self._root, entries))

    def cleanup_orphaned_files(
        self, clean_entries: bool = False, clean_unfinished: bool = False, *, dry_run: bool = False
    ) -> Garbage:
        """Delete the files directly in the storage that no entry names; say what went, or with `dry_run` would go.

        With `clean_entries` also the entries none of whose attachments has a file, and with `clean_unfinished` on top
        those whose `extra_info["finished"]` is not true, both with their attachments. Subdirectories are left alone.
        """
        return self._clean(
            deep=False, empty=clean_entries, unfinished=clean_entries and clean_unfinished, dry_run=dry_run
        )

    def collect_garbage(self, *, dry_run: bool = True) -> Garbage:
        """Find the files anywhere in the storage that no entry names; delete them with `dry_run=False`."""
        return self._clean(deep=True, empty=False, unfinished=False, dry_run=dry_run)

    def get_storage_stats(self) -> dict[str, Any]:
        """Counts of entries and bytes.

        Keys: total_entries (the same as total_files), total_size_bytes and total_size_mb (MiB) of all that lies in the
        storage besides the index, metadata_keys {key: number of entries}, storage_directory.
        """
        with self._current() as state:
            total = len(state.entries)
            keys: dict[str, int] = {}
            for entry in state.entries.values():
                for key in section(entry, "metadata"):
                    keys[key] = keys.get(key, 0) + 1
        size_bytes = stray_files(self._root, set(), deep=True)[1]
        return {
            "total_entries": total,
            "total_files": total,
            "total_size_bytes": size_bytes,
            "total_size_mb": size_bytes / 2**20,
            "metadata_keys": keys,
            "storage_directory": str(self.storage_dir),
        }

    def export_jsonl(self, path: str | os.PathLike[str], where: Where = None) -> int:
        """Write the entries that `find(where)` finds to a file, one JSON object a line; return how many.

        Attachments stay where they are. Raises QueryError, StorageUnusable.
        """
        return write_lines(os.fspath(path), self.find(where))

    def import_jsonl(self, path: str | os.PathLike[str], *, on_conflict: OnConflict = "error") -> int:
        """Add the entries of such a file, all or none; return how many were stored.

        If a uuid exists already: "error" raises EntryError, "skip" leaves ours, "replace" takes theirs. Raises
        NotStorable naming file and line, StorageUnusable.
        """
        if on_conflict not in ("error", "skip", "replace"):
            raise EntryError(f"on_conflict cannot be {on_conflict!r}", hint='use "error", "skip" or "replace"')
        entries = read_lines(os.fspath(path))
        with self._writing() as state:
            known = [uuid for uuid in entries if uuid in state.entries]
            if known and on_conflict == "error":
                raise EntryError(
                    f"{len(known)} entries of {path} exist already, the first is {known[0]}",
                    hint='pass on_conflict="skip" or "replace"',
                )
            if on_conflict == "skip":
                entries = {uuid: entry for uuid, entry in entries.items() if uuid not in state.entries}
            if entries:
                self._commit(entries)
            return len(entries)

    def _clean(self, *, deep: bool, empty: bool, unfinished: bool, dry_run: bool) -> Garbage:
        with self._current() if dry_run else self._writing() as state:
            doomed = stray_entries(self._root, state.entries, empty=empty, unfinished=unfinished)
            files, size_bytes = stray_files(self._root, _named_paths(self._root, state), deep=deep)
            problems: list[str] = []
            if not dry_run:
                problems = places.delete(self._root, files, ())
                self._remove(state, list(doomed))
        return Garbage(files=files, size_bytes=size_bytes, entries=doomed, problems=tuple(problems))


def _named_paths(root: str, state: State) -> set[str]:
    return places.paths_inside(root, state.entries.values())


def _with_hashes(entry: Entry, hashes: dict[str, str]) -> Entry:
    return entry | {"extra_info": section(entry, "extra_info") | {HASHES: hashes}}
