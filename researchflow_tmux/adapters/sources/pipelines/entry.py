"""Reads one job of a pipeline file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters.config_checks import SECTION_CHECKS, check_command
from researchflow_tmux.adapters.config_fields import Check, Reader
from researchflow_tmux.adapters.job_config import SECTION, section_values
from researchflow_tmux.adapters.sources.sweeps import nodes, templates
from researchflow_tmux.adapters.sources.sweeps.file import VARIABLE
from researchflow_tmux.adapters.sources.sweeps.rules import Rules
from researchflow_tmux.adapters.sources.sweeps.values import read_values
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar
from researchflow_tmux.adapters.yaml_nodes import Sequence as ListNode
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Condition
from researchflow_tmux.domain.sweeps import Choice, Sweep, Variable
from researchflow_tmux.domain.workspace import JobSection

NAME_WORDS = ("name", "job", "pipeline")
PATH_WORDS = (*NAME_WORDS, "output_dir")
COMMAND_WORDS = (*PATH_WORDS, "python", "script")
RULES = ("zip", "exceptions", "include", "exclude")
OWN = ("command", "argv", "config", "needs", "when", "matrix", "inputs", "outputs", "workdir")
RESOURCES = tuple(name for name in JobSection.__struct_fields__ if name not in (*OWN, "after"))
"""What a job asks for, in the words of a config's own section."""
NO_CONFIG = {"config": "the job has no `config:`"}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a job with one simple value."""

    command: str | None = None
    config: str | None = None
    workdir: str | None = None
    when: Condition = "success"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One job that another needs."""

    name: str
    all: bool
    """All its instances, and not only those that the needing one pairs up with."""
    place: Problem
    """A problem without words where it stands."""


class JobEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says about one job."""

    name: str
    words: Words
    argv: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    matrix: Sweep = Sweep(variables=())
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    section: dict[str, Any] = {}
    """What it asks for."""
    place: Problem
    """A problem without words where its name stands."""
    config_place: Problem | None = None

    @property
    def variables(self) -> list[str]:
        """The variables of its matrix."""
        return [variable.name for variable in self.matrix.variables]


WORD_CHECKS: dict[str, Check] = {
    "command": lambda value: None if value is None else check_command(value),
    "config": lambda value: None if value is None or value.strip() else "expected a path, got nothing",
    "workdir": lambda value: None if value is None or value.strip() else "expected a directory, got nothing",
}


def resources(reader: Reader, mapping: Mapping, given: dict[str, Entry], prefix: str) -> dict[str, Any]:
    """What is asked for, directly or under `rfsched:`; each key in one of the two places."""
    direct = [entry for name, entry in given.items() if name in RESOURCES]
    part = Mapping(start=mapping.start, end=mapping.end, flow=mapping.flow, entries=direct)
    found = {name: value for name, (value, _) in reader.fields(part, JobSection, SECTION_CHECKS, prefix).items()}
    section = section_values(reader, mapping) if SECTION in given else {}
    for name, instead in {"after": "needs", "when": "when", "command": "command"}.items():
        if section.pop(name, None) is not None:
            reader.fail(given[SECTION], f"`{name}` does not go under `{SECTION}:` here", f"the job's own `{instead}:`")
    for name in found.keys() & section.keys():
        reader.fail(given[name].key, f"`{prefix}{name}` is there twice: here, and under `{SECTION}:`", "keep one")
    return {**found, **section}


class JobReader:
    """Reads jobs; every problem goes to the reader. `constants` are the pipeline's own variables."""

    def __init__(self, reader: Reader, constants: dict[str, str]) -> None:
        self.reader = reader
        self.constants = constants

    def read(self, name: str, entry: Entry) -> JobEntry | None:
        """One job; None if it is none."""
        if not isinstance(entry.value, Mapping):
            self.reader.fail(entry, f"{name}: expected what the job is", "such as `command: python train.py`")
            return None
        given = nodes.entries(self.reader, entry.value, (*OWN, SECTION, *RESOURCES), f"{name}.")
        words = self.words(entry.value, given, name)
        matrix = self.matrix(given.get("matrix"), name)
        job = JobEntry(
            name=name,
            words=words,
            argv=self.argv(given.get("argv"), name),
            needs=self.needs(given.get("needs"), name),
            matrix=matrix,
            inputs=self.paths(given.get("inputs"), f"{name}.inputs"),
            outputs=self.paths(given.get("outputs"), f"{name}.outputs"),
            section=resources(self.reader, entry.value, given, f"{name}."),
            place=self.reader.document.problem(entry.key.start, ""),
            config_place=self.reader.document.problem(given["config"].start, "") if "config" in given else None,
        )
        self.check(job, given, entry)
        return job

    def check(self, job: JobEntry, given: dict[str, Entry], entry: Entry) -> None:
        """What must hold of several keys together."""
        runs = [key for key in ("command", "config", "argv") if key in given]
        if not runs:
            message = f"{job.name}: there is no `command:`, `argv:` or `config:`: nothing says what to run"
            self.reader.fail(entry.key, message, "such as `command: python train.py`")
        elif "argv" in runs[1:]:
            self.reader.fail(given["argv"].key, f"{job.name}: `argv` does not go together with `{runs[0]}`")
        if job.words.when != "success" and _is_empty(given.get("needs")):
            message = f"{job.name}: `when: {job.words.when}` says how what it needs must end, and there is no `needs:`"
            self.reader.fail(given["when"], message)
        self.check_words(job, given)

    def check_words(self, job: JobEntry, given: dict[str, Entry]) -> None:
        """Each word in braces must stand for something."""
        known = templates.words_of([*self.constants, *job.variables])
        config = ("config",) if "config" in given else ()
        command = (job.words.command,) if job.words.command is not None else ()
        for key, texts, words in (
            ("command", command, (*COMMAND_WORDS, *config)),
            ("config", (job.words.config or "",), NAME_WORDS),
            ("workdir", (job.words.workdir or "",), NAME_WORDS),
            ("argv", job.argv, COMMAND_WORDS),
            ("inputs", job.inputs, PATH_WORDS),
            ("outputs", job.outputs, PATH_WORDS),
        ):
            missing = NO_CONFIG if key == "command" and not config else {}
            for text in texts if key in given else ():
                templates.check(self.reader, given[key], text, [*known, *words], missing)
        if command and "command" in given:
            self.quotes(given["command"], command[0], job.matrix.variables)

    def quotes(self, entry: Entry, command: str, variables: Sequence[Variable]) -> None:
        """A value that brings quotes of its own must not stand inside quotes."""
        constants = (
            Variable(name=name, choices=(Choice(value=text, text=text, nick=text),))
            for name, text in self.constants.items()
        )
        templates.check_quotes(self.reader, entry, command, [*constants, *variables])

    def words(self, mapping: Mapping, given: dict[str, Entry], name: str) -> Words:
        """The keys with one simple value."""
        simple = [entry for key, entry in given.items() if key in Words.__struct_fields__]
        part = Mapping(start=mapping.start, end=mapping.end, flow=mapping.flow, entries=simple)
        found = self.reader.fields(part, Words, WORD_CHECKS, f"{name}.")
        return Words(**{key: value for key, (value, _) in found.items()})

    # -- lists

    def texts(self, node: Node, what: str, example: str) -> list[Scalar]:
        """A list of words; one alone may stand without brackets."""
        if isinstance(node, Scalar) and not node.is_null:
            items: list[Node] = [node]
        else:
            items = nodes.items_of(self.reader, node, what, example) or []
        found = []
        for item in items:
            if not isinstance(item, Scalar) or item.is_null:
                self.reader.fail(item, f"{what}: every item of the list must be a simple value")
            elif nodes.usable(self.reader, item):
                found.append(item)
        return found

    def argv(self, entry: Entry | None, name: str) -> tuple[str, ...]:
        """A command word by word."""
        if entry is None:
            return ()
        items = self.texts(entry.value, f"{name}.argv", "[python, train.py]")
        if items and not items[0].text.strip():
            self.reader.fail(items[0], f"{name}.argv: its first word is empty; expected a program")
        return tuple(item.text for item in items)

    def paths(self, entry: Entry | None, what: str) -> tuple[str, ...]:
        """Paths and patterns."""
        if entry is None or _is_empty(entry):
            return ()
        found: dict[str, None] = {}
        for item in self.texts(entry.value, what, "[data/*.csv]"):
            text = os.path.expanduser(item.text)
            if not text.strip():
                self.reader.fail(item, f"{what}: expected a path or a pattern, got nothing")
            elif text in found:
                self.reader.fail(item, f"{what}: {item.text} is named twice")
            found[text] = None
        return tuple(found)

    def needs(self, entry: Entry | None, name: str) -> tuple[Need, ...]:
        """`[a, b]`, or `{a: all, b: paired}`."""
        if entry is None or _is_empty(entry):
            return ()
        found: dict[str, Need] = {}
        for node, every in self._named(entry.value, f"{name}.needs"):
            if node.text in found:
                self.reader.fail(node, f"{name}.needs: {node.text} is named twice")
            found[node.text] = Need(name=node.text, all=every, place=self.reader.document.problem(node.start, ""))
        return tuple(found.values())

    def _named(self, node: Node, what: str) -> list[tuple[Scalar, bool]]:
        if not isinstance(node, Mapping):
            return [(item, False) for item in self.texts(node, what, "[prepare]")]
        found = []
        for entry in nodes.entries(self.reader, node, None, f"{what}.").values():
            word = entry.value.text if isinstance(entry.value, Scalar) else ""
            if word not in ("all", "paired"):
                self.reader.fail(entry, f"{what}.{entry.name}: expected `all` or `paired`")
            elif isinstance(entry.key, Scalar):
                found.append((entry.key, word == "all"))
        return found

    # -- the matrix

    def matrix(self, entry: Entry | None, name: str) -> Sweep:
        """The variables of the job, and which of their combinations are wanted."""
        if entry is None:
            return Sweep(variables=())
        mapping = nodes.mapping_of(self.reader, entry, f"{name}.matrix", "matrix: {seed: [0, 1]}")
        given = nodes.entries(self.reader, mapping, None, f"{name}.matrix.") if mapping else {}
        variables = []
        for word, each in given.items():
            if word in RULES:
                continue
            problem = self.bad_variable(word)
            if problem:
                self.reader.fail(each.key, problem)
            variables.append(Variable(name=word, choices=read_values(self.reader, word, each, name)))
        if mapping is not None and not variables:
            self.reader.fail(entry, f"{name}.matrix: there are no variables", "such as `matrix: {seed: [0, 1]}`")
        return Rules(self.reader, variables).sweep({word: each for word, each in given.items() if word in RULES})

    def bad_variable(self, word: str) -> str | None:
        """Why a variable cannot be called so."""
        if not VARIABLE.fullmatch(word) or word.endswith(".nick"):
            return f"{word!r} cannot be a variable: expected a word such as seed"
        if word in (*COMMAND_WORDS, "config"):
            return f"{{{word}}} means something else already: a variable cannot be called so"
        return f"{word} is a variable of the pipeline already" if word in self.constants else None


def _is_empty(entry: Entry | None) -> bool:
    """Nothing, or a list or mapping of nothing."""
    match None if entry is None else entry.value:
        case None | ListNode(items=[]) | Mapping(entries=[]):
            return True
        case _:
            return False
