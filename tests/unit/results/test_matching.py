"""Looking up and comparing find exactly what a walk over all entries finds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.results.lookup import Lookup
from researchflow_tmux.results.matching import matches_exactly

KEYS = st.sampled_from(["a", "b", "a.b", ""])
SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 2, 0.5, "1", "a", ""])
STORED = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=3
    ),
    max_size=3,
)


def any_or(inner: Any) -> Any:
    return st.just(Any) | inner


QUERIES = st.dictionaries(
    KEYS,
    st.recursive(
        any_or(SCALARS),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2) | st.tuples(inner),
        max_leaves=3,
    ),
    max_size=2,
)


def naive(stored: object, query: object) -> bool:
    """The rules in the words of their description."""
    match query:
        case dict():
            return isinstance(stored, dict) and all(naive(stored.get(key), query[key]) for key in query)
        case list():
            return stored == query
        case None:
            return stored is None
    return stored is not None if query is Any else stored == query


def entries_of(stored: list[dict[str, Any]]) -> dict[str, Any]:
    return {str(number): {"uuid": str(number), "metadata": metadata} for number, metadata in enumerate(stored)}


@given(st.lists(STORED, max_size=8), st.lists(QUERIES | STORED, min_size=1, max_size=4))
def test_against_a_walk(stored: list[dict[str, Any]], queries: list[dict[str, Any]]) -> None:
    entries = entries_of(stored)
    lookup = Lookup(entries)
    for query in queries:
        assert lookup.partly(query) == [uuid for uuid in entries if naive(entries[uuid]["metadata"], query)]
        assert lookup.exactly(query) == [uuid for uuid in entries if entries[uuid]["metadata"] == query]


@given(
    st.lists(STORED, min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 6), st.none() | STORED), max_size=8),
    st.lists(STORED, min_size=1, max_size=3),
)
@settings(max_examples=60)
def test_after_changes(
    stored: list[dict[str, Any]], changes: list[tuple[int, dict[str, Any] | None]], queries: list[dict[str, Any]]
) -> None:
    entries = entries_of(stored)
    lookup = Lookup(entries)
    for number, metadata in [*changes, (0, {})]:
        for query in queries:
            assert lookup.partly(query) == Lookup(entries).partly(query)
            assert lookup.exactly(query) == Lookup(entries).exactly(query)
        uuid, new = str(number), None if metadata is None else {"uuid": str(number), "metadata": metadata}
        if new is None and uuid not in entries:
            continue
        lookup.changed(uuid, entries.get(uuid), new)
        if new is None:
            del entries[uuid]
        else:
            entries[uuid] = new


def test_an_enumeration_compares_like_text_and_hashes_otherwise() -> None:
    import enum

    class Model(str, enum.Enum):  # noqa: UP042 - the older kind, whose hash is that of the name
        BERT = "bert"

    lookup = Lookup(entries_of([{"model": "bert"}, {"model": "gpt"}]))
    assert lookup.partly({"model": Model.BERT}) == ["0"]
    assert lookup.partly({"model": "bert"}) == ["0"]


def test_entries_that_a_person_broke() -> None:
    lookup = Lookup(json.loads('{"a": {}, "b": {"metadata": 3}, "c": {"metadata": {"n": 1}}}'))
    assert lookup.partly({"n": 1}) == ["c"]
    assert lookup.partly({}) == ["a", "c"]
    assert lookup.exactly({"n": 1}) == ["c"]
    assert lookup.exactly({}) == ["a"]
    assert not matches_exactly({"a": 1}, {"a": 2})
