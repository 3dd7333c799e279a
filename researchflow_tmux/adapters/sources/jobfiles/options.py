"""`#@ gpus=2 env.SEED=1 after=prepare`: the keys of a config's `rfsched:` section, on one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect
from msgspec.structs import replace

from researchflow_tmux.adapters.config_checks import SECTION_CHECKS
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.config_words import members, type_of
from researchflow_tmux.adapters.sources.jobfiles.lines import Option
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Place, Scalar
from researchflow_tmux.adapters.yaml_nodes import Sequence as ListNode
from researchflow_tmux.adapters.yaml_tree import Document
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.workspace import JobSection


class LineSection(JobSection, frozen=True, kw_only=True, omit_defaults=True):
    """What may stand in a `#@` line: all of a section but `command`, and two keys that only lines need."""

    name: Annotated[str | None, Meta(description="What the job is called.")] = None
    group: Annotated[str | None, Meta(description="Its group; without it, the name of the file.")] = None


_WORD = re.compile(r"""(?P<key>[^\s=#"']+)=(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']*)(?=\s|$)""")
_LOOSE = re.compile(r"[^\s=#]+\s+=(?:\s*\S+)?|\S+")
_ESCAPED = re.compile(r"\\(.)")
_FIELDS = {field.name: type_of(field.type) for field in msgspec.structs.fields(LineSection)}
_LISTS = {name for name, info in _FIELDS.items() if any(isinstance(kind, inspect.ListType) for kind in members(info))}
_DICTS = {name for name, info in _FIELDS.items() if any(isinstance(kind, inspect.DictType) for kind in members(info))}


class OptionReader:
    """Reads the option lines of one file; what was read once is not read again for the next command."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._good: dict[tuple[bytes, bool], dict[str, Any]] = {}
        """By the text of the line: often many commands ask for the same."""
        self.problems: dict[int, list[Problem]] = {}
        """By index of the line, where there are some."""

    def section(self, options: Iterable[Option]) -> LineSection | None:
        """What these lines say together, a later one over an earlier; None = one of them has a problem."""
        found = self.given(options)
        return None if found is None else LineSection(**found)

    def given(self, options: Iterable[Option]) -> dict[str, Any] | None:
        """The same, as the keys that are in the lines with their values."""
        found: dict[str, Any] = {}
        for option in options:
            values = self._values_of(option)
            if values is None:
                return None
            for key, value in values.items():
                found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
        return found

    def _values_of(self, option: Option) -> dict[str, Any] | None:
        same = (option.text, option.for_all)
        if same not in self._good and option.index not in self.problems:
            values, problems = self._read(option)
            if problems:
                self.problems[option.index] = problems
            else:
                self._good[same] = values
        return self._good.get(same)

    def _read(self, option: Option) -> tuple[dict[str, Any], list[Problem]]:
        try:
            text = option.text.decode()
        except UnicodeDecodeError as error:
            message = f"byte 0x{option.text[error.start]:02x} is not UTF-8"
            return {}, [self._problem(option, message, "save the file as UTF-8")]
        shift = " " * option.column  # so that columns are those of the file
        reader = Reader(Document(shift + text, self._file))
        mapping = _mapping(reader, shift + text, option.column)
        fields = reader.fields(mapping, LineSection, SECTION_CHECKS)
        if "command" in fields:
            reader.fail(fields["command"][1], "the command is the line below", "delete `command=`")
        if option.for_all and "name" in fields:
            reader.fail(fields["name"][1], "all jobs below would have one name", "name a single command with `#@`")
        found = sorted(reader.problems, key=lambda problem: problem.column or 0)
        problems = [self._placed(option, problem) for problem in found]
        return {name: value for name, (value, _) in fields.items()}, problems

    def _problem(self, option: Option, message: str, hint: str) -> Problem:
        return Problem(message=message, file=self._file, line=option.index + 1, column=option.column + 1, hint=hint)

    def _placed(self, option: Option, problem: Problem) -> Problem:
        source = problem.source_line
        if source is not None:
            signs = "#@@" if option.for_all else "#@"
            source = source[: option.column - len(signs)] + signs + source[option.column :]
        return replace(problem, line=option.index + 1, source_line=source)


def _mapping(reader: Reader, text: str, start: int) -> Mapping:
    """The words of an option line as the mapping that YAML would have made of them."""
    mapping = Mapping(start=_place(start), end=_place(len(text)), flow=True)
    nested: dict[str, Mapping] = {}
    place = start
    while (found := _LOOSE.search(text, place)) and not found[0].startswith("#"):
        word = _WORD.match(text, found.start())
        if word is None:
            reader.fail(Scalar(start=_place(found.start()), end=_place(found.end()), text=""), *_complaint(found[0]))
            place = found.end()
            continue
        _add(mapping, nested, word)
        place = word.end()
    return mapping


def _complaint(word: str) -> tuple[str, str]:
    if word.count('"') % 2 or word.count("'") % 2:
        return f"a quote in {word!r} is not closed", 'a value with blanks is written name="two words"'
    return f"expected key=value, got {word!r}", "such as `gpus=2`, without blanks around the `=`"


def _add(mapping: Mapping, nested: dict[str, Mapping], word: re.Match[str]) -> None:
    key, value = word["key"], _value(word)
    outer, dot, inner = key.partition(".")
    key_node = Scalar(start=_place(word.start("key")), end=_place(word.end("key")), text=key, style='"')
    if dot and outer in _DICTS:
        inside = nested.get(outer)
        if inside is None:
            inside = nested[outer] = Mapping(start=value.start, end=value.end, flow=True)
            outer_node = _with_text(key_node, outer)
            mapping.entries.append(Entry(outer_node, inside, outer_node.start, value.end))
        inside.entries.append(Entry(_with_text(key_node, inner), value, value.start, value.end))
        return
    node: Node = _list(value) if key in _LISTS else value
    mapping.entries.append(Entry(key_node, node, value.start, value.end))


def _with_text(node: Scalar, text: str) -> Scalar:
    """The same place with another text."""
    return Scalar(start=node.start, end=node.end, text=text, style=node.style)


def _value(word: re.Match[str]) -> Scalar:
    text = word["value"]
    start, end = _place(word.start("value")), _place(word.end("value"))
    if text[:1] == '"':
        return Scalar(start=start, end=end, text=_ESCAPED.sub(r"\1", text[1:-1]), style='"')
    if text[:1] == "'":
        return Scalar(start=start, end=end, text=text[1:-1], style="'")
    return Scalar(start=start, end=end, text=text)


def _list(value: Scalar) -> ListNode:
    """`a,b` as a list."""
    items = [_with_text(value, item) for item in value.text.split(",") if item]
    return ListNode(start=value.start, end=value.end, flow=True, items=list(items))


def _place(offset: int) -> Place:
    return Place(offset=offset, line=1, column=offset + 1)
