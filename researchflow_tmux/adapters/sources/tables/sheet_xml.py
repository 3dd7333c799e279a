"""The XML of one worksheet, in which single cells can be replaced; every other byte stays where it is.

Cells lie in rows and rows in `sheetData`; text in them is escaped, so a tag that is found there is a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from researchflow_tmux.adapters.sources.tables.grid import Unreadable
from researchflow_tmux.adapters.sources.tables.zip_package import SAVE_AGAIN

Span = tuple[int, int]
RowSpan = tuple[int, int, int]
"""(number in the sheet, start, end)."""
Area = tuple[int, int, int, int]
"""(first row, first column, last row, last column), counted from 1."""

_REST = rb"""(?:[^<>"']|"[^"]*"|'[^']*')*>"""
_PREFIX = rb"(?:[A-Za-z_][\w.-]*:)?"
_SHEET_DATA = re.compile(rb"<(" + _PREFIX + rb")sheetData(?=[\s/>])" + _REST)
_DIMENSION = re.compile(rb"<" + _PREFIX + rb"dimension\s[^>]*?\bref=\"([A-Z]+)([0-9]+)(?::([A-Z]+)([0-9]+))?\"")
_MERGE = re.compile(rb"<" + _PREFIX + rb"mergeCell\s[^>]*?\bref=\"([A-Z]+)([0-9]+):([A-Z]+)([0-9]+)\"")
_R = re.compile(rb"""\sr=["']([A-Z]*)([0-9]+)["']""")
_TYPE = re.compile(rb"""\s+t=("[^"]*"|'[^']*')""")
_STYLE = re.compile(rb"""\ss=["']([0-9]+)["']""")
_SPANS = re.compile(rb"""(\sspans=["'][0-9]+:)([0-9]+)""")


class SheetXml:
    """Raises Unreadable where the sheet is not built as sheets are."""

    def __init__(self, data: bytes, rows: list[RowSpan] | None = None) -> None:
        self.data = data
        opening = _SHEET_DATA.search(data)
        if opening is None:
            raise Unreadable("has a sheet without data", hint=SAVE_AGAIN)
        self._prefix = opening[1]
        self._start = opening.end()
        closing = data.find(b"</" + self._prefix + b"sheetData", self._start)
        self._end = self._start if opening[0].endswith(b"/>") or closing < 0 else closing
        self._row = re.compile(b"<" + re.escape(self._prefix) + rb"row(?=[\s/>])" + _REST)
        self._cell = re.compile(b"<" + re.escape(self._prefix) + rb"c(?=[\s/>])" + _REST)
        self._close = re.compile(b"</" + re.escape(self._prefix) + rb"c\s*>")
        self._rows = rows

    @property
    def rows(self) -> list[RowSpan]:
        """All rows, in the order of the sheet."""
        if self._rows is None:
            self._rows = list(self._find_rows())
        return self._rows

    def merged(self) -> list[Area]:
        """The areas whose cells are merged into one."""
        found = []
        for match in _MERGE.finditer(self.data, self._end):
            first, top, last, bottom = (match[index] for index in range(1, 5))
            found.append((int(top), column_number(first), int(bottom), column_number(last)))
        return found

    def formulas(self) -> dict[tuple[int, int], bool]:
        """Cells with a formula, by (row, column) from 1; True = what it came to is kept beside it.

        An empty text is kept as well; it has no value, but a type.
        """
        mark = b"<" + self._prefix + b"f"
        if self.data.find(mark, self._start, self._end) < 0:
            return {}
        kept = re.compile(b"<" + re.escape(self._prefix) + rb"v(?=[\s>])[^>]*>[^<]|<[^>]*\st=[\"']str[\"']")
        found = {}
        for number, start, end in self.rows:
            if self.data.find(mark, start, end) < 0:
                continue
            for column, (at, until) in self._cells(start, end).items():
                if self.data.find(mark, at, until) >= 0:
                    found[number, column] = kept.search(self.data, at, until) is not None
        return found

    # -- changes

    def patched(self, changes: Mapping[int, Mapping[int, int | str]]) -> SheetXml:
        """The sheet with other values in cells, given by row and column, both from 1. The rows must be there."""
        if b"<!" in self.data[self._start : self._end]:
            raise Unreadable("has a sheet with comments between its cells: none can be changed", hint=SAVE_AGAIN)
        pieces, done, shift = [], 0, 0
        rows = []
        for number, start, end in self.rows:
            if number not in changes:
                rows.append((number, start + shift, end + shift))
                continue
            new = self._changed(number, start, end, changes[number])
            pieces += [self.data[done:start], new]
            done = end
            rows.append((number, start + shift, start + shift + len(new)))
            shift += len(new) - (end - start)
        if not changes.keys() <= {number for number, _, _ in rows}:
            raise Unreadable("has a sheet whose rows are numbered in no usual way", hint=SAVE_AGAIN)
        data = b"".join([*pieces, self.data[done:]])
        last = max((column for values in changes.values() for column in values), default=1)
        wider = _widened(data, last)
        moved = len(wider) - len(data)
        return SheetXml(wider, [(number, start + moved, end + moved) for number, start, end in rows])

    def _changed(self, number: int, start: int, end: int, values: Mapping[int, int | str]) -> bytes:
        cells = self._cells(start, end)
        style = self._style(cells)
        edits: list[tuple[int, int, bytes]] = []
        for column in sorted(values):
            value = values[column]
            if column in cells:
                edits.append((*cells[column], self._replaced(cells[column], value)))
            else:
                before = [span[1] for other, span in cells.items() if other < column]
                at = max(before, default=self._tag_end(start))
                reference = f' r="{column_name(column)}{number}"'.encode()
                attributes = reference + (style if isinstance(value, str) else b"")
                edits.append((at, at, self._written(attributes, value)))
        pieces, done = [], start
        for at, until, new in edits:
            pieces += [self.data[done:at], new]
            done = until
        row, most = b"".join([*pieces, self.data[done:end]]), max(values)
        tag = self._tag_end(start) - start
        spans = _SPANS.sub(lambda found: found[1] + str(max(int(found[2]), most)).encode(), row[:tag])
        return spans + row[tag:]

    def _replaced(self, span: Span, value: int | str) -> bytes:
        tag = self.data[span[0] : self._tag_end(span[0])]
        name = 1 + len(self._prefix) + 1
        attributes = tag[name:].removesuffix(b">").removesuffix(b"/").rstrip()
        return self._written(_TYPE.sub(b"", attributes), value)

    def _written(self, attributes: bytes, value: int | str) -> bytes:
        prefix = self._prefix.decode()
        if isinstance(value, int):
            inner, kind = f"<{prefix}v>{value}</{prefix}v>", ""
        else:
            text = escape(value)
            inner = f'<{prefix}is><{prefix}t xml:space="preserve">{text}</{prefix}t></{prefix}is>'
            kind = ' t="inlineStr"'
        return f"<{prefix}c".encode() + attributes + f"{kind}>{inner}</{prefix}c>".encode()

    def _style(self, cells: Mapping[int, Span]) -> bytes:
        """The looks of the last text of a row, for one that is put beside it."""
        if not cells:
            return b""
        start, end = cells[max(cells)]
        match = _STYLE.search(self.data, start, min(self._tag_end(start), end))
        return b' s="' + match[1] + b'"' if match else b""

    # -- places

    def _find_rows(self) -> Iterator[RowSpan]:
        number, at = 0, self._start
        closing = b"</" + self._prefix + b"row"
        while (match := self._row.search(self.data, at, self._end)) is not None:
            said = _R.search(match[0])
            number = int(said[2]) if said else number + 1
            at = match.end()
            if not match[0].endswith(b"/>"):
                close = self.data.find(closing, at, self._end)
                at = self.data.find(b">", close) + 1 if close >= 0 else self._end
            yield number, match.start(), at

    def _cells(self, start: int, end: int) -> dict[int, Span]:
        """Where the cells of a row are, by column from 1."""
        found: dict[int, Span] = {}
        column, at = 0, start
        while (match := self._cell.search(self.data, at, end)) is not None:
            said = _R.search(match[0])
            column = column_number(said[1]) if said and said[1] else column + 1
            at = match.end()
            if not match[0].endswith(b"/>"):
                close = self._close.search(self.data, at, end)
                at = close.end() if close else end
            found[column] = (match.start(), at)
        return found

    def _tag_end(self, start: int) -> int:
        match = _TAG.match(self.data, start)
        assert match is not None, "a place of a tag"
        return match.end()


_TAG = re.compile(rb"<" + _REST)


def _widened(data: bytes, column: int) -> bytes:
    """The sheet with a dimension that reaches to this column."""
    match = _DIMENSION.search(data)
    if match is None or column_number(match[3] or match[1]) >= column:
        return data
    last = f"{column_name(column)}{(match[4] or match[2]).decode()}"
    new = f"{match[1].decode()}{match[2].decode()}:{last}".encode()
    return data[: match.start(1)] + new + data[match.end() - 1 :]


def column_number(name: bytes | str) -> int:
    """1 for A, 27 for AA."""
    number = 0
    for letter in name.encode() if isinstance(name, str) else name:
        number = number * 26 + letter - 64
    return number


def column_name(number: int) -> str:
    """A for 1, AA for 27."""
    name = ""
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name
