"""Queueing the jobs of a sweep file: those that are new, and nothing twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from researchflow_tmux.adapters.sources.sweeps.scan import SOURCE, SweepJob, SweepScan, scan
from researchflow_tmux.adapters.sources.sweeps.writing import make_folders, refuse_taken_folders
from researchflow_tmux.api import control
from researchflow_tmux.api.adding import SchedulerWord, ensure_scheduler
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.intake import submissions

MOST_JOBS = 10_000
_SETTLED = (JobState.ACTIVE, JobState.SUCCEEDED)
"""What such jobs were started with stays as it is. Others take over what the file says now."""


class SweptJob(msgspec.Struct, kw_only=True):
    """One job of a sweep."""

    name: str
    state: str
    """`new`, or the state of a job that is known."""
    values: dict[str, Any]
    """The value of each variable."""
    nicks: dict[str, str]
    """The same, as in names and folders."""
    folder: str
    command: str


class Swept(msgspec.Struct, kw_only=True):
    """What a sweep file stands for, and what was queued of it."""

    file: str
    dry_run: bool
    new: int
    """Queued now (with `--dry-run`: would be queued)."""
    known: int
    """Queued before: nothing of that runs again."""
    gone: list[str]
    """Jobs of this file that it does not have any more: they were left alone."""
    done_before: list[str] = []
    """Of the new ones: their marker is there, so they are done."""
    scheduler: SchedulerWord | None = None
    session: str | None = None
    """The scheduler's session, if it was opened now."""
    warnings: list[str] = []
    jobs: list[SweptJob] = []
    """All jobs that the file stands for, in order."""


def sweep(
    workspace: Workspace, path: str, *, dry_run: bool = False, most: int = MOST_JOBS, may_start: bool = True
) -> Swept:
    """Queue the jobs of the sweep file at `path` that are new, and start the scheduler for them as `add` does.

    Raises ConfigError with every problem of the file, UsageError or StoreError; then nothing was queued.
    """
    captured = submissions.capture()
    file = os.path.normpath(os.path.join(os.getcwd(), path))
    found = scan(file, workspace.paths, workspace.settings, captured.variables, most)
    there = _jobs(workspace)
    known = {job.spec.key: job for job in there}
    refuse_taken_folders(found, there)
    result = _told(file, found, known, dry_run=dry_run)
    if not dry_run:
        control.ready(workspace)
        _queue(workspace, found, known, captured.digest, result)
        result.scheduler, result.session = ensure_scheduler(workspace, captured.digest, may_start=may_start)
    return result


def _jobs(workspace: Workspace) -> list[Job]:
    """The jobs of all sweeps that are known."""
    if not os.path.exists(workspace.paths.database):
        return []
    with workspace.reader() as reader:
        return [job for job in reader.all_jobs() if job.spec.source == SOURCE]


def _told(file: str, found: SweepScan, known: Mapping[str, Job], *, dry_run: bool) -> Swept:
    keys = {job.draft.key for job in found.jobs}
    here = [job for job in known.values() if job.spec.key.startswith(found.prefix)]
    jobs = [_view(job, known.get(job.draft.key)) for job in found.jobs]
    return Swept(
        file=file,
        dry_run=dry_run,
        new=sum(job.state == "new" for job in jobs),
        known=sum(job.state != "new" for job in jobs),
        gone=[job.name for job in here if job.spec.key not in keys],
        warnings=list(found.warnings),
        jobs=jobs,
    )


def _view(job: SweepJob, known: Job | None) -> SweptJob:
    import shlex

    return SweptJob(
        name=job.draft.name,
        state="new" if known is None else str(known.state),
        values=job.values,
        nicks=job.texts,
        folder=job.draft.output_dir or "",
        command=job.draft.shell or shlex.join(job.draft.argv),
    )


def _queue(workspace: Workspace, found: SweepScan, known: Mapping[str, Job], digest: str, result: Swept) -> None:
    jobs = [job for job in found.jobs if (old := known.get(job.draft.key)) is None or old.state not in _SETTLED]
    make_folders(jobs)
    drafts = [
        Draft(
            spec=job.draft.to_spec(digest, group=found.stem),
            marker_found=job.draft.marker is not None and os.path.exists(job.draft.marker),
            after_names=job.draft.after,
        )
        for job in jobs
    ]
    if drafts:
        done = workspace.submit_drafts(drafts).done_before
        fresh = {job.name for job in result.jobs if job.state == "new"}
        result.done_before = [name for name in done if name in fresh]
