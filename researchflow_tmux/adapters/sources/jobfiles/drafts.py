"""From a line to a job: the command as it was typed, with the resources that the option lines ask for."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.defaults import wishes
from researchflow_tmux.adapters.sources.jobfiles.lines import CommandLine
from researchflow_tmux.adapters.sources.jobfiles.options import LineSection
from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import Job, JobSpec

SOURCE = "jobfile"
MAX_COMMAND = 100_000
"""Bytes of one command. The kernel takes no argument longer than 128 KiB, and the shell lines before it need room."""

_ASSIGNMENT = re.compile(
    r"""([A-Za-z_][A-Za-z0-9_]*)=("[^"$`\\]*"|'[^']*'|[^\s"'$`\\;&|<>()*?\[\]{}~!#]*)[ \t]+(?![&|;<>)])"""
)
"""At the beginning of a command, with a value that is the same in any shell."""
_CUDA = "CUDA_VISIBLE_DEVICES"
_COMPARED = tuple(
    name for name in JobDraft.__struct_fields__ if name in JobSpec.__struct_fields__ and name not in ("key", "after")
)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The job file that a line is in."""

    file: str
    """As people see it: relative to the workspace."""
    stem: str
    """What its jobs are named after: `a/b.txt` in the job directory is `a_b`."""


class DraftMaker:
    """Makes the drafts of all job files; what they share is looked up once."""

    def __init__(self, context: SourceContext) -> None:
        self._settings = context.settings
        self._places = resolve_places(context.paths, context.settings)
        self._builder = CommandBuilder(context.settings, context.variables, context.paths)
        self._own = {_CUDA, context.settings.cuda_visible_devices_var}
        self._sets_own = re.compile(rf"(?:^|[\s;&|(])({'|'.join(map(re.escape, sorted(self._own)))})=")
        self._asked: tuple[LineSection, dict[str, Any]] | None = None

    def draft(self, origin: Origin, key: str, label: str, line: CommandLine, section: LineSection) -> JobDraft:
        """The job of one line. Raises ConfigError with its place if it cannot be one."""
        text = _decode(origin, line)
        command = self._builder.build_line(text)
        asked = self._wishes(section)
        variables = leading_variables(text)
        for name in self._own:  # which GPU it gets is not for the line to say; see `warning`
            variables.pop(name, None)
        if variables:
            asked = {**asked, "env": {**asked["env"], **variables}}
        name = section.name or f"{origin.stem}_l{label}"
        completion = section.completion or "exit_code"
        marker = None if completion == "exit_code" else os.path.join(self._places.output_dir, f"{name}_completed.txt")
        return JobDraft(
            source=SOURCE,
            key=key,
            name=name,
            shell=command.shell,
            workdir=self._places.work_dir,
            completion=completion,
            marker=marker,
            output_dir=self._places.output_dir,
            group=section.group or origin.stem,
            line=line.index + 1,
            **asked,
        )

    def warning(self, origin: Origin, line: CommandLine) -> str | None:
        """What a person should know of a line that is a job."""
        if b"=" not in line.command:
            return None
        found = self._sets_own.search(line.command.decode("utf-8", "replace"))
        if found is None:
            return None
        return (
            f"{origin.file}:{line.index + 1}: sets {found[1]} itself, against the GPUs that its job is given; "
            "delete that, and say how many it needs with `#@ gpus=N` above the line"
        )

    def _wishes(self, section: LineSection) -> dict[str, Any]:
        """Most lines of a file ask for the same: they share the objects that say so."""
        if self._asked is None or self._asked[0] != section:
            self._asked = (section, wishes(self._settings, section))
        return self._asked[1]


def differs(draft: JobDraft, job: Job) -> bool:
    """Whether a waiting job should be described anew."""
    spec = job.spec
    if draft.after or spec.after:
        return True  # names here, ids there: whoever submits it compares
    return any(getattr(draft, name) != getattr(spec, name) for name in _COMPARED)


def leading_variables(text: str) -> dict[str, str]:
    """The variables that a command begins with: they are to hold for the whole line, and not for its first program.

    Values that only the shell can know (`A=$HOME/x`) stay what they are in the shell.
    """
    found: dict[str, str] = {}
    place = 0
    while assignment := _ASSIGNMENT.match(text, place):
        value = assignment[2]
        found[assignment[1]] = value[1:-1] if value[:1] in ("'", '"') else value
        place = assignment.end()
    return found if place < len(text) else {}


def _decode(origin: Origin, line: CommandLine) -> str:
    command = line.command
    if len(command) > MAX_COMMAND:
        message = f"this line has {len(command)} bytes; a command has at most {MAX_COMMAND}"
        raise _refused(origin, line, message, "put it into a script and call that")
    if b"\0" in command:
        raise _refused(origin, line, "this line holds a NUL byte, which no command can", "delete it")
    try:
        return command.decode()
    except UnicodeDecodeError as error:
        message = f"byte 0x{command[error.start]:02x} is not UTF-8, so the command is not sure"
        raise _refused(origin, line, message, "save the file as UTF-8") from None


def _refused(origin: Origin, line: CommandLine, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message=message, file=origin.file, line=line.index + 1, hint=hint)])
