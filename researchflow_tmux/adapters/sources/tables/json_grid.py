"""Tables in JSON: a list of objects, each value with its place, so that one can be changed in the text as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from researchflow_tmux.adapters.sources.tables.encodings import Encoding, decode
from researchflow_tmux.adapters.sources.tables.grid import (
    MAX_COLUMNS,
    MAX_RECORDS,
    Cell,
    Edits,
    Record,
    Unreadable,
)
from researchflow_tmux.domain.errors import Problem

Span = tuple[int, int]
HINT = 'write a list of objects, one a task: [{"lr": 0.1, "cmd": "python train.py"}]'

_BLANK = re.compile(r"[ \t\r\n]*")
_NAME = re.compile(r'[ \t\r\n]*"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
"""A key without escapes, and what stands around it."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


_decoder = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=lambda _: None)


class _Object:
    """One object of the list: where it stands, and, counted from there, where each of its values does."""

    __slots__ = ("last", "size", "spans", "start", "twice", "values")

    def __init__(self, start: int) -> None:
        self.start = start
        self.size = 0
        self.last: Span | None = None
        """From the end of the last value but one to the beginning of the last member: what stands between two."""
        self.spans: dict[str, Span] = {}
        self.values: dict[str, Any] = {}
        self.twice: str | None = None
        """A key that is there more than once: nobody can know which of its values is meant."""

    def at(self, start: int) -> _Object:
        """The same object somewhere else."""
        moved = _Object(start)
        moved.size, moved.last, moved.spans, moved.values = self.size, self.last, self.spans, self.values
        moved.twice = self.twice
        return moved


def read_json(data: bytes) -> JsonGrid:
    """Read a table. Raises Unreadable."""
    text, encoding = decode(data)
    if not text.strip():
        raise Unreadable("is empty", hint=HINT)
    try:
        return JsonGrid(text, encoding, _Scan(text).objects())
    except json.JSONDecodeError as error:
        message = f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise Unreadable(message, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise Unreadable("is nested too deeply", hint=HINT) from None


class JsonGrid:
    """See `Grid`. Columns are the keys of all objects, in the order in which they first appear."""

    closed: str | None = None

    def __init__(
        self, text: str, encoding: Encoding, objects: list[_Object], rows: tuple[list[str], list[Record]] | None = None
    ) -> None:
        """`rows` are the header and the records, if they are known."""
        self.text = text
        self.encoding = encoding
        self.objects = objects
        self.warnings = [encoding.warning] if encoding.warning else []
        if rows is None:
            header = list(dict.fromkeys(key for item in objects for key in item.values))
            if len(header) > MAX_COLUMNS:
                raise Unreadable(f"has more than {MAX_COLUMNS} different keys", hint="split the table")
            rows = header, [self._record(item, header) for item in objects]
        self.header, self.records = rows

    def _record(self, item: _Object, header: Sequence[str]) -> Record:
        return [_cell(item, key, self.text) for key in header]

    def problem(self, file: str, record: int | None, column: int | None, message: str, hint: str | None) -> Problem:
        """With the line and the column of the value."""
        if record is None:
            key = None if column is None else self.header[column]
            record = next((index for index, item in enumerate(self.objects) if key in item.spans), 0)
        if record >= len(self.objects):
            return Problem(message=message, file=file, hint=hint)
        item = self.objects[record]
        key = None if column is None or column >= len(self.header) else self.header[column]
        at = item.start + item.spans.get(key or "", (0, 0))[0]
        line = self.text.count("\n", 0, at) + 1
        place = at - (self.text.rfind("\n", 0, at) + 1) + 1
        return Problem(message=message, file=file, line=line, column=place, hint=hint)

    def fault(self, record: int | None) -> tuple[int | None, str, str | None] | None:
        """A key that is there twice; all else that is wrong with a row would be wrong with the whole text."""
        key = None if record is None else self.objects[record].twice
        return None if key is None else (self.header.index(key), f"has the key {key!r} twice", "keep one")

    def frozen_cell(self, record: int, column: int) -> str | None:
        """JSON has no formulas."""
        return None

    def patched(self, edits: Edits, added: Sequence[str] = ()) -> JsonGrid:
        """See `Grid`. Keys are added to those objects alone that get a value."""
        names = [*self.header, *added]
        wanted: dict[int, dict[str, str]] = {}
        for (record, column), value in sorted(edits.items()):
            wanted.setdefault(record, {})[names[column]] = json.dumps(value, ensure_ascii=False)
        pieces, done, shift = [], 0, 0
        objects = list(self.objects)
        for index, item in enumerate(self.objects):
            objects[index] = item if not shift else item.at(item.start + shift)
            if index in wanted:
                new = self._changed(item, wanted[index])
                pieces += [self.text[done : item.start], new]
                done = item.start + item.size
                objects[index] = _Scan(new).object().at(item.start + shift)
                shift += len(new) - item.size
        grid = JsonGrid("".join([*pieces, self.text[done:]]), self.encoding, objects, ([], []))
        grid.header, grid.records = names, list(self.records)
        for index in wanted:
            grid.records[index] = grid._record(objects[index], names)
        return grid

    def _changed(self, item: _Object, values: dict[str, str]) -> str:
        pieces, done = [], item.start
        for at, until, new in self._changes(item, values):
            pieces += [self.text[done : item.start + at], new]
            done = item.start + until
        return "".join([*pieces, self.text[done : item.start + item.size]])

    def _changes(self, item: _Object, values: dict[str, str]) -> list[tuple[int, int, str]]:
        changes = [(*item.spans[key], new) for key, new in values.items() if key in item.spans]
        changes.sort()
        fresh = {key: new for key, new in values.items() if key not in item.spans}
        if fresh:
            at, between, colon = self._style(item)
            members = [f"{json.dumps(key, ensure_ascii=False)}{colon}{new}" for key, new in fresh.items()]
            lead = between if item.spans else ""
            changes.append((at, at, lead + between.join(members)))
        return changes

    def _style(self, item: _Object) -> tuple[int, str, str]:
        """(where a new member goes, what stands before it, what stands between its key and its value)."""
        if not item.spans:
            return 1, ", ", ": "
        spans, start = list(item.spans.values()), item.start
        at = max(end for _, end in spans)
        colon = ":" if self.text[start + spans[0][0] - 1] == ":" else ": "
        if item.last is not None:
            return at, self.text[start + item.last[0] : start + item.last[1]], colon
        first = _BLANK.match(self.text, start + 1)
        lead = first[0] if first else ""
        return at, "," + (lead or ("" if colon == ":" else " ")), colon

    def content(self) -> bytes:
        """See `Grid`."""
        return self.encoding.encode(self.text)


def _cell(item: _Object, key: str, text: str) -> Cell | None:
    value = item.values.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return Cell(str(value), value)
    if isinstance(value, _Number):
        return _number(value)
    if isinstance(value, str):
        return Cell(value, value)
    start, end = item.spans[key]
    written = text[item.start + start : item.start + end]
    return Cell(written, written)


def _number(text: str) -> Cell:
    if re.fullmatch(r"-?[0-9]{1,300}", text):
        return Cell(str(text), int(text))
    number = float(text)
    return Cell(str(text), number if abs(number) != float("inf") else str(text))


class _Scan:
    """Finds the objects of the list, and the values in them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def objects(self) -> list[_Object]:
        if self._sign() != "[":
            raise Unreadable("is no list of objects", hint=HINT, line=1)
        found: list[_Object] = []
        self.at += 1
        if self._sign() == "]":
            self.at += 1
        else:
            while True:
                found.append(self.object())
                if len(found) > MAX_RECORDS:
                    raise Unreadable(f"has more than {MAX_RECORDS} objects", hint="split the table")
                if not self._comma("]"):
                    break
        if self._sign():
            raise json.JSONDecodeError("Extra data", self.text, self.at)
        return found

    def object(self) -> _Object:
        """The object that begins here."""
        if self._sign() != "{":
            line = self.text.count("\n", 0, self.at) + 1
            raise Unreadable("holds something that is no object in its list", hint=HINT, line=line)
        item = _Object(self.at)
        self.at += 1
        if self._sign() == "}":
            self.at += 1
            item.size = self.at - item.start
            return item
        before = None
        while True:
            begin, key = self._name()
            start = self.at
            value, self.at = _decoder.raw_decode(self.text, start)
            span = (start, self.at)
            item.twice = key if key in item.spans else item.twice
            item.spans[key], item.values[key] = (span[0] - item.start, span[1] - item.start), value
            item.last = None if before is None else (before - item.start, begin - item.start)
            before = span[1]
            if not self._comma("}"):
                item.size = self.at - item.start
                return item

    def _name(self) -> tuple[int, str]:
        """(where it begins, the key) of a member; goes on to where its value begins."""
        plain = _NAME.match(self.text, self.at)
        if plain is not None:
            self.at = plain.end()
            return plain.start(1) - 1, plain[1]
        if self._sign() != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self.text, self.at)
        begin = self.at
        key, self.at = _decoder.raw_decode(self.text, begin)
        if self._sign() != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", self.text, self.at)
        self.at += 1
        self._sign()
        return begin, str(key)

    def _comma(self, close: str) -> bool:
        """Step over a comma (True) or the closing sign (False)."""
        sign = self._sign()
        if sign not in (",", close) or not sign:
            raise json.JSONDecodeError("Expecting ',' delimiter", self.text, self.at)
        self.at += 1
        return sign == ","

    def _sign(self) -> str:
        """The next sign that is no blank."""
        match = _BLANK.match(self.text, self.at)
        assert match is not None, "the pattern takes the empty text too"
        self.at = match.end()
        return self.text[self.at : self.at + 1]
