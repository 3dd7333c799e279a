"""Queueing what there is to do of a pipeline file: what is new, what failed, and what is out of date."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters.sources.pipelines.due import Verdict, verdicts
from researchflow_tmux.adapters.sources.pipelines.scan import MOST_JOBS, SOURCE, PipelineJob, PipelineScan, scan
from researchflow_tmux.api import control
from researchflow_tmux.api.adding import SchedulerWord, ensure_scheduler
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import ConfigError, Problem, UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.intake import submissions

_WAITING = (JobState.QUEUED, JobState.HELD)


class PipedJob(msgspec.Struct, kw_only=True):
    """One job of a pipeline."""

    name: str
    job: str
    """What the file calls it."""
    run: bool
    """Queued now (with `--dry-run`: would be queued). It looks once more when it starts."""
    why: str
    """`new`, what is out of date, `up to date`, or where it stands."""
    state: str | None
    """The state that it had; null = it is new."""
    needs: list[str]
    """Names of the jobs it needs."""
    when: str
    values: dict[str, Any]
    """The value of each variable of its matrix."""
    command: str
    inputs: list[str]
    outputs: list[str]


class Piped(msgspec.Struct, kw_only=True):
    """What a pipeline file stands for, and what was queued of it."""

    file: str
    name: str
    """Of the pipeline, and of the group of its jobs."""
    dry_run: bool
    queued: int
    """Queued now (with `--dry-run`: would be queued)."""
    up_to_date: int
    under_way: int
    gone: list[str]
    """Jobs of this file that it does not have any more: they were left alone."""
    scheduler: SchedulerWord | None = None
    session: str | None = None
    """The scheduler's session, if it was opened now."""
    warnings: list[str] = []
    jobs: list[PipedJob] = []
    """All jobs that the file stands for (with `--only`: those chosen, and what they need), each after its needs."""


def pipeline(
    workspace: Workspace,
    path: str,
    *,
    dry_run: bool = False,
    force: bool = False,
    only: Sequence[str] = (),
    most: int = MOST_JOBS,
    may_start: bool = True,
) -> Piped:
    """Queue what there is to do of the pipeline file at `path`, and start the scheduler for it as `add` does.

    `force` runs also what is up to date; `only` names jobs: these, and what they need.

    Raises ConfigError with every problem of the file, UsageError or StoreError; then nothing was queued.
    """
    captured = submissions.capture()
    file = os.path.normpath(os.path.join(os.getcwd(), path))
    found = _scan(file, workspace, captured.variables, most)
    chosen, asked_for = _chosen(found, only)
    known = _known(workspace)
    what = verdicts(chosen, known, force=asked_for if force else ())
    result = _told(file, found, chosen, known, what, dry_run=dry_run)
    if not dry_run:
        control.ready(workspace)
        drafts = _drafts(chosen, known, what, captured.digest, force=asked_for if force else frozenset())
        if drafts:
            workspace.submit_drafts(drafts)
        result.scheduler, result.session = ensure_scheduler(workspace, captured.digest, may_start=may_start)
    return result


def _scan(file: str, workspace: Workspace, variables: Mapping[str, str], most: int) -> PipelineScan:
    try:
        return scan(file, workspace.paths, workspace.settings, variables, most)
    except OSError as error:
        raise ConfigError([Problem(message=f"cannot be read: {error.strerror or error}", file=file)]) from None


def _known(workspace: Workspace) -> dict[str, Job]:
    """The jobs of all pipelines that are known, by key."""
    if not os.path.exists(workspace.paths.database):
        return {}
    with workspace.reader() as reader:
        return {job.spec.key: job for job in reader.all_jobs() if job.spec.source == SOURCE}


# --only ---------------------------------------------------------------------------------------------------------------


def _chosen(found: PipelineScan, only: Sequence[str]) -> tuple[list[PipelineJob], frozenset[str]]:
    """The jobs that are meant with all they need, and the keys of those that were named."""
    if not only:
        return list(found.jobs), frozenset(job.draft.key for job in found.jobs)
    named = {job.draft.key for job in found.jobs if job.job in only or job.draft.name in only}
    known = {word for job in found.jobs for word in (job.job, job.draft.name)}
    unknown = [word for word in only if word not in known]
    if unknown:
        raise UsageError("\n".join(_no_such_job(word, found, known) for word in unknown))
    wanted = set(named)
    for job in reversed(found.jobs):  # each comes after what it needs
        if job.draft.key in wanted:
            wanted |= set(job.needs)
    return [job for job in found.jobs if job.draft.key in wanted], frozenset(named)


def _no_such_job(word: str, found: PipelineScan, known: Collection[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, sorted(known), n=1)
    hint = (
        f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(dict.fromkeys(j.job for j in found.jobs))}"
    )
    return f"the pipeline {found.name} has no job {word!r}{hint}"


# Queueing and telling -------------------------------------------------------------------------------------------------


def _drafts(
    chosen: Sequence[PipelineJob],
    known: Mapping[str, Job],
    what: Mapping[str, Verdict],
    digest: str,
    *,
    force: Collection[str],
) -> list[Draft]:
    """What runs, and what waits and may be described differently now."""
    taken = [job for job in chosen if _is_taken(job, known, what)]
    among = {job.draft.key: job.draft.name for job in taken}
    drafts = []
    for job in taken:
        # What is not submitted with it is known by its id: another job may have its name.
        ids = tuple(known[key].id for key in job.needs if key not in among and key in known)
        elsewhere = {known[key].name for key in job.needs if key not in among and key in known}
        draft = job.draft
        if draft.key in force and draft.files is not None:
            draft = msgspec.structs.replace(draft, files=msgspec.structs.replace(draft.files, force=True))
        names = tuple(name for name in draft.after if name not in elsewhere)
        drafts.append(Draft(spec=draft.to_spec(digest, after=ids), after_names=names, again=what[job.draft.key].run))
    return drafts


def _is_taken(job: PipelineJob, known: Mapping[str, Job], what: Mapping[str, Verdict]) -> bool:
    old = known.get(job.draft.key)
    return what[job.draft.key].run or (old is not None and old.state in _WAITING)


def _told(
    file: str,
    found: PipelineScan,
    chosen: Sequence[PipelineJob],
    known: Mapping[str, Job],
    what: Mapping[str, Verdict],
    *,
    dry_run: bool,
) -> Piped:
    keys = {job.draft.key for job in found.jobs}
    here = [job for key, job in known.items() if key.startswith(found.prefix)]
    names = {job.draft.key: job.draft.name for job in found.jobs}
    jobs = [_view(job, known.get(job.draft.key), what[job.draft.key], names) for job in chosen]
    return Piped(
        file=file,
        name=found.name,
        dry_run=dry_run,
        queued=sum(job.run for job in jobs),
        up_to_date=sum(not job.run and job.state == JobState.SUCCEEDED for job in jobs),
        under_way=sum(not job.run and job.state in (JobState.QUEUED, JobState.HELD, JobState.ACTIVE) for job in jobs),
        gone=[job.name for job in here if job.spec.key not in keys],
        warnings=[*found.warnings, *_namesakes(found, known)],
        jobs=jobs,
    )


def _namesakes(found: PipelineScan, known: Mapping[str, Job]) -> list[str]:
    """A word about other files whose pipelines have the same name."""
    others = (job for key, job in known.items() if job.spec.group == found.name and not key.startswith(found.prefix))
    files = dict.fromkeys(job.spec.key.partition("#")[0] for job in others)
    return [f"the pipeline of {file} is called {found.name} too: a `name:` tells them apart" for file in files]


def _view(job: PipelineJob, known: Job | None, verdict: Verdict, names: Mapping[str, str]) -> PipedJob:
    import shlex

    files = job.draft.files
    return PipedJob(
        name=job.draft.name,
        job=job.job,
        run=verdict.run,
        why=verdict.why,
        state=None if known is None else str(known.state),
        needs=[names[key] for key in job.needs],
        when=job.draft.when,
        values=job.values,
        command=job.draft.shell or shlex.join(job.draft.argv),
        inputs=list(files.inputs) if files else [],
        outputs=list(files.outputs) if files else [],
    )
