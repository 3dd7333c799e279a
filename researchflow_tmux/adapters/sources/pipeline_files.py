"""Pipeline files in job_dir as a job source. Nothing is written to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.pipelines.scan import SOURCE, PipelineScan, scan
from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.adapters.sources.yaml_files import YamlFile, YamlFiles
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.taking_in import WAITING


class PipelineFiles:
    """Queues jobs that are new, and tells waiting ones what their file says now. What has ended is left alone."""

    kind = SOURCE

    def __init__(self, context: SourceContext) -> None:
        def read(path: str) -> PipelineScan:
            return scan(path, context.paths, context.settings, context.variables)

        self._files = YamlFiles(context, "pipeline", read)

    def directories(self) -> Collection[str]:
        """job_dir, and all directories in it."""
        return self._files.directories

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """What is new; a file is opened only if it changed."""
        self._files.look()
        found = [(file, file.found) for file in self._files.files.values() if file.found is not None]
        return Reading(
            drafts=tuple(draft for file, scanned in found for draft in _news(file, scanned, jobs)),
            withdrawn=self._files.withdrawn(jobs, _keys),
            problems=self._files.problems,
            warnings=tuple(warning for _, scanned in found for warning in scanned.warnings),
        )

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """A pipeline file is the user's alone."""
        return ()


def _news(file: YamlFile[PipelineScan], found: PipelineScan, jobs: Mapping[str, Job]) -> list[JobDraft]:
    """All jobs of a file with something new in it: they name each other, and to repeat a known one is harmless."""
    known = {job.draft.key: jobs.get(job.draft.key) for job in found.jobs}
    changed, file.fresh = file.fresh and any(job and job.state in WAITING for job in known.values()), False
    if not changed and all(known.values()):
        return []
    return [_as_asked(job.draft, known[job.draft.key]) for job in found.jobs]


def _as_asked(draft: JobDraft, job: Job | None) -> JobDraft:
    """Somebody may have asked for a run of it even if it is up to date: that stands."""
    asked = job is not None and job.state in WAITING and job.spec.files is not None and job.spec.files.force
    if not asked or draft.files is None:
        return draft
    return msgspec.structs.replace(draft, files=msgspec.structs.replace(draft.files, force=True))


def _keys(found: PipelineScan) -> frozenset[str]:
    return frozenset(job.draft.key for job in found.jobs)
