"""Sweep files in job_dir as a job source. Nothing is written to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.adapters.sources.sweeps.scan import SOURCE, SweepJob, SweepScan, scan
from researchflow_tmux.adapters.sources.sweeps.writing import make_folders, refuse_taken_folders
from researchflow_tmux.adapters.sources.yaml_files import YamlFile, YamlFiles
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.taking_in import WAITING

MOST_JOBS = 10_000
"""Of one file; `rfsched sweep --max` queues more."""


class SweepFiles:
    """Queues combinations that are new, and tells waiting jobs what their file says now."""

    kind = SOURCE

    def __init__(self, context: SourceContext) -> None:
        def read(path: str) -> SweepScan:
            return scan(path, context.paths, context.settings, context.variables, MOST_JOBS)

        self._files = YamlFiles(context, "sweep", read)

    def directories(self) -> Collection[str]:
        """job_dir, and all directories in it."""
        return self._files.directories

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """What is new; a file is opened only if it changed."""
        self._files.look()
        drafts: list[JobDraft] = []
        problems = list(self._files.problems)
        warnings: list[str] = []
        for path, file in self._files.files.items():
            if file.found is None:
                continue
            warnings += file.found.warnings
            try:
                drafts += _news(file, file.found, jobs)
            except ConfigError as error:
                problems += [msgspec.structs.replace(problem, file=path) for problem in error.problems]
            except OSError as error:
                message = f"the folders of its jobs cannot be made: {error.strerror or error} ({error.filename})"
                problems.append(Problem(message=message, file=path))
        return Reading(
            drafts=tuple(drafts),
            withdrawn=self._files.withdrawn(jobs, _keys),
            problems=tuple(problems),
            warnings=tuple(warnings),
        )

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """A sweep file is the user's alone."""
        return ()


def _news(file: YamlFile[SweepScan], found: SweepScan, jobs: Mapping[str, Job]) -> list[JobDraft]:
    """The jobs that are new, and if the file was read anew those that wait. Their folders and configs are there."""
    news = [job for job in found.jobs if _is_news(jobs.get(job.draft.key), changed=file.fresh)]
    if news:
        refuse_taken_folders(found, jobs.values())
        make_folders(news)
    file.fresh = False
    return [_grouped(job, found.stem) for job in news]


def _is_news(job: Job | None, *, changed: bool) -> bool:
    return job is None or (changed and job.state in WAITING)


def _grouped(job: SweepJob, group: str) -> JobDraft:
    return msgspec.structs.replace(job.draft, group=group)


def _keys(found: SweepScan) -> frozenset[str]:
    return frozenset(job.draft.key for job in found.jobs)
