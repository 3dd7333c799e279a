"""The lines of a job file: any bytes can be read, and only marks are ever changed."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.jobfiles.lines import mark_of, parse, remark, split

MARKS = ("", "!", "#", "?")
PIECES = b"#|!|?|@|\t|\n|\r\n|echo|\\|\xef\xbb\xbf|\xff|\0|a=1| ".split(b"|")
FILES = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join) | st.binary(max_size=80)


def commands(data: bytes) -> list[tuple[str, bytes]]:
    return [(line.mark, line.command) for line in parse(data).commands]


@pytest.mark.parametrize(
    ("line", "mark", "command"),
    [
        (b"python a.py", "", b"python a.py"),
        (b"# python a.py", "#", b"python a.py"),
        (b"#python a.py  ", "#", b"python a.py"),
        (b"  ?\tpython a.py\r", "?", b"python a.py"),
        (b"! python a.py    # running", "!", b"python a.py    # running"),
        (b"# ! python a.py", "#", b"python a.py"),
        (b"# # python a.py", "#", b"python a.py"),
        (b"word", "", b"word"),
        (b"#!cmd", "#", b"cmd"),
        (b"// not a comment", "", b"// not a comment"),
    ],
)
def test_commands(line: bytes, mark: str, command: bytes) -> None:
    assert commands(line) == [(mark, command)]
    assert commands(b"echo\n" + line + b"\n")[1:] == [(mark, command)]


@pytest.mark.parametrize(
    "line",
    [b"", b"  \t", b"## comment", b"  ##", b"# ## commented out", b"# #@ gpus=1", b"#", b"!", b"# ?", b"#!/bin/bash"],
)
def test_what_is_no_command(line: bytes) -> None:
    assert commands(line) == []
    assert parse(line).complaints == []


def test_options_hold_for_the_next_command_or_for_all_below() -> None:
    found = parse(b"#@@ a=1\n#@ b=1\n## comment\n#@ c=1\none\ntwo\n#@@ d=1\n # three\n")
    texts = [[option.text.strip() for option in line.options] for line in found.commands]
    assert texts == [[b"a=1", b"b=1", b"c=1"], [b"a=1"], [b"a=1", b"d=1"]]


def test_a_continued_line_is_no_command_and_nor_is_what_follows() -> None:
    found = parse(b"echo a \\\n  --b \\\n  --c\necho d\necho e \\\\\n# old \\\nlast \\")
    assert [line.command for line in found.commands] == [b"echo d", b"echo e \\\\", b"old \\"]
    assert [complaint.index for complaint in found.complaints] == [0, 6]


@given(FILES)
def test_any_bytes_can_be_read_and_put_together_again(data: bytes) -> None:
    found = parse(data)
    raw = split(data)
    assert b"\n".join(raw) == data
    for line in found.commands:
        assert mark_of(raw[line.index], line.index) == line.mark


@example(b"!@x", ["#"])
@example(b"\xef\xbb\xbf! a", ["", "#"])
@given(FILES, st.lists(st.sampled_from(MARKS), min_size=1, max_size=4))
def test_marks_change_and_nothing_else(data: bytes, marks: list[str]) -> None:
    """Whatever marks are written one after the other: the commands stay, and so does every byte outside the marks."""
    found = [command for _, command in commands(data)]
    assume(not any(command.endswith(b"\\") or command.startswith(b"\xef\xbb\xbf") for command in found))  # no jobs
    raw = split(data)
    for mark in marks:
        for line in parse(b"\n".join(raw)).commands:
            before = raw[line.index]
            raw[line.index] = remark(before, line.index, mark)
            assert bare(raw[line.index], line.command) == bare(before, line.command)
        now = b"\n".join(raw)
        assert commands(now) == [(mark, command) for command in found]
        assert parse(now).complaints == parse(data).complaints


def bare(line: bytes, command: bytes) -> tuple[bytes, bytes]:
    """What of a line is neither a mark nor a blank beside one."""
    head, _, tail = line.rpartition(command)
    return head.translate(None, b"#?! \t"), tail


@given(st.binary(max_size=30), st.sampled_from(MARKS[1:]))
def test_a_mark_that_we_wrote_goes_without_a_trace(data: bytes, mark: str) -> None:
    for line in parse(data).commands:
        raw = split(data)[line.index]
        if not line.mark:
            assert remark(remark(raw, line.index, mark), line.index, "") == raw
