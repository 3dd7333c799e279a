"""Workbooks as the tests need them: made by openpyxl, and by hand where openpyxl cannot."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import openpyxl

SHEET = "xl/worksheets/sheet1.xml"
EXTRAS = {
    "xl/drawings/drawing1.xml": b"<xdr:wsDr>a text box</xdr:wsDr>",
    "xl/charts/chart1.xml": b"<c:chart>a chart</c:chart>",
    "xl/comments1.xml": b"<comments>a comment</comments>",
}
SPARKLINES = b'<extLst><ext uri="{05C60535-1F16-4fd2-B633-F4F36F0B64E0}"><groups>a sparkline</groups></ext></extLst>'


def workbook(*rows: Sequence[object], title: str = "Sheet1") -> bytes:
    """A plain workbook."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    """What the file holds, unpacked."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert package.testzip() is None
        return {name: package.read(name) for name in package.namelist()}


def rebuilt(data: bytes, changes: dict[str, bytes]) -> bytes:
    """The workbook with members changed and added."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for name, content in {**members(data), **changes}.items():
            package.writestr(name, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def with_sheet(xml: bytes) -> bytes:
    """A workbook whose first sheet is this XML."""
    return rebuilt(workbook(["x"]), {SHEET: xml})


def rich() -> bytes:
    """A workbook with what openpyxl loses: a cached formula value, sparklines, a text box, a chart, a comment."""
    xml = (
        b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
        b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        b'<dimension ref="A1:E3"/><sheetViews><sheetView workbookViewId="0"/></sheetViews>'
        b'<sheetData><row r="1" spans="1:5" ht="20" customHeight="1">'
        b'<c r="A1" t="inlineStr" s="0"><is><t>name</t></is></c><c r="B1" t="inlineStr"><is><t>run_num</t></is></c>'
        b'<c r="C1" t="inlineStr"><is><t>need_run_num</t></is></c><c r="D1" t="inlineStr"><is><t>cmd</t></is></c>'
        b'<c r="E1" t="inlineStr"><is><t>left</t></is></c></row>'
        b'<row r="2" spans="1:5"><c r="A2" t="inlineStr"><is><t>one</t></is></c><c r="B2" s="0"><v>0</v></c>'
        b'<c r="C2"><v>2</v></c><c r="D2" t="inlineStr"><is><t xml:space="preserve">echo a &gt; b</t></is></c>'
        b'<c r="E2"><f>C2-B2</f><v>2</v></c></row>'
        b'<row r="3" spans="1:5"><c r="A3" t="inlineStr"><is><t>two</t></is></c>'
        b'<c r="C3"><v>1</v></c><c r="D3" t="inlineStr"><is><t>true</t></is></c>'
        b'<c r="E3"><f>C3-B3</f><v>1</v></c></row>'
        b"</sheetData>" + SPARKLINES + b"</worksheet>"
    )
    return rebuilt(workbook(["x"]), {SHEET: xml, **EXTRAS})
