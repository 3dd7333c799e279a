"""Tables of Excel: values by openpyxl, cells changed in the zip, and all the rest byte for byte as it was."""

from __future__ import annotations

import datetime as dt
import io
import struct
import sys
import zipfile

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.tables import zip_package
from researchflow_tmux.adapters.sources.tables.grid import Unreadable
from researchflow_tmux.adapters.sources.tables.sheet_xml import SheetXml, column_name, column_number
from researchflow_tmux.adapters.sources.tables.xlsx_grid import read_xlsx
from researchflow_tmux.adapters.sources.tables.zip_package import Package
from tests.unit.adapters.tables.workbooks import EXTRAS, SHEET, SPARKLINES, members, rebuilt, rich, with_sheet, workbook


def values(data: bytes) -> list[list[object]]:
    sheet = openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def test_values_have_no_nan_and_no_point_zero() -> None:
    moment = dt.datetime(2026, 1, 31, 12, 30, tzinfo=None)  # noqa: DTZ001 - spreadsheets know no time zones
    row = ["x", None, 64.0, 1e-5, True, 12345678901234, dt.date(2026, 1, 31), moment, 0.1, "007", " "]
    grid = read_xlsx(workbook([f"c{index}" for index in range(len(row))], row))
    assert [cell.text if cell else None for cell in grid.records[0]] == [
        "x",
        None,
        "64",
        "1e-05",
        "True",
        "12345678901234",
        "2026-01-31",
        "2026-01-31T12:30:00",
        "0.1",
        "007",
        None,
    ]
    assert [type(cell.value) for cell in grid.records[0] if cell][1:4] == [int, float, bool]


def test_a_count_is_written_and_no_other_byte_of_any_member_changes() -> None:
    data = rich()
    grid = read_xlsx(data)
    after = grid.patched({(0, 1): 1, (1, 1): 10}).content()
    before, now = members(data), members(after)
    assert list(now) == list(before)
    assert {name for name in now if now[name] != before[name]} == {SHEET}
    expected = before[SHEET].replace(b'<c r="B2" s="0"><v>0</v></c>', b'<c r="B2" s="0"><v>1</v></c>')
    expected = expected.replace(b'</is></c><c r="C3">', b'</is></c><c r="B3"><v>10</v></c><c r="C3">')
    assert now[SHEET] == expected
    assert SPARKLINES in now[SHEET]
    assert all(now[name] == content for name, content in EXTRAS.items())
    assert read_xlsx(after).records[1][1].value == 10  # type: ignore[union-attr]


def test_packed_members_are_not_packed_again() -> None:
    data = rich()
    after = read_xlsx(data).patched({(0, 1): 7}).content()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(io.BytesIO(after)) as new:
        for was, is_now in zip(old.infolist(), new.infolist(), strict=True):
            if was.filename != SHEET:
                raw = data[was.header_offset :][: 30 + len(was.filename) + was.compress_size]
                assert after[is_now.header_offset :][: len(raw)] == raw
            assert (was.date_time, was.external_attr) == (is_now.date_time, is_now.external_attr)


def test_openpyxl_would_have_lost_what_is_kept_here() -> None:
    """Why cells are patched: the same change by way of openpyxl loses members and cached values."""
    with pytest.warns(UserWarning, match="not supported and will be removed"):
        book = openpyxl.load_workbook(io.BytesIO(rich()))
    book.worksheets[0]["B2"] = 1
    out = io.BytesIO()
    book.save(out)
    saved = members(out.getvalue())
    assert not EXTRAS.keys() & saved.keys()
    assert b"<f>C2-B2</f><v>2</v>" not in saved[SHEET]
    assert b"sparkline" not in saved[SHEET]


def test_columns_are_added_behind_the_last_one() -> None:
    data = workbook(["lr", "cmd"], [0.1, "a"], [None, None], [0.2, "b"])
    added: dict[tuple[int, int], int | str] = {(0, 2): 0, (1, 2): 0, (0, 3): "Task:0", (1, 3): "Task:1"}
    grid = read_xlsx(data).patched(added, ["run_num", "name"])
    assert values(grid.content()) == [
        ["lr", "cmd", "run_num", "name"],
        [0.1, "a", 0, "Task:0"],
        [None, None, None, None],
        [0.2, "b", 0, "Task:1"],
    ]
    assert b'<dimension ref="A1:D4"' in members(grid.content())[SHEET]
    assert values(grid.patched({(1, 2): 1}).content())[3] == [0.2, "b", 1, "Task:1"]


def test_text_that_xml_must_not_hold_is_escaped() -> None:
    grid = read_xlsx(workbook(["a"], ["x"])).patched({(0, 1): "<&>"}, ["n"])
    assert values(grid.content()) == [["a", "n"], ["x", "<&>"]]


def test_the_first_visible_sheet_is_the_table() -> None:
    book = openpyxl.Workbook()
    book.active.append(["hidden"])
    book.active.sheet_state = "hidden"
    book.create_sheet("The tasks").append(["lr"])
    book.worksheets[1].append([1])
    out = io.BytesIO()
    book.save(out)
    grid = read_xlsx(out.getvalue())
    assert grid.header == ["lr"]
    assert grid.place(0, 0) == "'The tasks'!A2"
    assert grid.problem("t.xlsx", 0, None, "bad", None).message == "'The tasks' row 2: bad"


def test_rows_and_cells_without_places_are_counted() -> None:
    xml = (
        b'<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData>'
        b'<x:row><x:c t="inlineStr"><x:is><x:t>a</x:t></x:is></x:c><x:c t="inlineStr"><x:is><x:t>b</x:t></x:is></x:c>'
        b"</x:row><x:row/><x:row><x:c><x:v>1</x:v></x:c><x:c/></x:row></x:sheetData></x:worksheet>"
    )
    sheet = SheetXml(xml).patched({3: {2: 5}})
    assert sheet.data == xml.replace(b"<x:c/>", b"<x:c><x:v>5</x:v></x:c>")


def test_a_formula_is_never_written_over() -> None:
    grid = read_xlsx(rich())
    assert grid.frozen_cell(0, 4) is not None
    assert grid.frozen_cell(0, 1) is None


def test_what_makes_a_row_unfit_is_told_by_its_cell() -> None:
    book = openpyxl.Workbook()
    for row in (["a", "b"], ["=1+1", 1], ["#DIV/0!", 1], ["x", 1], [None, 1], ["y", 1]):
        book.active.append(row)
    book.active.merge_cells("A4:A5")
    out = io.BytesIO()
    book.save(out)
    grid = read_xlsx(out.getvalue())
    faults = [grid.fault(index) for index in range(5)]
    assert faults[0] is not None
    assert "value is not in the file" in faults[0][1]
    assert faults[1] is not None
    assert "error of the spreadsheet" in faults[1][1]
    assert faults[2] == faults[3] is not None
    assert "A4:A5" in (faults[2] or (0, ""))[1]
    assert faults[4] is None
    assert grid.fault(None) is None


def test_columns_have_letters() -> None:
    assert [column_name(number) for number in (1, 26, 27, 702, 703)] == ["A", "Z", "AA", "ZZ", "AAA"]
    assert all(column_number(column_name(number)) == number for number in range(1, 20_000, 7))


# -- what is no table --------------------------------------------------------------------------------------------------


def test_without_openpyxl_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(Unreadable, match="openpyxl") as caught:
        read_xlsx(rich())
    assert "pip install" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"name,cmd\n", "no sound .xlsx"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "password"),
        (rich()[:900], "no sound .xlsx"),
        (rebuilt(rich(), {"xl/workbook.xml": b"<workbook/>"}), "no visible sheet"),
        (rebuilt(rich(), {"xl/workbook.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]><workbook/>"}), "declarations"),
        (rebuilt(rich(), {"xl/workbook.xml": b"<work"}), "no sound .xlsx"),
        (with_sheet(b"<worksheet/>"), "without data"),
        (with_sheet(b"<worksheet><sheetData/></worksheet>"), "has nothing"),
        (with_sheet(b"<worksheet><sheetData><row r='1'><c r='A1'><v>"), "no sound .xlsx"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_xlsx(data)


def test_a_zip_bomb_is_refused_unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_package, "MAX_UNPACKED", 1 << 20)
    bomb = rebuilt(rich(), {"xl/media/bomb.bin": b"\0" * (2 << 20)})
    assert len(bomb) < 20_000
    with pytest.raises(Unreadable, match="would unpack to more"):
        read_xlsx(bomb)


def test_a_member_that_unpacks_to_more_than_it_claims_is_cut_off() -> None:
    data = bytearray(rebuilt(rich(), {"xl/media/bomb.bin": b"\0" * 100_000}))
    size = struct.pack("<I", 100_000)
    at = data.rfind(size)  # in the central directory, which is what is believed
    data[at : at + 4] = struct.pack("<I", 10)
    package = Package(bytes(data))
    with pytest.raises(Unreadable):
        package.read("xl/media/bomb.bin")


def test_a_stream_written_zip_can_be_patched() -> None:
    """Members with a data descriptor behind them: what writes to a pipe makes such files."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:  # type: ignore[override]
            self.data += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members(rich()).items():
            package.writestr(name, content)
    after = read_xlsx(pipe.data).patched({(0, 1): 1}).content()
    assert members(after).keys() == members(rich()).keys()


def test_a_zip64_file_is_read_and_not_written() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members(rich()).items():
            package.writestr(name, content)
    data = bytearray(out.getvalue())
    at = data.rfind(b"PK\x01\x02")
    data[at + 42 : at + 46] = b"\xff" * 4
    extra = struct.pack("<HHQ", 1, 8, zipfile.ZipFile(io.BytesIO(out.getvalue())).infolist()[-1].header_offset)
    name = struct.unpack_from("<H", data, at + 28)[0]
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    data[at + 46 + name : at + 46 + name] = extra
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", struct.unpack_from("<I", data, end + 12)[0] + len(extra))
    grid = read_xlsx(bytes(data))
    with pytest.raises(Unreadable, match="zip64"):
        grid.patched({(0, 1): 1}).content()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_told_and_never_a_traceback(data: st.DataObject) -> None:
    book = bytearray(DAMAGED_BOOK)
    for _ in range(data.draw(st.integers(1, 8))):
        book[data.draw(st.integers(0, len(book) - 1))] = data.draw(st.integers(0, 255))
    try:
        grid = read_xlsx(bytes(book))
        after = grid.patched({(0, 1): 1} if grid.records else {}).content()
    except Unreadable:
        return
    read_xlsx(after)


DAMAGED_BOOK = rich()
