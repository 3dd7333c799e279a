"""YAML as a tree of nodes that know where they stand, by the rules of YAML 1.2's core schema.

PyYAML follows YAML 1.1, in which `1e-3` is text, `012` is ten, `1:30` is ninety and `on` is true. Only its parser is
used here; what a plain scalar means is decided by `resolve`. The tree is built from events and not by PyYAML's
composer: an alias keeps its own place, and no depth of nesting can exhaust the stack.
"""

from __future__ import annotations

import re
from typing import Any

from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Place, Scalar, Sequence
from researchflow_tmux.domain.errors import ConfigError, Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 500_000
"""Aliases counted as often as they are used: a few lines of nested aliases can stand for billions of nodes."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Compiled when first used: that takes 4 ms, and most texts are plain."""
_PLAIN = re.compile("[\t\n\r\x20-\x7e]*")
_BOM = "\ufeff"

_HINTS = (
    ("mapping values are not allowed", "the line holds a second `: `, or is indented unlike its neighbours; quote it"),
    ("could not find expected ':'", "a key is followed by a colon and a space: `key: value`"),
    ("unexpected end of stream", "a quote that was opened is not closed"),
    ("expected ',' or", "a bracket that was opened is not closed, or a comma is missing"),
    ("expected <block end>", "the indentation does not match the lines above"),
    ("did not find expected key", "the indentation does not match the lines above"),
    ("unknown escape character", "in double quotes a backslash is written twice; single quotes take it as it is"),
)


class Document:
    """One parsed text: its root node (None = nothing but comments) and the way to speak of places in it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.root: Node | None = None
        self.extra_documents = 0
        self._lines: list[str] | None = None

    def source_line(self, line: int) -> str | None:
        """The 1-based line of the text, as a caret line can stand under it."""
        if self._lines is None:
            self._lines = _BREAK.split(self.text)
        if not 1 <= line <= len(self._lines):
            return None
        return re.sub(_UNPRINTABLE, "?", self._lines[line - 1].replace("\t", " "))

    def problem(self, place: Place | None, message: str, hint: str | None = None) -> Problem:
        """A problem that points at `place`."""
        if place is None:
            return Problem(message=message, file=self.file, hint=hint)
        source = self.source_line(place.line)
        if source is not None and (len(source) > 160 or not source.strip()):
            source = None
        return Problem(
            message=message, file=self.file, line=place.line, column=place.column, hint=hint, source_line=source
        )


def decode(data: bytes, file: str) -> str:
    """The text of a file, without its byte order mark. Raises ConfigError with the place of what is no UTF-8."""
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(message=f"is longer than the {MAX_BYTES >> 20} MiB that are read", file=file)])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ConfigError([Problem(message="is UTF-16", file=file, line=1, column=1, hint="save it as UTF-8")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        document = Document(before + "�", file)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError([document.problem(_place_of(before), message, "save the file as UTF-8")]) from None
    return text.removeprefix(_BOM)


def parse(text: str, file: str, *, first_document_only: bool = False) -> Document:
    """Parse `text` into a tree.

    Args:
        text: YAML without a byte order mark (see `decode`).
        file: What problems call the text.
        first_document_only: Take the first of several documents instead of refusing them.

    Raises:
        ConfigError: It is no YAML, or YAML that no person writes (nesting, aliases, size).
    """
    document = Document(text, file)
    found = None if _PLAIN.fullmatch(text) else re.search(_UNPRINTABLE, text)
    if found:
        message = f"the character U+{ord(found[0]):04X} is not allowed"
        raise ConfigError([document.problem(_place_of(text[: found.start()]), message, "delete it")])
    _Builder(document).build()
    if document.extra_documents and not first_document_only:
        raise ConfigError([document.problem(None, "holds several documents", "remove the `---` line between them")])
    return document


def _place_of(before: str) -> Place:
    lines = _BREAK.split(before)
    return Place(offset=len(before), line=len(lines), column=len(lines[-1]) + 1)


class _Open:
    """A collection whose end has not come yet."""

    def __init__(self, node: Mapping | Sequence) -> None:
        self.node = node
        self.key: Node | None = None


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, Node] = {}
        self.stack: list[_Open] = []
        self.documents = 0

    def build(self) -> None:
        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in yaml.parse(self.document.text, Loader=loader):
                getattr(self, f"on_{type(event).__name__}", _ignore)(event)
        except yaml.MarkedYAMLError as error:
            raise ConfigError([self._syntax(error)]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError([self.document.problem(None, f"cannot be read as YAML: {error}")]) from None

    def _syntax(self, error: Any) -> Problem:
        mark = error.problem_mark or error.context_mark
        place = Place(offset=mark.index, line=mark.line + 1, column=mark.column + 1) if mark else None
        message = str(error.problem or error.context)
        raw = _BREAK.split(self.document.text)
        line = raw[place.line - 1] if place and place.line <= len(raw) else ""
        return self.document.problem(place, f"not valid YAML: {message}", _hint(message, line))

    def fail(self, place: Place, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError([self.document.problem(place, message, hint)])

    # -- events

    def on_DocumentStartEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        self.documents += 1
        self.document.extra_documents = self.documents - 1
        self.anchors = {}

    def on_ScalarEvent(self, event: Any) -> None:  # noqa: N802
        style = event.style if event.style in ("'", '"', "|", ">") else ""
        start, end = _places(event)
        self._add(event, Scalar(start=start, end=end, tag=event.tag, text=event.value, style=style))

    def on_MappingStartEvent(self, event: Any) -> None:  # noqa: N802
        start, end = _places(event)
        self._open(event, Mapping(start=start, end=end, tag=event.tag, flow=bool(event.flow_style)))

    def on_SequenceStartEvent(self, event: Any) -> None:  # noqa: N802
        start, end = _places(event)
        self._open(event, Sequence(start=start, end=end, tag=event.tag, flow=bool(event.flow_style)))

    def on_MappingEndEvent(self, event: Any) -> None:  # noqa: N802
        node = self._close(event)
        assert isinstance(node, Mapping)
        node.merge()

    def on_SequenceEndEvent(self, event: Any) -> None:  # noqa: N802
        self._close(event)

    def on_AliasEvent(self, event: Any) -> None:  # noqa: N802
        start, end = _places(event)
        node = self.anchors.get(event.anchor)
        if node is None:
            raise self.fail(start, f"the alias *{event.anchor} has no anchor &{event.anchor} above it")
        if any(open_.node is node for open_ in self.stack):
            raise self.fail(start, f"the alias *{event.anchor} stands inside its own anchor")
        self._attach(node, start, end, alias=True)

    # -- building

    def _add(self, event: Any, node: Node) -> None:
        if event.anchor is not None:
            node.anchor = event.anchor
            self.anchors[event.anchor] = node
        self._attach(node, node.start, node.end)

    def _open(self, event: Any, node: Mapping | Sequence) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self.fail(node.start, f"is nested more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            node.anchor = event.anchor
            self.anchors[event.anchor] = node
        self.stack.append(_Open(node))

    def _close(self, event: Any) -> Mapping | Sequence:
        node = self.stack.pop().node
        # The end event of a block stands at the next token, behind blank lines and comments: not part of the value.
        node.end = _places(event)[1] if node.flow else node.last_place()
        self._attach(node, node.start, node.end)
        return node

    def _attach(self, node: Node, start: Place, end: Place, alias: bool = False) -> None:
        if not self.stack:
            if self.documents == 1:
                self.document.root = node
            return
        top = self.stack[-1]
        top.node.size += node.size
        if top.node.size > MAX_NODES:
            raise self.fail(start, f"stands for more than {MAX_NODES} values")
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
            top.node.last = end
        elif top.key is None:
            top.key = node
        else:
            top.node.entries.append(Entry(key=top.key, value=node, start=start, end=end, alias=alias))
            top.key = None


def _ignore(event: Any) -> None:
    """Stream and document ends carry nothing."""


def _places(event: Any) -> tuple[Place, Place]:
    start, end = event.start_mark, event.end_mark
    return (
        Place(offset=start.index, line=start.line + 1, column=start.column + 1),
        Place(offset=end.index, line=end.line + 1, column=end.column + 1),
    )


def _hint(message: str, line: str) -> str | None:
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "YAML is indented with spaces; this line begins with a tab"
    if "cannot start any token" in message:
        return "quote the value: it begins with a character that means something in YAML"
    return next((hint for part, hint in _HINTS if part in message), None)
