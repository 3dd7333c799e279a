"""What the three files of a threadward project say: executed in the jobs' own Python, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import msgspec

from researchflow_tmux.adapters import job_library
from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import WorkspacePaths

RECORDING = "researchflow_tmux.job.threadward.recording"
RECORDING_S = 600.0
"""The user's file may import all of a deep learning framework."""
LAST_WORDS = 5


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One `add_variable`."""

    name: str
    values: list[str]
    nicknames: list[str] | None = None
    interaction: str = "cartesian"
    exceptions: dict[str, list[str]] = {}
    line: int | None = None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong with the user's files."""

    file: str
    message: str
    line: int | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say."""

    calls: list[Call] = []
    constants: dict[str, Any] = {}
    hooks: list[str] = []
    """Functions that do something."""
    problems: list[Trouble] = []


def record(directory: str, commands: CommandBuilder, paths: WorkspacePaths) -> Recorded:
    """Execute the project's files and return what they say. Raises ConfigError with every problem."""
    with tempfile.TemporaryDirectory(prefix="rfsched-") as private:
        out = os.path.join(private, "recorded.json")
        words = [*commands.python().words, "-m", RECORDING, directory, out]
        command = commands.build_words(words)
        argv = list(command.argv) if command.shell is None else ["/bin/sh", "-c", command.shell]
        said = _run(argv, directory, _environment(commands.env, paths), " ".join(words[:1]))
        try:
            with open(out, "rb") as file:
                found = msgspec.json.decode(file.read(), type=Recorded)
        except (OSError, msgspec.DecodeError):
            message = f"its files could not be executed by {words[0]}" + (f": {said}" if said else "")
            raise ConfigError([Problem(message=message, file=directory)]) from None
    if found.problems:
        raise ConfigError([Problem(message=each.message, file=each.file, line=each.line) for each in found.problems])
    return found


def _environment(captured: Mapping[str, str], paths: WorkspacePaths) -> dict[str, str]:
    env = dict(captured)
    library = job_library.path_with_library(paths, env.get(job_library.VARIABLE))
    if library is not None:
        env[job_library.VARIABLE] = library
    return env


def _run(argv: list[str], directory: str, env: dict[str, str], program: str) -> str:
    """Run it to its end; the last of what it said."""
    try:
        done = subprocess.run(
            argv,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=RECORDING_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"its files take longer than {RECORDING_S:g} s to execute"
        hint = "what takes long belongs into a converter or a hook: these run with each task"
        raise ConfigError([Problem(message=message, file=directory, hint=hint)]) from None
    except OSError as error:
        raise ConfigError([Problem(message=f"{program} cannot be run: {error.strerror}", file=directory)]) from None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-LAST_WORDS:])
