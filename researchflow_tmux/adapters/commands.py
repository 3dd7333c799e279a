"""How a config becomes a command: placeholders, the job's Python, conda and the lines before it."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.adapters.command_python import PythonChoice, choose_python
from researchflow_tmux.adapters.command_shell import (
    QUOTED,
    RUNS_IN_SHELL,
    conda_lines,
    has_module_call,
    is_plain,
    module_lines,
    step_lines,
)
from researchflow_tmux.adapters.places import Places, absolute, resolve_places
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command ready to run: exactly one of `argv` and `shell` is given."""

    argv: tuple[str, ...] = ()
    shell: str | None = None
    """A script that bash and plain sh understand alike."""
    warnings: tuple[str, ...] = ()


def build_command(
    settings: Settings, section: JobSection, config_path: str, env: Mapping[str, str], paths: WorkspacePaths
) -> Command:
    """The command of one config job; `env` is the captured environment. Raises ConfigError."""
    return CommandBuilder(settings, env, paths).build(section, config_path)


def build_shell_job(settings: Settings, words: Sequence[str], env: Mapping[str, str], paths: WorkspacePaths) -> Command:
    """The command of `rfsched add -- WORDS`: as given, in the workspace's conda environment and after its `before`.

    One single word with blanks or shell signs in it is a shell line.
    """
    return CommandBuilder(settings, env, paths).build_words(words)


class CommandBuilder:
    """Builds the commands of many jobs; what they share (Python, conda) is looked up once."""

    def __init__(self, settings: Settings, env: Mapping[str, str], paths: WorkspacePaths) -> None:
        self.settings = settings
        self.env = env
        self.root = paths.root
        self.places: Places = resolve_places(paths, settings)
        self._conda: tuple[list[str], list[str]] | None = None
        self._python: PythonChoice | None = None

    def build(self, section: JobSection, config_path: str, output_dir: str | None = None) -> Command:
        """The command of one config; `output_dir` replaces the workspace's (a config's `root_dir`).

        Raises:
            ConfigError: No usable Python, or no conda for the environment that is asked for.
        """
        template = self.settings.command if section.command is None else section.command
        values = {
            "config": config_path,
            "name": os.path.splitext(os.path.basename(config_path))[0],
            "output_dir": output_dir or self.places.output_dir,
        }
        return self.fill(template, values)

    def fill(self, template: str, given: Mapping[str, str | list[str]]) -> Command:
        """The command that a template makes of these values (a list = several words); {python} and {script} are known.

        Raises:
            ConfigError: See `build`.
        """
        setup, warnings = self._setup(template)
        words_of = {name: [value] if isinstance(value, str) else value for name, value in given.items()}
        values = {"python": [], "script": [self.places.script], **words_of}
        if "{python}" in template:
            values["python"] = list(self.python().words)
        placeholder = _placeholder(tuple(values))
        words = _split(template, placeholder)
        filled = [part for word in words or () for part in _fill(word, values, placeholder)]
        if words is not None and not setup:
            return Command(argv=tuple(filled), warnings=warnings)
        # What is put in brings quotes of its own: those that are there already go.
        bare = QUOTED.sub(lambda match: match[0][1:-1] if placeholder.fullmatch(match[0][1:-1]) else match[0], template)
        line = shlex.join(filled) if words else placeholder.sub(lambda match: shlex.join(values[match[1]]), bare)
        can_exec = words is not None and (words[0] in ("{python}", "{script}") or os.path.isabs(words[0]))
        return Command(shell=_script(setup, line, can_exec), warnings=warnings)

    def build_words(self, words: Sequence[str]) -> Command:
        """See `build_shell_job`."""
        text = words[0] if len(words) == 1 and not is_plain(words[0], one_word=True) else None
        setup, warnings = self._setup(text or " ".join(words))
        if text is None and not setup:
            return Command(argv=tuple(words), warnings=warnings)
        if text is None:
            can_exec = words[0] not in RUNS_IN_SHELL and (os.path.isabs(words[0]) or not self.settings.before)
            return Command(shell=_script(setup, shlex.join(words), can_exec), warnings=warnings)
        return Command(shell=_script(setup, text, can_exec=False), warnings=warnings)

    def build_line(self, line: str) -> Command:
        """The command of one shell line, run exactly as it was typed. Raises ConfigError."""
        setup, warnings = self._setup(line)
        return Command(shell=_script(setup, line, can_exec=False), warnings=warnings)

    def python(self) -> PythonChoice:
        """The jobs' Python. Raises ConfigError if there is none."""
        if self._python is None:
            activated = bool(self._conda_lines()[0])
            self._python = choose_python(self.settings.python_env, self.env, self.root, activated)
        return self._python

    def _setup(self, command: str) -> tuple[list[str], tuple[str, ...]]:
        """The script's lines before the command, and warnings."""
        conda, warnings = self._conda_lines()
        before = self.settings.before
        lines = module_lines() if has_module_call([*before, command]) else []
        lines += step_lines(before)
        return [*lines, *conda], tuple(warnings)

    def _conda_lines(self) -> tuple[list[str], list[str]]:
        if self._conda is None:
            name = self.settings.conda_env
            if "/" in name or name.startswith("~"):
                name = absolute(self.root, name)
            self._conda = conda_lines(name, self.env, bool(self.settings.python_env)) if name else ([], [])
        return self._conda


@functools.lru_cache(maxsize=64)
def _placeholder(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![$\\])\{{({'|'.join(map(re.escape, names))})\}}")


@functools.lru_cache(maxsize=64)
def _split(template: str, placeholder: re.Pattern[str]) -> tuple[str, ...] | None:
    """The words of a line that needs no shell, else None."""
    if not is_plain(placeholder.sub("x", template)):
        return None
    try:
        words = shlex.split(template)
    except ValueError:
        return None
    return tuple(words) if words and words[0] not in RUNS_IN_SHELL and "=" not in words[0] else None


def _fill(word: str, values: Mapping[str, list[str]], placeholder: re.Pattern[str]) -> list[str]:
    match = placeholder.fullmatch(word)
    if match:
        return values[match[1]]  # `{python}` may be several words
    return [placeholder.sub(lambda found: " ".join(values[found[1]]), word)]


def _script(setup: list[str], line: str, can_exec: bool) -> str:
    return "\n".join([*setup, f"exec {line}" if can_exec else line]) + "\n"
