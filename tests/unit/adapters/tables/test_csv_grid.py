"""Tables of separated values: read as the csv module reads them, changed in single cells and nowhere else."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.tables.csv_grid import CsvGrid, read_csv
from researchflow_tmux.adapters.sources.tables.encodings import decode
from researchflow_tmux.adapters.sources.tables.grid import Unreadable, typed


def texts(grid: CsvGrid) -> list[list[str]]:
    return [[cell.text if cell else "" for cell in record] for record in grid.records]


def test_a_cell_changes_and_nothing_else_does() -> None:
    data = b'\xef\xbb\xbfname;"run_num";note\r\n"a;b"; "0" ;"x ""y"""\r\n\r\nb;7;\xc3\xa4'
    grid = read_csv(data)
    assert grid.header == ["name", "run_num", "note"]
    assert texts(grid) == [["a;b", "0", 'x "y"'], ["b", "7", "ä"]]
    changed = grid.patched({(0, 1): 1, (1, 1): 10})
    assert changed.content() == data.replace(b' "0" ', b' "1" ').replace(b"b;7", b"b;10")
    assert changed.patched({(0, 1): 0, (1, 1): 7}).content() == data


def test_columns_are_added_behind_the_last_one_and_short_rows_are_filled_up() -> None:
    grid = read_csv(b"a,b\n1,2\n3\n\n").patched({(0, 2): 0, (1, 2): 0}, ["run_num"])
    assert grid.content() == b"a,b,run_num\n1,2,0\n3,,0\n\n"
    assert grid.header == ["a", "b", "run_num"]


def test_empty_cells_behind_the_header_are_used_for_the_new_column() -> None:
    grid = read_csv(b"a,,\n1,,\n").patched({(0, 1): 0}, ["run_num"])
    assert grid.content() == b"a,run_num,\n1,0,\n"


def test_a_row_longer_than_the_header_closes_the_table_for_new_columns() -> None:
    assert read_csv(b"a\n1,2\n").closed is not None


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (b"a;b\n1,5;2\n", ["a", "b"]),
        (b"a\tb\tc,d\n", ["a", "b", "c,d"]),
        (b"a|b\n", ["a", "b"]),
        (b"sep=;\r\na;b,c\r\n", ["a", "b,c"]),
        (b'"a,b";c\n', ["a,b", "c"]),
        (b"only\n1\n", ["only"]),
    ],
)
def test_the_delimiter_is_what_the_header_is_separated_by(data: bytes, header: list[str]) -> None:
    grid = read_csv(data)
    assert grid.header == header
    assert grid.content() == data


def test_tabs() -> None:
    assert read_csv(b"a,b\tc\n", tabs=True).header == ["a,b", "c"]


@pytest.mark.parametrize("data", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_no_table(data: bytes) -> None:
    with pytest.raises(Unreadable, match="is empty"):
        read_csv(data)


def test_a_quote_that_is_never_closed_is_told_with_its_line() -> None:
    with pytest.raises(Unreadable, match="never closed") as caught:
        read_csv(b'a,b\n1,2\n3,"4\n5,6\n')
    assert caught.value.line == 3


def test_places_count_lines_as_an_editor_does() -> None:
    grid = read_csv(b'a,b\n"x\ny",1\n\n3,abc\n')
    problem = grid.problem("t.csv", 1, 1, "bad", None)
    assert (problem.line, problem.column) == (5, 3)
    assert grid.problem("t.csv", None, 1, "bad", None).column == 3
    assert grid.problem("t.csv", 0, None, "bad", None).line == 2


def test_huge_cells_are_cells() -> None:
    long = "x" * 3_000_000
    assert texts(read_csv(f"a,b\n{long},1\n".encode())) == [[long, "1"]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("0.10", 0.1),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("007", "007"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("TRUE", True),
        ("false", False),
        ("12345678901234567890123", 12345678901234567890123),
        ("1_000", "1_000"),
        ("٣", "٣"),
    ],
)
def test_a_text_has_the_type_it_looks_like(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "cp1252"])
def test_encodings_survive(encoding: str) -> None:
    word = "模型" if encoding == "gbk" else "Größe"
    data = f"{word},run_num\r\nx,0\r\n".encode(encoding)
    grid = read_csv(data)
    assert grid.header[0] == word
    assert bool(grid.warnings) == (encoding in ("gbk", "cp1252"))
    assert grid.patched({(0, 1): 1}).content() == f"{word},run_num\r\nx,1\r\n".encode(encoding)[: len(data)]


@pytest.mark.parametrize("data", [b"\xff\xfea\x00\x00\xd8b\x00", b"a,\x00b\n"])
def test_what_is_no_text_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data)


# -- any bytes ---------------------------------------------------------------------------------------------------------

plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(plain, min_size=2, max_size=4), min_size=2, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_it_reads_what_the_csv_module_writes(rows: list[list[str]], ending: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    grid = read_csv(out.getvalue().encode())
    assert texts(grid) == [[cell if cell.strip() else "" for cell in row] for row in rows]


@given(st.binary(max_size=80))
def test_any_bytes_are_a_table_or_are_said_to_be_none(data: bytes) -> None:
    try:
        grid = read_csv(data)
    except Unreadable:
        return
    assert grid.content() == data
    assert grid.patched({}).content() == data


@given(st.text(alphabet='ab01,;"\n\r \t', max_size=60), st.data())
def test_a_change_leaves_every_other_cell_as_it_is(text: str, data: st.DataObject) -> None:
    try:
        grid = read_csv(text.encode())
    except Unreadable:
        return
    before = [list(record) for record in grid.records]
    if not before:
        return
    record = data.draw(st.integers(0, len(before) - 1))
    column = data.draw(st.integers(0, len(before[record])))
    after = read_csv(grid.patched({(record, column): 12345}).content())
    if after.delimiter != grid.delimiter or len(after.records) != len(before):
        return  # the header itself is ambiguous
    for index, cells in enumerate(before):
        expected = list(cells)
        if index == record:
            expected = expected + [None] * (column + 1 - len(expected))
            expected[column] = after.records[index][column]
            assert after.records[index][column].value == 12345  # type: ignore[union-attr]
        assert after.records[index] == expected
