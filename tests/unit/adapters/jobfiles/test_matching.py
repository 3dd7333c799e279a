"""Which job a line is, after any edit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.jobfiles.lines import parse
from researchflow_tmux.adapters.sources.jobfiles.matching import digest, match
from researchflow_tmux.adapters.sources.jobfiles.notes import Note, decode


def keys_of(text: str, notes: dict[str, str]) -> list[str]:
    lines = parse(text.encode()).commands
    return match("f", lines, notes, lambda mark, key: mark == decode(notes[key]).mark)


def noted(text: str) -> dict[str, str]:
    lines = parse(text.encode()).commands
    return {key: Note(mark=line.mark, label="1").encode() for key, line in zip(keys_of(text, {}), lines, strict=True)}


def key(command: str, number: int = 1) -> str:
    return f"f#{digest(command.encode())}.{number}"


def test_new_lines_are_numbered_and_the_same_each_time() -> None:
    assert keys_of("a\nb\na\n", {}) == [key("a"), key("b"), key("a", 2)] == keys_of("a\nb\na\n", {})


def test_moved_lines_keep_their_keys() -> None:
    assert keys_of("c\na\nb\n", noted("a\nb\nc\n")) == [key("c"), key("a"), key("b")]


def test_equal_lines_in_order_while_nothing_speaks_against_it() -> None:
    notes = noted("# a\n! a\na\n")
    assert keys_of("# a\n! a\na\n", notes) == [key("a", number) for number in (1, 2, 3)]
    assert keys_of("a\n! a\na\n", notes) == [key("a", number) for number in (1, 2, 3)]  # one mark taken away


def test_equal_lines_by_their_marks_when_moved_or_deleted() -> None:
    notes = noted("# a\n! a\na\n")
    assert keys_of("! a\na\n# a\n", notes) == [key("a", number) for number in (2, 3, 1)]
    assert keys_of("! a\na\n", notes) == [key("a", number) for number in (2, 3)]
    assert keys_of("a\n# a\n! a\na\n", notes) == [key("a", number) for number in (3, 1, 2, 4)]


def test_a_line_that_comes_back_is_the_one_that_went() -> None:
    notes = noted("a\na\n")
    notes[key("a")] = Note(mark="-", label="1").encode()
    assert keys_of("a\na\n", notes) == [key("a", 2), key("a")]
    assert keys_of("a\na\na\n", notes) == [key("a", 2), key("a"), key("a", 3)]


def test_many_equal_lines_are_no_burden() -> None:
    text = "a\n" * 20_000
    notes = noted(text)
    assert len(set(keys_of("b\n! a\n" + text, notes))) == 20_002


TEXTS = st.lists(st.tuples(st.sampled_from(["", "# ", "! ", "? "]), st.sampled_from("abc")), max_size=12).map(
    lambda lines: "".join(f"{mark}{command}\n" for mark, command in lines)
)


@given(TEXTS, TEXTS)
def test_no_two_lines_share_a_key_and_commands_keep_theirs(before: str, after: str) -> None:
    found = keys_of(after, noted(before))
    assert len(set(found)) == len(found)
    for line, name in zip(parse(after.encode()).commands, found, strict=True):
        assert name.startswith(f"f#{digest(line.command)}.")


@given(TEXTS)
def test_a_file_that_did_not_change_keeps_every_key(text: str) -> None:
    notes = noted(text)
    assert keys_of(text, notes) == list(notes)
