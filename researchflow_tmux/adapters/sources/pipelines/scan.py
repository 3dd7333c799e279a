"""From a pipeline file to jobs: one for each combination of a job's matrix, with the jobs that it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.pipelines import file as pipeline_file
from researchflow_tmux.adapters.sources.pipelines.building import JobBuilder, Made
from researchflow_tmux.adapters.sources.pipelines.entry import JobEntry
from researchflow_tmux.adapters.sources.pipelines.file import PipelineFile
from researchflow_tmux.adapters.sources.sweeps.scan import key_prefix
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.pipelines import Instances
from researchflow_tmux.domain.sweeps import Choice
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

SOURCE = "pipeline"
MOST_JOBS = 10_000
MOST_COMBINATIONS = 1_000_000
MOST_NEEDS = 500_000
"""Needs of all jobs together."""


class PipelineJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a pipeline."""

    draft: JobDraft
    job: str
    """What the file calls it; the instances of a matrix share that."""
    values: dict[str, Any]
    nicks: dict[str, str]
    needs: tuple[str, ...]
    """Keys of the jobs it needs."""


class PipelineScan(msgspec.Struct, frozen=True, kw_only=True):
    """All jobs of a pipeline file, each after those it needs."""

    name: str
    prefix: str
    """How the keys of this file's jobs begin."""
    jobs: tuple[PipelineJob, ...]
    warnings: tuple[str, ...] = ()


def scan(
    path: str, paths: WorkspacePaths, settings: Settings, env: Mapping[str, str], most: int = MOST_JOBS
) -> PipelineScan:
    """The jobs of the pipeline file at `path`; `env` is the captured environment, for finding Python and conda.

    Raises:
        ConfigError: With every problem of the file, or because it stands for more than `most` jobs.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as opened:
        data = opened.read(yaml_tree.MAX_BYTES + 1)
    return _Scan(pipeline_file.read(data, path), paths, settings, env).run(most)


class _Scan:
    def __init__(self, file: PipelineFile, paths: WorkspacePaths, settings: Settings, env: Mapping[str, str]) -> None:
        self.file = file
        self.prefix = key_prefix(file.path, paths)
        self.builder = JobBuilder(
            file, self.prefix, CommandBuilder(settings, env, paths), resolve_places(paths, settings), paths
        )
        self.made: dict[str, list[Made]] = {}
        self.problems: list[Problem] = []
        self.needs_in_all = 0

    def run(self, most: int) -> PipelineScan:
        combinations = self.combinations(most)
        for job in self.file.jobs:
            self.made[job.name] = [self.builder.make(job, choices) for choices in combinations[job.name]]
        self.problems += self.builder.problems
        jobs = [one for job in self.file.jobs for one in self.with_needs(job)]
        self.refuse_equal(jobs)
        self.note_missing_needs(jobs)
        if self.problems:
            raise ConfigError(self.problems)
        return PipelineScan(
            name=self.file.name, prefix=self.prefix, jobs=tuple(jobs), warnings=tuple(self.builder.warnings)
        )

    def combinations(self, most: int) -> dict[str, list[tuple[Choice, ...]]]:
        """The combinations of each job's matrix. Raises ConfigError if they are too many, or none."""
        found = {}
        total = 0
        for job in self.file.jobs:
            size = job.matrix.size()
            if size > MOST_COMBINATIONS:
                raise ConfigError([_at(job, f"{job.name}: its matrix stands for {size} combinations: too many")])
            found[job.name] = list(job.matrix.expand())
            total += len(found[job.name])
            if not found[job.name]:
                raise ConfigError(
                    [_at(job, f"{job.name}: no combination of its matrix is left by include and exclude")]
                )
        if total > most:
            hint = f"--max {total} allows so many"
            raise ConfigError([msgspec.structs.replace(self.file.place, message=f"{total} jobs in all", hint=hint)])
        return found

    # -- who needs whom

    def with_needs(self, job: JobEntry) -> list[PipelineJob]:
        mine = self.made[job.name]
        needed: list[list[Made]] = [[] for _ in mine]
        for need in job.needs:
            theirs = self.made[need.name]
            instances = Instances([one.values for one in theirs])
            for one, found in zip(mine, needed, strict=True):
                places = range(len(theirs)) if need.all else instances.partners(one.values)
                found += [theirs[place] for place in places]
                self.needs_in_all += len(places)
                if not places:
                    message = (
                        f"{one.draft.name} needs {need.name}, and none of those has the same {_shared(one, theirs)}"
                    )
                    hint = f"`needs: {{{need.name}: all}}` waits for all of them"
                    self.problems.append(msgspec.structs.replace(need.place, message=message, hint=hint))
                if self.needs_in_all > MOST_NEEDS:
                    raise ConfigError([_at(job, f"{job.name}: more than {MOST_NEEDS} needs of jobs in all")])
        return [self.connected(job, one, found) for one, found in zip(mine, needed, strict=True)]

    def connected(self, job: JobEntry, one: Made, needed: Sequence[Made]) -> PipelineJob:
        names = tuple(dict.fromkeys((*(need.draft.name for need in needed), *one.draft.after)))
        files = one.draft.files
        assert files is not None
        upstream = tuple(need.draft.files.note for need in needed if need.draft.files is not None)
        files = msgspec.structs.replace(files, upstream=upstream)
        return PipelineJob(
            draft=msgspec.structs.replace(one.draft, after=names, files=files),
            job=job.name,
            values=one.values,
            nicks=one.nicks,
            needs=tuple(need.draft.key for need in needed),
        )

    # -- all of them

    def refuse_equal(self, jobs: Sequence[PipelineJob]) -> None:
        """Two jobs of one name cannot be told apart, and two that write one file destroy each other's work."""
        entries = {job.name: job for job in self.file.jobs}
        names: dict[str, PipelineJob] = {}
        writers: dict[str, PipelineJob] = {}
        for job in jobs:
            same = names.setdefault(job.draft.name, job)
            if same is not job:
                message = f"two jobs would be called {job.draft.name}"
                self.problems.append(_at(entries[job.job], message, "give values nicknames of their own"))
            for path in _outputs(job):
                other = writers.setdefault(path, job)
                if other is not job:
                    message = f"{other.draft.name} and {job.draft.name} would both write {path}"
                    hint = "name the variables of the matrix in `outputs`" if other.job == job.job else None
                    self.problems.append(_at(entries[job.job], message, hint))

    def note_missing_needs(self, jobs: Sequence[PipelineJob]) -> None:
        """A word about files that one job writes and another reads without waiting for it."""
        makers = {path: job for job in jobs for path in _outputs(job)}
        above: dict[str, frozenset[str]] = {}
        for entry in self.file.jobs:  # each after those it needs
            above[entry.name] = frozenset().union(*({need.name} | above[need.name] for need in entry.needs))
        for job in jobs:
            for path in job.draft.files.inputs if job.draft.files else ():
                maker = makers.get(os.path.join(job.draft.workdir, path))
                if maker is not None and maker.job not in (*above[job.job], job.job):
                    told = f"{job.job} reads what {maker.job} writes ({path}), and does not need it"
                    self.builder.warnings[f"{told}: `needs: [{maker.job}]`"] = None


def _outputs(job: PipelineJob) -> list[str]:
    files = job.draft.files
    return [os.path.join(job.draft.workdir, path) for path in (files.outputs if files else ())]


def _shared(one: Made, theirs: Sequence[Made]) -> str:
    names = [name for name in one.values if name in theirs[0].values]
    return ", ".join(f"{name} ({one.nicks[name]})" for name in names)


def _at(job: JobEntry, message: str, hint: str | None = None) -> Problem:
    return msgspec.structs.replace(job.place, message=message, hint=hint)
