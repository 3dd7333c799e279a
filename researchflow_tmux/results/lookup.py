"""Which entries a query can match at all, without looking at each: built on first use, kept up to date after that.

The answer is always checked by the matching rules, so it may name too many entries but never too few. Only values of
exactly these types are looked up: a subclass may compare equal to text and hash otherwise, as a `str` enumeration does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from researchflow_tmux.results.matching import matches_exactly, matches_partly
from researchflow_tmux.results.values import Entry, section

Path = tuple[str, ...]
_LOOKED_UP = {str, int, float, bool}


class Lookup:
    """Finds entries by metadata. It must hear of every change; `entries` is read, never changed."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._rank: dict[str, int] | None = None
        self._by_value: dict[Path, dict[Any, set[str]]] = {}
        self._by_whole: dict[int, set[str]] | None = None

    def partly(self, query: dict[str, Any]) -> list[str]:
        """Uuids of the entries whose metadata has all of `query`, in the order of the index."""
        candidates = self._candidates(query)
        return [uuid for uuid in candidates if matches_partly(self._entries[uuid].get("metadata", {}), query)]

    def exactly(self, metadata: dict[str, Any]) -> list[str]:
        """Uuids of the entries whose metadata equals `metadata`, in the order of the index."""
        try:
            key = hash(_frozen(metadata))
        except TypeError:  # a value without a hash, which may still equal something
            candidates: Iterable[str] = list(self._entries)
        else:
            candidates = self.in_order(self._wholes().get(key, ()))
        return [uuid for uuid in candidates if matches_exactly(self._entries[uuid].get("metadata", {}), metadata)]

    def in_order(self, uuids: Collection[str]) -> list[str]:
        """`uuids`, all of them in the index, in its order."""
        if self._rank is None:
            self._rank = {uuid: rank for rank, uuid in enumerate(self._entries)}
        return sorted(uuids, key=self._rank.__getitem__)

    def changed(self, uuid: str, old: Entry | None, new: Entry | None) -> None:
        """Take note that an entry was added (`old` is None), replaced or removed (`new` is None)."""
        if self._rank is not None:
            if new is None:
                self._rank.pop(uuid, None)
            elif old is None:
                self._rank[uuid] = next(reversed(self._rank.values()), -1) + 1
        for entry, enter in ((old, False), (new, True)):
            if entry is not None:
                self._note(uuid, section(entry, "metadata"), enter=enter)

    def _note(self, uuid: str, metadata: dict[str, Any], *, enter: bool) -> None:
        if self._by_whole is not None:
            _move(self._by_whole, hash(_frozen(metadata)), uuid, enter=enter)
        for path, values in self._by_value.items():
            value = _at(metadata, path)
            if type(value) in _LOOKED_UP:
                _move(values, value, uuid, enter=enter)

    def _candidates(self, query: dict[str, Any]) -> Iterable[str]:
        found: list[set[str]] = [self._values(path).get(value, set()) for path, value in _leaves(query, ())]
        return self.in_order(min(found, key=lambda uuids: len(uuids))) if found else list(self._entries)

    def _values(self, path: Path) -> dict[Any, set[str]]:
        values = self._by_value.get(path)
        if values is None:
            values = self._by_value[path] = {}
            for uuid, entry in self._entries.items():
                value = _at(entry.get("metadata"), path)
                if type(value) in _LOOKED_UP:
                    values.setdefault(value, set()).add(uuid)
        return values

    def _wholes(self) -> dict[int, set[str]]:
        if self._by_whole is None:
            self._by_whole = {}
            for uuid, entry in self._entries.items():
                self._by_whole.setdefault(hash(_frozen(section(entry, "metadata"))), set()).add(uuid)
        return self._by_whole


def _leaves(query: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in query.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        elif type(value) in _LOOKED_UP:
            yield (*path, key), value


def _at(value: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _frozen(value: Any) -> Any:
    """Something with a hash, equal for equal values."""
    if isinstance(value, dict):
        return frozenset([(key, _frozen(inner)) for key, inner in value.items()])
    if isinstance(value, list):
        return tuple([_frozen(inner) for inner in value])
    return value


def _move(places: dict[Any, set[str]], key: Any, uuid: str, *, enter: bool) -> None:
    if enter:
        places.setdefault(key, set()).add(uuid)
    elif key in places:
        places[key].discard(uuid)
        if not places[key]:
            del places[key]
