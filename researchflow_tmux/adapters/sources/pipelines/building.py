"""One combination of a job's matrix as a draft, without what it needs."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.commands import Command, CommandBuilder
from researchflow_tmux.adapters.job_config import JobConfig, parse_job_config
from researchflow_tmux.adapters.places import Places, absolute
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.defaults import wishes
from researchflow_tmux.adapters.sources.pipelines.entry import JobEntry
from researchflow_tmux.adapters.sources.pipelines.file import PipelineFile
from researchflow_tmux.adapters.sources.sweeps import templates
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import JobFiles, names_function
from researchflow_tmux.domain.sweeps import Choice
from researchflow_tmux.domain.sweeps.expansion import canonical
from researchflow_tmux.domain.workspace import JobSection, WorkspacePaths

LONGEST_KEY = 500


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A draft and the combination it was made for."""

    draft: JobDraft
    values: dict[str, Any]
    nicks: dict[str, str]


class JobBuilder:
    """Makes drafts; what stands in the way is kept in `problems`, each once."""

    def __init__(
        self, file: PipelineFile, prefix: str, commands: CommandBuilder, places: Places, paths: WorkspacePaths
    ) -> None:
        self.file = file
        self.prefix = prefix
        self.commands = commands
        self.settings = commands.settings
        self.places = places
        self.paths = paths
        self.problems: dict[Problem, None] = {}
        self.warnings: dict[str, None] = {}
        self._configs: dict[str, JobConfig] = {}

    def make(self, job: JobEntry, choices: Sequence[Choice]) -> Made:
        """The draft of one combination."""
        named = dict(zip(job.variables, choices, strict=True))
        values = {name: choice.value for name, choice in named.items()}
        nicks = {name: choice.nick for name, choice in named.items()}
        name = templates.name("_".join((self.file.name, job.name, *nicks.values())), {})
        words = {
            **self.file.constants,
            **{name: choice.text for name, choice in named.items()},
            **{f"{name}.nick": nick for name, nick in nicks.items()},
            "name": name,
            "job": job.name,
            "pipeline": self.file.name,
            "output_dir": self.places.output_dir,
        }
        return Made(draft=self._draft(job, name, values, words, nicks), values=values, nicks=nicks)

    def _key(self, job: JobEntry, values: Mapping[str, Any]) -> str:
        text = job.name + (canonical(dict(values)) if values else "")
        return self.prefix + (text if len(text) <= LONGEST_KEY else hashlib.sha256(text.encode()).hexdigest())

    def _draft(
        self, job: JobEntry, name: str, values: dict[str, Any], words: dict[str, str], nicks: dict[str, str]
    ) -> JobDraft:
        key = self._key(job, values)
        config = self._config(job, words)
        section = self._section(job, config, words)
        output_dir = words["output_dir"]
        if config is not None and config[1].root_dir:
            output_dir = words["output_dir"] = absolute(self.paths.root, config[1].root_dir)
        if config is not None:
            words["config"] = config[0]
        workdir = job.words.workdir or self.file.workdir
        place = absolute(self.paths.root, templates.fill(workdir, words)) if workdir else self.places.work_dir
        command = self._command(job, section, words)
        completion = section.completion or self.settings.completion
        inputs = [_pattern(text, words) for text in job.inputs] + (
            [os.path.relpath(config[0], place)] if config else []
        )
        outputs = [_pattern(text, words) for text in job.outputs]
        asked = wishes(self.settings, section) | {"when": job.words.when}
        asks_function = config is None and asked["verify"] is not None and names_function(asked["verify"])
        return JobDraft(
            source="pipeline",
            key=key,
            name=name,
            argv=command.argv,
            shell=command.shell,
            workdir=place,
            completion=completion,
            marker=None if completion == "exit_code" else os.path.join(output_dir, f"{name}_completed.txt"),
            output_dir=output_dir,
            config_path=config[0] if config else None,
            variables=values if asks_function else {},
            group=self.file.name,
            labels={"job": job.name, **nicks},
            files=JobFiles(
                definition=self._definition(job, words, section, workdir, inputs, outputs),
                note=note_path(self.paths, key),
                inputs=tuple(dict.fromkeys(inputs)),
                outputs=tuple(dict.fromkeys(outputs)),
                force=job.words.when != "success",  # what is for a failure is done at each of them
            ),
            **asked,
        )

    def _definition(self, job: JobEntry, words: dict[str, str], section: JobSection, *rest: Any) -> str:
        """Digest of what makes it this job, in the user's words: another Python or another place changes nothing."""
        own = {name: text for name, text in words.items() if name not in ("output_dir", "config")}
        template = job.words.command or section.command or ("" if job.argv else self.settings.command)
        filled = [templates.fill(text, own) for text in (template, *job.argv, job.words.config or "")]
        return hashlib.sha256(json.dumps([filled, section.env, *rest]).encode()).hexdigest()

    def _command(self, job: JobEntry, section: JobSection, words: Mapping[str, str]) -> Command:
        try:
            if job.argv:
                filled = [self._argument(text, words) for text in job.argv]
                command = self.commands.build_words([word for part in filled for word in part])
            else:
                template = job.words.command or section.command or self.settings.command
                command = self.commands.fill(template, words)
        except ConfigError as error:
            self.problems.update(dict.fromkeys(error.problems))
            return Command(argv=("false",))
        self.warnings.update(dict.fromkeys(command.warnings))
        return command

    def _argument(self, text: str, words: Mapping[str, str]) -> list[str]:
        if text == "{python}":
            return list(self.commands.python().words)
        python = {"python": " ".join(self.commands.python().words)} if "{python}" in text else {}
        return [templates.fill(text, {**words, "script": self.places.script, **python})]

    # -- a config

    def _config(self, job: JobEntry, words: Mapping[str, str]) -> tuple[str, JobConfig] | None:
        """The path of the job's config, and what it says to us."""
        if job.words.config is None:
            return None
        path = absolute(self.paths.root, templates.fill(job.words.config, words))
        if path not in self._configs:
            self._configs[path] = self._read_config(job, path)
        return path, self._configs[path]

    def _read_config(self, job: JobEntry, path: str) -> JobConfig:
        try:
            with open(path, "rb") as file:
                found = parse_job_config(file.read(yaml_tree.MAX_BYTES + 1), path)
        except OSError as error:
            assert job.config_place is not None
            message = f"{job.name}.config: {path} cannot be read: {error.strerror}"
            hint = "a path relative to the workspace"
            self.problems[msgspec.structs.replace(job.config_place, message=message, hint=hint)] = None
        except ConfigError as error:
            self.problems.update(dict.fromkeys(error.problems))
        else:
            self.warnings.update(dict.fromkeys(found.warnings))
            return found
        return JobConfig(section=JobSection())

    def _section(self, job: JobEntry, config: tuple[str, JobConfig] | None, words: Mapping[str, str]) -> JobSection:
        """What is asked for: by the job, else by its config, else by the pipeline."""
        own = msgspec.to_builtins(config[1].section) if config else {}
        merged = {**self.file.section, **own, **job.section}
        env = {**self.file.section.get("env", {}), **own.get("env", {}), **job.section.get("env", {})}
        merged["env"] = {name: templates.fill(value, words) for name, value in env.items()}
        return msgspec.convert(merged, JobSection)


def _pattern(text: str, words: Mapping[str, str]) -> str:
    """A path or pattern; what a variable brings in is no pattern."""
    return templates.fill(text, {name: glob.escape(value) for name, value in words.items()})


def note_path(paths: WorkspacePaths, key: str) -> str:
    """Where the success of the job with this key is noted."""
    return os.path.join(paths.made, hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".json")
