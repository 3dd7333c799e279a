"""Tables of separated values (.csv, .tsv): every cell knows where it stands, and a changed one is put in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from researchflow_tmux.adapters.sources.tables.encodings import Encoding, decode
from researchflow_tmux.adapters.sources.tables.grid import (
    MAX_COLUMNS,
    MAX_RECORDS,
    Edits,
    Record,
    Unreadable,
    cell_of,
    width,
)
from researchflow_tmux.domain.errors import Problem

Span = tuple[int, int]
DELIMITERS = ",;\t|"

_SEP_LINE = re.compile(r"sep=(.)(\r\n|\n|\r)", re.IGNORECASE)
_BREAK = re.compile(r"\r\n|\n|\r")


def read_csv(data: bytes, *, tabs: bool = False) -> CsvGrid:
    """Read a table; `tabs` = cells are separated by tabs. Raises Unreadable."""
    text, encoding = decode(data)
    sep = _SEP_LINE.match(text)
    start = sep.end() if sep else 0
    delimiter = "\t" if tabs else sep[1] if sep else _delimiter(text)
    field = _field(delimiter)
    lines = _records(text, start, field)
    if not lines:
        raise Unreadable("is empty", hint="the first line names the columns, such as: name,lr,cmd")
    return CsvGrid(text, encoding, delimiter, lines)


class CsvGrid:
    """See `Grid`. `lines` are the places of the records, the header first; blank lines are none."""

    closed: str | None = None

    def __init__(
        self, text: str, encoding: Encoding, delimiter: str, lines: list[Span], rows: list[Record] | None = None
    ) -> None:
        """`rows` are the cells of all lines, if they are known."""
        self.text = text
        self.encoding = encoding
        self.delimiter = delimiter
        self.lines = lines
        self.warnings = [encoding.warning] if encoding.warning else []
        self._field = _field(delimiter)
        rows = [self._cells(span) for span in lines] if rows is None else rows
        self._rows = rows
        self.header = [(cell.text.strip() if cell else "") for cell in rows[0]]
        self.records: list[Record] = rows[1:]
        self._numbers: list[int] = []
        used = width(self.header, [])
        if width(self.header, self.records) > used:
            self.closed = "a row has more cells than the header has names"
        self.header = self.header[:used]

    # -- places

    def problem(self, file: str, record: int | None, column: int | None, message: str, hint: str | None) -> Problem:
        """With the line and the column of the cell."""
        start, end = self.lines[0 if record is None else record + 1]
        spans = self._spans((start, end))
        at = start if column is None else spans[column][0] if column < len(spans) else end
        before = self.text.rfind("\n", 0, at) + 1
        place = at - before + 1 if column is not None else None
        return Problem(message=message, file=file, line=self._line(at), column=place, hint=hint)

    def fault(self, record: int | None) -> tuple[int | None, str, str | None] | None:
        """What is wrong with a single row would be wrong with the whole text."""
        return None

    def frozen_cell(self, record: int, column: int) -> str | None:
        """Text holds no formulas that anything computes."""
        return None

    def _line(self, at: int) -> int:
        if not self._numbers:
            self._numbers = [match.end() for match in _BREAK.finditer(self.text)]
        import bisect

        return bisect.bisect_right(self._numbers, at) + 1

    # -- cells

    def _spans(self, line: Span) -> list[Span]:
        """Where each cell of a record stands, with its quotes."""
        text, (at, end), field = self.text, line, self._field
        spans = []
        while True:
            match = field.match(text, at, end)
            assert match is not None, "the pattern takes the empty text too"
            spans.append(match.span())
            at = match.end()
            if at >= end or text[at] != self.delimiter:
                return spans
            at += 1

    def _cells(self, line: Span) -> Record:
        text = self.text
        if '"' not in text[line[0] : line[1]]:
            return [cell_of(part.strip()) for part in text[line[0] : line[1]].split(self.delimiter)]
        return [cell_of(_unquoted(text[start:end])) for start, end in self._spans(line)]

    # -- changes

    def patched(self, edits: Edits, added: Sequence[str] = ()) -> CsvGrid:
        """See `Grid`."""
        count = len(self.header)
        wanted: dict[int, dict[int, str]] = {}
        for (record, column), value in edits.items():
            wanted.setdefault(record + 1, {})[column] = str(value)
        if added:
            wanted[0] = {count + index: name for index, name in enumerate(added)}
        pieces, done, shift = [], 0, 0
        lines, rows = list(self.lines), list(self._rows)
        for index, line in enumerate(self.lines):
            if index not in wanted:
                lines[index] = (line[0] + shift, line[1] + shift)
                continue
            new = self._changed(line, wanted[index])
            rows[index] = _with(rows[index], wanted[index])
            pieces += [self.text[done : line[0]], new]
            done = line[1]
            lines[index] = (line[0] + shift, line[0] + shift + len(new))
            shift += len(new) - (line[1] - line[0])
        pieces.append(self.text[done:])
        return CsvGrid("".join(pieces), self.encoding, self.delimiter, lines, rows)

    def _changed(self, line: Span, values: dict[int, str]) -> str:
        spans = self._spans(line)
        text, (start, end) = self.text, line
        parts, done = [], start
        for column in sorted(column for column in values if column < len(spans)):
            at, until = spans[column]
            parts += [text[done:at], self._written(text[at:until], values[column])]
            done = until
        parts.append(text[done:end])
        for column in range(len(spans), max(values, default=0) + 1):
            parts += [self.delimiter, self._written("", values.get(column, ""))]
        return "".join(parts)

    def _written(self, old: str, new: str) -> str:
        """The new text as the cell had it: in quotes or not, with its blanks."""
        bare = old.strip()
        if old.lstrip(" ").startswith('"') or any(sign in new for sign in ('"', "\n", "\r", self.delimiter)):
            new = '"' + new.replace('"', '""') + '"'
        return old.replace(bare, new, 1) if bare else new

    def content(self) -> bytes:
        """See `Grid`."""
        return self.encoding.encode(self.text)


def _with(cells: Record, values: dict[int, str]) -> Record:
    changed = cells + [None] * (max(values) + 1 - len(cells))
    for column, value in values.items():
        changed[column] = cell_of(value)
    return changed


def _unquoted(text: str) -> str:
    """What a cell says. Blanks around an unquoted one are not meant."""
    bare = text.lstrip(" ")
    if not bare.startswith('"'):
        return text.strip()
    close = bare.rfind('"')
    return bare[1:close].replace('""', '"') + bare[close + 1 :].rstrip()


def _field(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'(?: *"(?:[^"]|"")*")?[^{re.escape(delimiter)}\r\n]*')


def _delimiter(text: str) -> str:
    """The sign that the first line has most of, outside of quotes."""
    end = _BREAK.search(text)
    first = re.sub(r'"[^"]*"', "", text[: end.start()] if end else text)
    return max(DELIMITERS, key=lambda sign: (first.count(sign), -DELIMITERS.index(sign)))


def _records(text: str, at: int, field: re.Pattern[str]) -> list[Span]:
    """The places of all records that are not blank."""
    lines: list[Span] = []
    columns = 0
    start, end = at, len(text)
    while at < end:
        match = field.match(text, at)
        assert match is not None, "the pattern takes the empty text too"
        _check_quote(text, match)
        at = match.end()
        columns += 1
        if at < end and text[at] not in "\r\n":
            at += 1
            if at < end:
                continue
        if text[start:at].strip():
            lines.append((start, at))
        if len(lines) > MAX_RECORDS + 1 or columns > MAX_COLUMNS:
            raise Unreadable(f"has more than {MAX_RECORDS} rows or {MAX_COLUMNS} columns", hint="split the table")
        at += 2 if text.startswith("\r\n", at) else 1
        start, columns = at, 0
    return lines


def _check_quote(text: str, match: re.Match[str]) -> None:
    if match[0].lstrip(" ").startswith('"') and match[0].count('"') == 1:
        line = len(_BREAK.findall(text, 0, match.start())) + 1
        raise Unreadable("a quote is opened here and never closed", line=line, hint='a quote in a cell is doubled: ""')
