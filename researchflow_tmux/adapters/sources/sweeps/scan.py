"""The jobs that a sweep file stands for: their names, folders, configs and commands."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.job_config import ROOT_DIR
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.defaults import digest_of_script, wishes
from researchflow_tmux.adapters.sources.sweeps import file as sweep_file
from researchflow_tmux.adapters.sources.sweeps import templates
from researchflow_tmux.adapters.sources.sweeps.base import read_base
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import names_function
from researchflow_tmux.domain.sweeps import Choice
from researchflow_tmux.domain.sweeps.expansion import canonical
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths

SOURCE = "sweep"
CONFIG = "config.yml"
MOST_COMBINATIONS = 2_000_000
MOST_LOOKS = 20_000_000
"""Combinations times rules: a few seconds."""
LONGEST_KEY = 500


class SweepJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a sweep."""

    draft: JobDraft
    values: dict[str, Any]
    """The value of each variable."""
    texts: dict[str, str]
    """The same, as in names and folders."""
    config: str | None = None
    """What is to be written to `draft.config_path`; None = it has no config."""


class SweepScan(msgspec.Struct, frozen=True, kw_only=True):
    """All jobs of a sweep file, in order."""

    stem: str
    prefix: str
    """How the keys of this file's jobs begin."""
    variables: tuple[str, ...]
    jobs: tuple[SweepJob, ...]
    warnings: tuple[str, ...] = ()


def key_prefix(path: str, paths: WorkspacePaths) -> str:
    """How the keys of this file's jobs begin."""
    directory, name = os.path.split(path)
    # By whichever link somebody came here, the file is the same.
    place = os.path.relpath(os.path.realpath(directory), os.path.realpath(paths.root))
    return os.path.normpath(os.path.join(place, name)) + "#"


def scan(path: str, paths: WorkspacePaths, settings: Settings, env: Mapping[str, str], most: int) -> SweepScan:
    """The jobs of the sweep file at `path`; `env` is the captured environment, for finding Python and conda.

    Raises:
        ConfigError: With every problem of the file, or because it stands for more than `most` jobs.
    """
    file = sweep_file.read(_read(path), path)
    return _Scan(file, paths, settings, env).run(most)


class _Scan:
    def __init__(
        self, file: sweep_file.SweepFile, paths: WorkspacePaths, settings: Settings, env: Mapping[str, str]
    ) -> None:
        self.file = file
        self.paths = paths
        self.settings = settings
        self.places = resolve_places(paths, settings)
        self.builder = CommandBuilder(settings, env, paths)
        self.layout = templates.layout_of(file.words.layout, file.names)
        self.prefix = key_prefix(file.path, paths)
        base = read_base(file, paths.root)
        self.section = JobSection(**file.section) if base is None else base.section
        verify = self.section.verify or settings.verify
        self.asks_function = verify is not None and names_function(verify)
        self.template = file.words.command or self.section.command or settings.command
        self.overlay = None if base is None else base.overlay
        self.warnings: dict[str, None] = {} if base is None else dict.fromkeys(base.warnings)
        self.digests: dict[str, str] = {}

    def run(self, most: int) -> SweepScan:
        if not os.path.isdir(self.places.work_dir):
            hint = f"work_dir in {self.paths.config} is {self.settings.work_dir!r}"
            raise ConfigError([Problem(message=f"the directory {self.places.work_dir} does not exist", hint=hint)])
        if "{script}" in self.template:
            script = self.places.script
            self.digests[script] = digest_of_script(self.paths, self.settings, script)
        jobs = [self.job(choices) for choices in self.combinations(most)]
        self.refuse_equal(jobs)
        return SweepScan(
            stem=self.file.stem,
            prefix=self.prefix,
            variables=tuple(self.file.names),
            jobs=tuple(jobs),
            warnings=tuple(self.warnings),
        )

    def combinations(self, most: int) -> list[tuple[Choice, ...]]:
        sweep = self.file.sweep
        size, rules = sweep.size(), len(sweep.include) + len(sweep.exclude)
        if size > MOST_COMBINATIONS or size * rules > MOST_LOOKS:
            told = f" under {rules} rules" if rules else ""
            message = f"stands for {size} combinations{told}: too many to go through"
            raise self.file.problem("variables", message, "fewer values, or several sweeps")
        found = list(itertools.islice(sweep.expand(), most))
        total = sum(1 for _ in sweep.expand()) if len(found) == most else len(found)
        if total > most:
            raise self.file.problem("variables", f"stands for {total} jobs", f"--max {total} allows so many")
        if not found:
            raise self.file.problem("variables", "no combination is left by include, exclude and exceptions")
        return found

    # -- one job

    def job(self, choices: Sequence[Choice]) -> SweepJob:
        named = dict(zip(self.file.names, choices, strict=True))
        texts = {name: choice.text for name, choice in named.items()}
        nicks = {name: choice.nick for name, choice in named.items()}
        of_nick = {f"{name}.nick": nick for name, nick in nicks.items()}
        short = {**nicks, **of_nick, "sweep": self.file.stem}
        folder = templates.folder(self.layout, short)
        template = self.file.words.name or folder
        name = templates.name(template, short) if self.file.words.name else template.replace("/", "_")
        output_dir = os.path.join(self.places.output_dir, folder)
        values = {variable: choice.value for variable, choice in named.items()}
        config_path = os.path.join(output_dir, CONFIG) if self.overlay else None
        config = self.overlay.lay({ROOT_DIR: output_dir, **values}) if self.overlay else None
        words = {"name": name, "folder": output_dir, "output_dir": output_dir, "sweep": self.file.stem}
        words |= {"config": config_path} if config_path else {}
        command = self.builder.fill(self.template, {**texts, **of_nick, **words})
        self.warnings.update(dict.fromkeys(command.warnings))
        completion = self.section.completion or self.settings.completion
        marker = "config_completed.txt" if config else "completed.txt" if completion != "exit_code" else None
        digests = {config_path: hashlib.sha256(config.encode()).hexdigest()} if config and config_path else {}
        draft = JobDraft(
            source=SOURCE,
            key=self.prefix + _identity(values),
            name=name,
            argv=command.argv,
            shell=command.shell,
            workdir=self.places.work_dir,
            completion=completion,
            marker=os.path.join(output_dir, marker) if marker else None,
            variables=values if not config and self.asks_function else {},
            output_dir=output_dir,
            config_path=config_path,
            digests={**digests, **self.digests},
            labels=nicks,
            **wishes(self.settings, self.section),
        )
        return SweepJob(draft=draft, values=values, texts=nicks, config=config)

    # -- all of them

    def refuse_equal(self, jobs: Sequence[SweepJob]) -> None:
        for key, what, of in _SAME:
            first: dict[str, SweepJob] = {}
            for job in jobs:
                same = first.setdefault(of(job), job)
                if same is not job:
                    message = f"{_told(same)} and {_told(job)} would have the same {what}, {of(job)}"
                    hint = f"name every variable in `{key}`, and give values nicknames of their own"
                    raise self.file.problem(key, message, hint)


_SAME: tuple[tuple[str, str, Callable[[SweepJob], str]], ...] = (
    ("layout", "folder", lambda job: job.draft.output_dir or ""),
    ("name", "name", lambda job: job.draft.name),
)


def _told(job: SweepJob) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in job.texts.items()) + "}"


def _identity(values: Mapping[str, Any]) -> str:
    """The assignment in one text, whatever the order of the variables in the file."""
    text = canonical(dict(values))
    return text if len(text) <= LONGEST_KEY else hashlib.sha256(text.encode()).hexdigest()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(yaml_tree.MAX_BYTES + 1)
