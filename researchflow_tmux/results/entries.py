"""Creating, changing, reading and deleting entries: the operations that other programs for this format know."""

from __future__ import annotations

import logging
import uuid as uuids_of_chance
from typing import Any, Literal

from researchflow_tmux.results import attachments as places
from researchflow_tmux.results.base import StorageBase
from researchflow_tmux.results.errors import EntryError, StorageUnusable
from researchflow_tmux.results.state import State
from researchflow_tmux.results.values import Entry, copied, section, storable

_LOG = logging.getLogger(__name__)
_SECTIONS = {"metadata": "Metadata", "extra_info": "Extra information", "attachments": "Attachments"}

Overwrite = Literal["finished"] | bool
UuidQuery = str | list[str]


class EntryOperations(StorageBase):
    """Entries: {"uuid": str, "metadata": {…}, "extra_info": {…}, "attachments": {…}}."""

    def create_entry(
        self,
        uuid: str | None = None,
        metadata: dict[str, Any] | None = None,
        extra_info: dict[str, Any] | None = None,
        attachments: dict[str, Any] | None = None,
        allow_overwrite: Overwrite = "finished",
    ) -> str:
        """Add an entry, or update the one whose metadata equals `metadata`; return its uuid.

        Such an entry is updated if `allow_overwrite` is True, or "finished" and its `extra_info["finished"]` is true.
        `attachments` holds paths relative to the storage, also in nested dictionaries; missing directories are made.
        The entry is on disk on return. Raises EntryError, a ValueError "Failed to create entry: …": the uuid exists,
        the match may not be overwritten, there are several, or the index cannot be read or written. Nothing is
        changed then.
        """
        try:
            given = _checked(metadata, extra_info, attachments)
            with self._writing() as state:
                matching = state.lookup.exactly(metadata) if metadata is not None else []
                if matching:
                    uuid = _overwritable(state, matching, allow_overwrite)
                    self._store_updates(state, [uuid], given)
                    return uuid
                uuid = _new_uuid(state, uuid)
                places.make_places(self._root, given.get("attachments", {}))
                self._commit({uuid: {"uuid": uuid, **{name: given.get(name, {}) for name in _SECTIONS}}})
                return uuid
        except (ValueError, RuntimeError, OSError, StorageUnusable) as error:
            message = getattr(error, "message", str(error))
            raise EntryError(f"Failed to create entry: {message}", hint=getattr(error, "hint", None)) from error

    def update_entry(
        self,
        uuid_query: UuidQuery | None = None,
        metadata: dict[str, Any] | None = None,
        extra_info: dict[str, Any] | None = None,
        attachments: dict[str, Any] | None = None,
        allow_multiple: bool = False,
    ) -> None:
        """Update the three dictionaries of one entry key by key, as `dict.update` does.

        With `allow_multiple`, of all entries that `uuid_query` lists, or of all there are if it is None: all of them
        or none. Raises EntryError (a ValueError) if nothing or too much is found, NotStorable, StorageUnusable.
        """
        if uuid_query is None and not allow_multiple:
            raise EntryError("No entry was named", hint="pass its uuid; allow_multiple=True without one updates all")
        given = _checked(metadata, extra_info, attachments)
        with self._writing() as state:
            found = named(state, uuid_query)
            if not found or (len(found) > 1 and not allow_multiple):
                raise EntryError(
                    f"Multiple or no entries found for UUID: {uuid_query} ({len(found)} found)",
                    hint="`read_entries()` lists what there is; pass allow_multiple=True to update several",
                )
            self._store_updates(state, found, given)

    def read_entries(
        self,
        uuid_query: UuidQuery | None = None,
        metadata_query: dict[str, Any] | None = None,
        exact_match: bool = False,
    ) -> tuple[list[Entry], list[str]]:
        """The entries that match, and their uuids, both in the order of the index; without a query all.

        A metadata query matches in part (dictionaries recurse, lists are equal as a whole, None finds null or missing,
        `typing.Any` anything else), or with `exact_match` as a whole. The entries are copies. Raises ResultsError.
        """
        _one_query(uuid_query, metadata_query)
        with self._current() as state:
            found = _matching(state, uuid_query, metadata_query, exact_match)
            return [copied(state.entries[uuid]) for uuid in found], found

    def get_entry(
        self,
        uuid_query: UuidQuery | None = None,
        metadata_query: dict[str, Any] | None = None,
        exact_match: bool = False,
    ) -> Entry:
        """The one entry that matches. Raises EntryError (a ValueError) if none or several do."""
        if uuid_query is None and metadata_query is None:
            raise EntryError("Failed to get entry: no query", hint="pass a uuid or a metadata query")
        entries, _ = self.read_entries(uuid_query, metadata_query, exact_match)
        if len(entries) != 1:
            query = uuid_query if uuid_query is not None else metadata_query
            raise EntryError(
                f"Failed to get entry: {len(entries)} entries found for {query}",
                hint="`read_entries` returns any number of entries",
            )
        return entries[0]

    def delete_entries(
        self,
        uuid_query: UuidQuery | None = None,
        metadata_query: dict[str, Any] | None = None,
        exact_match: bool = False,
    ) -> int:
        """Delete the entries that match, with their attachments; return how many.

        First the entries go, then the files: what a crash leaves behind is found by `collect_garbage`. Kept are
        attachments outside the storage and those that another entry names too. Raises EntryError without a query
        (all entries are `metadata_query={}`), StorageUnusable.
        """
        if uuid_query is None and metadata_query is None:
            raise EntryError(
                "delete_entries needs a query: nothing was deleted",
                hint="name entries by uuid or metadata; metadata_query={} means all of them",
            )
        _one_query(uuid_query, metadata_query)
        with self._writing() as state:
            return self._remove(state, _matching(state, uuid_query, metadata_query, exact_match))

    def _remove(self, state: State, uuids: list[str]) -> int:
        if uuids:
            doomed = places.paths_inside(self._root, [state.entries[uuid] for uuid in uuids])
            self._commit({}, uuids)
            kept = places.paths_inside(self._root, state.entries.values()) if doomed else set()
            for problem in places.delete(self._root, sorted(doomed), kept):
                _LOG.warning("attachment of a deleted entry was not deleted: %s", problem)
        return len(uuids)

    def _store_updates(self, state: State, uuids: list[str], given: dict[str, dict[str, Any]]) -> None:
        if not given:
            return
        try:
            places.make_places(self._root, given.get("attachments", {}))
        except OSError as error:
            raise StorageUnusable(
                f"{error.filename}: the directory for an attachment cannot be made: {error.strerror}",
                hint="choose another path for the attachment, or move away what is there",
            ) from error
        changed = {}
        for uuid in uuids:
            entry = state.entries[uuid]
            # Copies: an entry shares nothing with another, nor with what it was before.
            changed[uuid] = entry | {name: section(entry, name) | copied(value) for name, value in given.items()}
        self._commit(changed)


def _checked(*given: Any) -> dict[str, dict[str, Any]]:
    """The dictionaries that were passed, in JSON's types. Raises EntryError, NotStorable."""
    checked = {}
    for (name, title), value in zip(_SECTIONS.items(), given, strict=True):
        if value is None:
            continue
        if not isinstance(value, dict):
            raise EntryError(f"{title} must be a dictionary: {value!r}", hint="pass a dict, or leave it out")
        checked[name] = storable(value, name)
    return checked


def _overwritable(state: State, matching: list[str], allow: Overwrite) -> str:
    if len(matching) > 1:
        raise EntryError(
            f"Multiple entries found with this metadata: {matching}", hint="update the one you mean by its uuid"
        )
    (uuid,) = matching
    if allow == "finished":
        if section(state.entries[uuid], "extra_info").get("finished", False) not in (True,):
            raise EntryError(
                f"Entry {uuid} has this metadata and is not finished, cannot overwrite",
                hint='set extra_info["finished"] to true when its run is done, or pass allow_overwrite=True',
            )
    elif allow not in (True, False):
        raise EntryError(f"Invalid allow_overwrite value: {allow!r}", hint='use "finished", True or False')
    elif not allow:
        raise EntryError(
            f"Entry {uuid} already exists with this metadata, cannot overwrite", hint="pass allow_overwrite=True"
        )
    return uuid


def _new_uuid(state: State, uuid: str | None) -> str:
    if uuid is None:
        return str(uuids_of_chance.uuid4())
    if not isinstance(uuid, str) or not uuid:
        raise EntryError(f"a uuid is text, not {uuid!r}", hint="pass str(uuid), or leave it out")
    if uuid in state.entries:
        raise EntryError(
            f"UUID {uuid} already exists", hint="`update_entry` changes it; leave the uuid out for a new one"
        )
    return uuid


def _one_query(uuid_query: UuidQuery | None, metadata_query: dict[str, Any] | None) -> None:
    if uuid_query is not None and metadata_query is not None:
        raise EntryError("Only one of uuid_query and metadata_query can be used", hint="leave one of them out")
    if metadata_query is not None and not isinstance(metadata_query, dict):
        raise EntryError(f"metadata_query must be a dictionary: {metadata_query!r}", hint="pass {key: value}")


def named(state: State, uuid_query: UuidQuery | None) -> list[str]:
    """In the order of the index."""
    if uuid_query is None:
        return list(state.entries)
    if isinstance(uuid_query, str):
        return [uuid_query] if uuid_query in state.entries else []
    return state.lookup.in_order({uuid for uuid in uuid_query if uuid in state.entries})


def _matching(state: State, uuids: UuidQuery | None, metadata: dict[str, Any] | None, exact: bool) -> list[str]:
    if metadata is None:
        return named(state, uuids)
    return state.lookup.exactly(metadata) if exact else state.lookup.partly(metadata)
