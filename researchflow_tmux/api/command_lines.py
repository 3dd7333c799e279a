"""Commands one a line, as a text job file has them, for `add -`: what is to run, and what its `#@` lines ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.room_settings import limits, mib
from researchflow_tmux.adapters.sources.jobfiles.lines import WAITING, CommandLine, parse
from researchflow_tmux.adapters.sources.jobfiles.options import LineSection, OptionReader
from researchflow_tmux.api.drafting import Wish
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.units import parse_duration

PLACE = "standard input"
_LIMITS = frozenset({"max_memory", "max_util", "min_free_memory"})


class Command(msgspec.Struct, frozen=True):
    """One command, and the keys of the `#@` lines that hold for it."""

    text: str
    asked: Mapping[str, Any]

    def wish(self, wish: Wish) -> Wish:
        """What was wished for all, with what the `#@` lines say over it."""
        section = LineSection(**self.asked)
        said: dict[str, Any] = {}
        for key, value in self.asked.items():
            match key:
                case "gpu_memory":
                    said["gpu_memory_mib"] = mib(value)
                case "time_limit" | "verify_timeout":
                    said[f"{key}_s"] = parse_duration(value)
                case "deadline" if value:
                    said["deadline"] = parse_deadline(value)
                case "after":
                    said["after"] = tuple(value)
                case "env":
                    said["env"] = {**wish.env, **value}
                case _ if key not in _LIMITS and key != "completion":
                    said[key] = value
        if self.asked.keys() & _LIMITS:
            said["limits"] = limits(section)
        return replace(wish, **said)


class Commands(msgspec.Struct, frozen=True, kw_only=True):
    """What a text has."""

    commands: tuple[Command, ...]
    marked: int
    """Lines that a job file's marks show as running or ended: not queued."""


def read(data: bytes) -> Commands:
    """The commands of a text. Raises ConfigError with every line that is none."""
    lines = parse(data)
    reader = OptionReader(PLACE)
    problems = [
        Problem(message=each.message, file=PLACE, line=each.index + 1, hint=each.hint) for each in lines.complaints
    ]
    commands = []
    for line in lines.commands:
        if line.mark == WAITING:
            asked = reader.given(line.options)
            text = _text(line, problems)
            if asked is not None and text is not None:
                _refuse_markers(line, asked, problems)
                commands.append(Command(text, asked))
    problems += [problem for found in reader.problems.values() for problem in found]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    marked = sum(line.mark != WAITING for line in lines.commands)
    return Commands(commands=tuple(commands), marked=marked)


def _text(line: CommandLine, problems: list[Problem]) -> str | None:
    if b"\0" in line.command:
        problems.append(_problem(line, "this line holds a NUL byte, which no command can", "delete it"))
        return None
    try:
        return line.command.decode()
    except UnicodeDecodeError as error:
        fact = f"byte 0x{line.command[error.start]:02x} is not UTF-8, so the command is not sure"
        problems.append(_problem(line, fact, "convert it with `iconv`"))
        return None


def _refuse_markers(line: CommandLine, asked: Mapping[str, Any], problems: list[Problem]) -> None:
    if asked.get("completion", "exit_code") != "exit_code":
        fact = "a command from standard input has no completion marker"
        problems.append(_problem(line, fact, "put it into a file in jobs/"))


def _problem(line: CommandLine, message: str, hint: str) -> Problem:
    return Problem(message=message, file=PLACE, line=line.index + 1, hint=hint)
