"""The language of `find`, its order, and the flat records."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.results import MetadataStorage, QueryError


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> MetadataStorage:
    storage = MetadataStorage(tmp_path_factory.mktemp("storage"), durable=False)
    storage.create_entry("a", {"model": "bert", "training": {"lr": 0.1}, "tags": ["x", "y"]}, {"accuracy": 0.9})
    storage.create_entry(
        "b", {"model": "gpt", "training": {"lr": 0.01}, "n": None}, {"accuracy": 0.95, "model": "other"}
    )
    storage.create_entry("c", {"model": "bert-large", "training.lr": 1, "op": {">": 1}}, {"accuracy": math.nan})
    storage.create_entry("d", {"accuracy": "high", "flag": True, "n": 5}, None, {"weights": {"best": "d/best.pt"}})
    return storage


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, "abcd"),
        ({}, "abcd"),
        ({"model": "bert"}, "a"),
        ({"accuracy": {">": 0.9}}, "b"),
        ({"accuracy": {">=": 0.9, "<": 0.95}}, "a"),
        ({"accuracy": {"<=": 1}}, "ab"),  # NaN and text are no numbers
        ({"accuracy": {">": "a"}}, "d"),
        ({"flag": {">": 0}}, ""),
        ({"flag": {"=": 1}}, "d"),
        ({"training.lr": {"<": 0.05}}, "b"),
        ({"training.lr": 1}, "c"),  # the key with a dot in it
        ({"training.lr": {">": 0}}, "abc"),
        ({"training": {"lr": 0.1}}, "a"),
        ({"metadata.model": {"in": ["bert", "gpt"]}}, "ab"),
        ({"extra_info.model": "other"}, "b"),
        ({"model": {"not in": {"bert"}}}, "bcd"),
        ({"model": {"!=": "bert"}}, "bcd"),
        ({"model": {"~": "^bert"}}, "ac"),
        ({"n": {"~": "5"}}, ""),
        ({"model": {"contains": "ert"}}, "ac"),
        ({"model": {"contains": 1}}, ""),
        ({"tags": {"contains": "x"}}, "a"),
        ({"training": {"contains": "lr"}}, "ab"),
        ({"n": {"contains": "x"}}, ""),
        ({"n": {"exists": True}}, "bd"),
        ({"n": {"exists": False}}, "ac"),
        ({"n": None}, "abc"),
        ({"n": Any}, "d"),
        ({"n": {"=": None}}, "b"),
        ({"op": {"=": {">": 1}}}, "c"),
        ({"training": {}}, "ab"),
        ({"attachments.weights.best": {"exists": True}}, "d"),
        ({"uuid": {"in": ["a", "d"]}}, "ad"),
        ({"tags.x": 1}, ""),
        (lambda entry: entry["uuid"] > "b", "cd"),
    ],
)
def test_find(storage: MetadataStorage, where: Any, found: str) -> None:
    assert [entry["uuid"] for entry in storage.find(where)] == list(found)


def test_plain_queries_know_no_operators(storage: MetadataStorage) -> None:
    assert storage.read_entries(metadata_query={"op": {">": 1}})[1] == ["c"]
    assert storage.read_entries(metadata_query={"training.lr": 0.1})[1] == []


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("accuracy", "abdc"),
        ("-accuracy", "dbac"),
        ("model", "acbd"),
        (["flag", "-uuid"], "dcba"),
        (["-n"], "dabc"),
        ("tags", "abcd"),
    ],
)
def test_sort(storage: MetadataStorage, sort: Any, found: str) -> None:
    assert [entry["uuid"] for entry in storage.find(sort=sort)] == list(found)
    assert [entry["uuid"] for entry in storage.find(sort=sort, limit=2, offset=1)] == list(found)[1:3]


def test_limits(storage: MetadataStorage) -> None:
    assert storage.find(limit=0) == []
    assert len(storage.find(offset=3)) == 1
    for ask in (partial(storage.find, limit=-1), partial(storage.find, offset=-1)):
        with pytest.raises(QueryError, match="count entries"):
            ask()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": {"=>": 1}}, r"a: '=>' is not an operator\n.*did you mean"),
        ({"a": {">": 1, "b": 2}}, r"a: 'b' is not an operator"),
        ({"a": {"§": 1}}, r"(?s)'§' is not an operator.*there are"),
        ({"a": {">": None}}, r"cannot compare with None"),
        ({"a": {">": True}}, r"cannot compare with True"),
        ({"a": {"in": "abc"}}, r"'in' needs a list"),
        ({"a": {"not in": 3}}, r"'in' needs a list"),
        ({"a": {"exists": 1}}, r"True or False"),
        ({"a": {"~": "("}}, r"not a regular expression"),
        ({"a": {"~": 3}}, r"not a regular expression"),
        ({3: 1}, r"a name in a query is text"),
    ],
)
def test_queries_that_mean_nothing(storage: MetadataStorage, where: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        storage.find(where)


def test_records_are_flat_and_have_the_same_keys(storage: MetadataStorage) -> None:
    records = storage.to_records({"uuid": {"in": ["a", "d"]}}, sort="-uuid")
    assert records == [
        {
            "uuid": "d",
            "metadata.accuracy": "high",
            "metadata.flag": True,
            "metadata.n": 5,
            "attachments.weights.best": "d/best.pt",
            "metadata.model": None,
            "metadata.training.lr": None,
            "metadata.tags": None,
            "extra_info.accuracy": None,
        },
        {
            "uuid": "a",
            "metadata.accuracy": None,
            "metadata.flag": None,
            "metadata.n": None,
            "attachments.weights.best": None,
            "metadata.model": "bert",
            "metadata.training.lr": 0.1,
            "metadata.tags": ["x", "y"],
            "extra_info.accuracy": 0.9,
        },
    ]
    assert storage.to_records({"uuid": "nobody"}) == []
    for record in storage.to_records(limit=1):
        assert storage.find({name: value for name, value in record.items() if value is not None})


def test_what_is_found_is_a_copy(tmp_path: Path) -> None:
    storage = MetadataStorage(tmp_path)
    storage.create_entry("a", {"deep": {"x": [1]}})
    storage.find()[0]["metadata"]["deep"]["x"].append(2)
    storage.to_records()[0]["metadata.deep.x"].append(2)
    assert storage.get_entry("a")["metadata"] == {"deep": {"x": [1]}}
