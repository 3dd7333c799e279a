"""Tables of Excel: openpyxl reads the values of the first visible sheet, cells are changed inside the zip."""

from __future__ import annotations

import datetime as dt
import io
import posixpath
import warnings
from collections.abc import Iterator, Sequence
from xml.parsers import expat

from researchflow_tmux.adapters.sources.tables.grid import (
    MAX_COLUMNS,
    MAX_RECORDS,
    Cell,
    Edits,
    Record,
    Unreadable,
    plain_number,
    width,
)
from researchflow_tmux.adapters.sources.tables.sheet_xml import SheetXml, column_name
from researchflow_tmux.adapters.sources.tables.zip_package import DAMAGED, SAVE_AGAIN, Package
from researchflow_tmux.domain.errors import Problem

MAX_CELLS = 20_000_000
ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})


def read_xlsx(data: bytes) -> XlsxGrid:
    """Read a workbook. Raises Unreadable; also if openpyxl is not installed."""
    if not data:
        raise Unreadable("is empty", hint="the first row names the columns")
    package = Package(data)
    sheet, member = _first_sheet(package)
    xml = SheetXml(package.read(member))
    rows = _values(data, sheet)
    if not rows:
        raise Unreadable(f"has nothing in its sheet {sheet!r}", hint="the first row names the columns")
    return XlsxGrid(package, xml, sheet, member, [number for number, _ in rows], [row for _, row in rows])


class XlsxGrid:
    """See `Grid`. `numbers` are the sheet's row numbers of `rows`, the header first; empty rows are left out."""

    def __init__(
        self,
        package: Package,
        xml: SheetXml,
        sheet: str,
        member: str,
        numbers: list[int],
        rows: list[Record],
        formulas: dict[tuple[int, int], bool] | None = None,
    ) -> None:
        """`formulas` as `SheetXml.formulas`, if they are known."""
        self.package = package
        self.xml = xml
        self.sheet = sheet
        self.member = member
        self.numbers = numbers
        self.warnings: list[str] = []
        self._rows = rows
        self.header = [cell.text.strip() if cell else "" for cell in rows[0]]
        self.records = rows[1:]
        used = width(self.header, [])
        self.closed: str | None = None
        if width(self.header, self.records) > used:
            self.closed = "a row has a value in a column without a name"
        self.header = self.header[:used]
        self._formulas = xml.formulas() if formulas is None else formulas
        self._merged = [
            area for area in xml.merged() if area[1] <= used and area[2] >= numbers[0] and area[0] <= numbers[-1]
        ]

    def place(self, record: int | None, column: int | None) -> str:
        """Sheet1!B7."""
        number = self.numbers[0 if record is None else record + 1]
        sheet = self.sheet if self.sheet.isalnum() else f"'{self.sheet}'"
        return f"{sheet} row {number}" if column is None else f"{sheet}!{column_name(column + 1)}{number}"

    def problem(self, file: str, record: int | None, column: int | None, message: str, hint: str | None) -> Problem:
        """With sheet and cell in the words."""
        return Problem(message=f"{self.place(record, column)}: {message}", file=file, hint=hint)

    def frozen_cell(self, record: int, column: int) -> str | None:
        """A formula is the user's: nothing is written over it."""
        if (self.numbers[record + 1], column + 1) in self._formulas:
            return "holds a formula, which is not written over"
        return None

    def fault(self, record: int | None) -> tuple[int | None, str, str | None] | None:
        """Merged cells, errors, and formulas that nobody has computed."""
        number = self.numbers[0 if record is None else record + 1]
        for top, left, bottom, right in self._merged:
            if top <= number <= bottom:
                area = f"{column_name(left)}{top}:{column_name(right)}{bottom}"
                return left - 1, f"the cells {area} are merged into one", "unmerge them and fill in each"
        cells = self._rows[0 if record is None else record + 1]
        for column, cell in enumerate(cells):
            if cell is not None and cell.text in ERRORS:
                return column, f"{cell.text} is an error of the spreadsheet", "correct the formula"
            if cell is None and self._formulas.get((number, column + 1)) is False:
                what = "holds a formula whose value is not in the file"
                return column, what, "open the file in Excel or LibreOffice and save it"
        return None

    def patched(self, edits: Edits, added: Sequence[str] = ()) -> XlsxGrid:
        """See `Grid`."""
        count = len(self.header)
        changes: dict[int, dict[int, int | str]] = {}
        rows = list(self._rows)
        named = {(-1, count + index): name for index, name in enumerate(added)}
        for (record, column), value in {**named, **edits}.items():
            if value == "":
                continue  # an empty cell needs no place in a sheet
            changes.setdefault(self.numbers[record + 1], {})[column + 1] = value
            cells = rows[record + 1]
            longer = [*cells, *[None] * (column + 1 - len(cells))]
            longer[column] = Cell(str(value), value)
            rows[record + 1] = longer
        xml = self.xml.patched(changes)
        return XlsxGrid(self.package, xml, self.sheet, self.member, self.numbers, rows, self._formulas)

    def content(self) -> bytes:
        """See `Grid`."""
        data = self.package.replaced(self.member, self.xml.data)
        self.package = Package(data)
        return data


# -- values ------------------------------------------------------------------------------------------------------------


def _values(data: bytes, sheet: str) -> list[tuple[int, Record]]:
    """(row number, cells) of all rows that have a value."""
    try:
        import openpyxl
    except ImportError:
        hint = "pip install 'researchflow_tmux[xlsx]', or save the table as .csv"
        raise Unreadable("is an Excel file, and openpyxl, which reads them, is not installed", hint=hint) from None
    found: list[tuple[int, Record]] = []
    cells = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about drawings and the like, which are none of our business
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            rows = book[sheet]
            rows.reset_dimensions()  # what a file says of its size need not be true
            for number, values in enumerate(rows.iter_rows(values_only=True), 1):
                cells += len(values) + 1
                record = [_cell(value) for value in values]
                if any(record):
                    found.append((number, record))
                if cells > MAX_CELLS or len(found) > MAX_RECORDS or len(record) > MAX_COLUMNS:
                    break
    except Exception as error:  # noqa: BLE001 - a damaged workbook raises whatever it likes
        raise Unreadable(f"{DAMAGED}: {str(error) or type(error).__name__}", hint=SAVE_AGAIN) from None
    if cells > MAX_CELLS or len(found) > MAX_RECORDS or any(len(record) > MAX_COLUMNS for _, record in found[-1:]):
        raise Unreadable(f"has more than {MAX_RECORDS} rows or {MAX_COLUMNS} columns", hint="split the table")
    return found


def _cell(value: object) -> Cell | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return Cell(str(value), value)
    if isinstance(value, int):
        return Cell(str(value), value)
    if isinstance(value, float):
        text = plain_number(value)
        return Cell(text, int(text) if text.lstrip("-").isdigit() else value)
    text = _moment(value) if isinstance(value, dt.date | dt.time | dt.timedelta) else str(value)
    return Cell(text, text)


def _moment(value: dt.date | dt.time | dt.timedelta) -> str:
    """2026-01-31, or 2026-01-31T12:30:00 if it says a time of day."""
    if isinstance(value, dt.datetime):
        return (value.date() if value.time() == dt.time() else value).isoformat()
    return str(value) if isinstance(value, dt.timedelta) else value.isoformat()


# -- where the sheet is ------------------------------------------------------------------------------------------------


def _first_sheet(package: Package) -> tuple[str, str]:
    """(name, member of the zip) of the first sheet that is not hidden."""
    root = [target for kind, _, target in _relations(package, "_rels/.rels") if kind.endswith("/officeDocument")]
    book = root[0].lstrip("/") if root else "xl/workbook.xml"
    folder, name = posixpath.split(book)
    relations = _relations(package, posixpath.join(folder, "_rels", f"{name}.rels"))
    targets = {key: target for kind, key, target in relations if kind.endswith("/worksheet")}
    for tag, attributes in _elements(package.read(book)):
        key = next((value for name, value in attributes.items() if name.rpartition(":")[2] == "id"), "")
        if tag == "sheet" and attributes.get("state", "visible") == "visible" and key in targets:
            member = posixpath.normpath(posixpath.join("/", folder, targets[key])).lstrip("/")
            return attributes.get("name", ""), member
    raise Unreadable("has no visible sheet", hint="show one, or save the table as .csv")


def _relations(package: Package, member: str) -> Iterator[tuple[str, str, str]]:
    for tag, attributes in _elements(package.read(member)):
        if tag == "Relationship":
            yield attributes.get("Type", ""), attributes.get("Id", ""), attributes.get("Target", "")


def _elements(data: bytes) -> list[tuple[str, dict[str, str]]]:
    """(local name, attributes) of all elements. An XML with declarations of its own is refused, unread."""
    found: list[tuple[str, dict[str, str]]] = []

    def refuse(*_: object) -> None:
        raise Unreadable(f"{DAMAGED}: it has XML declarations that no spreadsheet writes", hint=SAVE_AGAIN)

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: found.append((name.rpartition(":")[2], attributes))
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"{DAMAGED}: {error}", hint=SAVE_AGAIN) from None
    return found
