"""The file that lists GPUs: what it may look like, and every word that makes no sense at its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.available_gpus import MAX_BYTES, Listed, parse
from researchflow_tmux.domain.errors import ConfigError, Problem

UUID = "GPU-8f2c11d0-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    ("text", "indices", "uuids"),
    [
        (b"", set(), ()),
        (b" \n\t\r\n", set(), ()),
        (b"0 1 2 3", {0, 1, 2, 3}, ()),
        (b"0\n2\n", {0, 2}, ()),
        (b"0\r\n1\r2", {0, 1, 2}, ()),
        (b"\xef\xbb\xbf1 3\n", {1, 3}, ()),
        (b"# all of them: 0 1 2\n1 # but not 0\n", {1}, ()),
        (b"007 7", {7}, ()),
        (f"1 {UUID} GPU-8f2c\n".encode(), {1}, (UUID, "GPU-8f2c")),
        (b"MIG-11112222-3333 simulated-0 index-1", set(), ("MIG-11112222-3333", "simulated-0", "index-1")),
        (b"amd-0000:03:00.0", set(), ("amd-0000:03:00.0",)),
    ],
)
def test_what_it_may_say(text: bytes, indices: set[int], uuids: tuple[str, ...]) -> None:
    assert parse(text, "f") == Listed(frozenset(indices), uuids)


def test_every_wrong_word_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(b"0 one\n# two\n  -1, 99999\nGPU-\n", "/w/available_gpus.txt")
    places = [(problem.line, problem.column, problem.message) for problem in caught.value.problems]
    assert places == [
        (1, 3, "'one' is no GPU"),
        (3, 3, "'-1,' is no GPU"),
        (3, 7, "'99999' is no GPU"),
        (4, 1, "'GPU-' is no GPU"),
    ]
    assert "/w/available_gpus.txt:1:3" in str(caught.value)


def test_something_huge_is_no_list() -> None:
    with pytest.raises(ConfigError, match="no list of GPUs"):
        parse(b"0 " * MAX_BYTES, "f")


def test_a_gpu_is_named_by_index_uuid_or_its_beginning() -> None:
    listed = parse(b"2 GPU-8f2c", "f")
    assert listed.names("GPU-other", 2)
    assert listed.names(UUID, 5)
    assert not listed.names("GPU-9", 5)
    assert not listed.empty
    assert parse(b"# nothing", "f").empty


@given(st.binary(max_size=200))
def test_anything_is_either_a_list_or_told_with_its_place(data: bytes) -> None:
    problems: list[Problem] = []
    try:
        parse(data, "f")
    except ConfigError as error:
        problems = list(error.problems)
    assert all(problem.line and problem.column and problem.file == "f" for problem in problems)


@given(st.lists(st.integers(0, 9999)), st.sampled_from([" ", "\n", "\t", "  \r\n"]))
def test_numbers_come_back_whatever_stands_between_them(numbers: list[int], gap: str) -> None:
    assert parse(gap.join(map(str, numbers)).encode(), "f").indices == frozenset(numbers)
