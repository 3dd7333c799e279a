"""Reads one sweep file: every problem at once, each at its place."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_checks import check_command
from researchflow_tmux.adapters.config_fields import Check, Reader
from researchflow_tmux.adapters.job_config import SECTION, section_values
from researchflow_tmux.adapters.sources.sweeps import nodes, templates
from researchflow_tmux.adapters.sources.sweeps.rules import Rules
from researchflow_tmux.adapters.sources.sweeps.values import read_values
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.sweeps import Sweep, Variable

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_NO_CONFIG = {"config": "the sweep has no `config:`"}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a sweep file with one simple value."""

    name: str | None = None
    command: str | None = None
    config: str | None = None
    layout: str | None = None
    seed: int = 0


class SweepFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep file says."""

    path: str
    stem: str
    sweep: Sweep
    words: Words
    section: dict[str, Any]
    """What its `rfsched:` section sets."""
    problem_at: dict[str, Problem]
    """For each key, a problem without words at its place: for what shows itself later."""

    @property
    def names(self) -> list[str]:
        """The variables."""
        return [variable.name for variable in self.sweep.variables]

    def problem(self, key: str, message: str, hint: str | None = None) -> ConfigError:
        """A problem at a key (or of the whole file)."""
        place = self.problem_at.get(key) or Problem(message="", file=self.path)
        return ConfigError([msgspec.structs.replace(place, message=message, hint=hint)])


WORD_CHECKS: dict[str, Check] = {
    "command": lambda value: None if value is None else check_command(value),
    "name": lambda value: None if value is None or value.strip() else "expected a name, got nothing",
}
KEYS = (*Words.__struct_fields__, "variables", "zip", "exceptions", "include", "exclude", SECTION)


def read(data: bytes, path: str) -> SweepFile:
    """Read the sweep file that `data` is. Raises ConfigError with every problem."""
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    if not isinstance(document.root, Mapping):
        hint = "such as `command: python train.py --lr {lr}` and `variables: {lr: [0.1, 0.01]}`"
        raise ConfigError([document.problem(None, "is no sweep: expected lines of `key: value`", hint)])
    reader = Reader(document)
    given = nodes.entries(reader, document.root, KEYS)
    words = _words(reader, document.root, given)
    variables = _variables(reader, given.get("variables"), words.seed)
    _check_templates(reader, given, words, [variable.name for variable in variables])
    if words.command is not None:
        templates.check_quotes(reader, given["command"], words.command, variables)
    sweep = Rules(reader, variables).sweep(given)
    section = _section(reader, document.root, given)
    if reader.problems:
        ordered = sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0))
        raise ConfigError(ordered)
    return SweepFile(
        path=path,
        stem=os.path.splitext(os.path.basename(path))[0],
        sweep=sweep,
        words=words,
        section=section,
        problem_at={name: document.problem(entry.key.start, "") for name, entry in given.items()},
    )


def _words(reader: Reader, root: Mapping, given: dict[str, Entry]) -> Words:
    simple = [entry for name, entry in given.items() if name in Words.__struct_fields__]
    part = Mapping(start=root.start, end=root.end, flow=root.flow, entries=simple)
    words = Words(**{name: value for name, (value, _) in reader.fields(part, Words, WORD_CHECKS).items()})
    if not {"command", "config"} & set(given):
        message = "there is no `command:` and no `config:`: nothing says what to run"
        reader.fail(root, message, "such as `command: python train.py --lr {lr}`, or `config: configs/base.yml`")
    return words


def _section(reader: Reader, root: Mapping, given: dict[str, Entry]) -> dict[str, Any]:
    values = section_values(reader, root) if SECTION in given else {}
    if "command" in values:
        reader.fail(given[SECTION], "the command of a sweep stands at the top: `command: …`")
    return values


def _variables(reader: Reader, entry: Entry | None, seed: int) -> list[Variable]:
    example = "variables: {lr: [0.1, 0.01], seed: {from: 0, to: 2}}"
    if entry is None or not isinstance(entry.value, Mapping) or not entry.value.entries:
        where = entry or reader.document.root
        assert where is not None
        reader.fail(where, "there are no variables", f"such as `{example}`")
        return []
    reserved = {*templates.COMMAND_WORDS, "config"}
    found = []
    for name, each in nodes.entries(reader, entry.value).items():
        if not VARIABLE.fullmatch(name) or name.endswith(".nick"):
            reader.fail(each.key, f"{name!r} cannot be a variable", "a word such as lr, or a path such as model.width")
        elif name in reserved:
            reader.fail(each.key, f"{{{name}}} means something else already: a variable cannot be called so")
        found.append(Variable(name=name, choices=read_values(reader, name, each, str(seed))))
    return found


def _check_templates(reader: Reader, given: dict[str, Entry], words: Words, variables: list[str]) -> None:
    known = templates.words_of(variables)
    if words.command is not None:
        config = ("config",) if "config" in given else ()
        missing = {} if config else _NO_CONFIG
        templates.check(reader, given["command"], words.command, [*known, *templates.COMMAND_WORDS, *config], missing)
    if words.name is not None:
        templates.check(reader, given["name"], words.name, [*known, *templates.NAME_WORDS], {})
    if words.layout is not None and words.layout != templates.UNDERSCORE:
        templates.check_layout(reader, given["layout"], words.layout)
        templates.check(reader, given["layout"], words.layout, [*known, *templates.NAME_WORDS], {})
