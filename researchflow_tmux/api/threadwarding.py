"""Queueing the tasks of a threadward project: one job for each task that has not succeeded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.sources.threadward.drafts import SOURCE, Drafter, TaskJob, constraints
from researchflow_tmux.adapters.sources.threadward.recorded import record
from researchflow_tmux.adapters.sources.threadward.tasks import Task, expand, write_tasks
from researchflow_tmux.adapters.sources.threadward.template import FILES
from researchflow_tmux.api import control
from researchflow_tmux.api.adding import SchedulerWord, ensure_scheduler
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.intake import submissions
from researchflow_tmux.job.threadward import queue_files
from researchflow_tmux.job.threadward.project import FOLDER, QUEUE

_UNFINISHED = (JobState.QUEUED, JobState.HELD, JobState.ACTIVE)


class WardTask(msgspec.Struct, kw_only=True):
    """One task."""

    id: str
    name: str
    """Of its job."""
    state: str | None
    """The state that its job had; null = it is new."""
    run: bool
    """Queued now (with `--dry-run`: would be queued)."""
    variables: dict[str, str]
    """The value of each variable, as a text."""
    nicks: dict[str, str]
    folder: str


class Warded(msgspec.Struct, kw_only=True):
    """What a project stands for, and what was queued of it."""

    directory: str
    name: str
    """Of the group of its jobs."""
    dry_run: bool
    queued: int
    """Tasks queued now (with `--dry-run`: would be queued)."""
    succeeded: int
    under_way: int
    gone: list[str]
    """Jobs of tasks that the project does not have any more: they were left alone."""
    scheduler: SchedulerWord | None = None
    session: str | None = None
    """The scheduler's session, if it was opened now."""
    warnings: list[str] = []
    tasks: list[WardTask] = []


def init(directory: str) -> list[str]:
    """Make `threadward/` with its files in `directory`; what is there stays. Returns what was made."""
    folder = os.path.join(directory, FOLDER)
    os.makedirs(os.path.join(folder, QUEUE), exist_ok=True)
    made = []
    for name, text in FILES.items():
        path = os.path.join(folder, name)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            continue
        made.append(path)
    return made


def run(workspace: Workspace, directory: str, *, dry_run: bool = False, may_start: bool = True) -> Warded:
    """Queue a job for each task of the project that has not succeeded, failed ones included.

    Raises ConfigError with every problem of the project's files, UsageError or StoreError; then nothing was queued.
    """
    directory = os.path.abspath(directory)
    if not os.path.isdir(os.path.join(directory, FOLDER)):
        raise UsageError(f"{directory} has no {FOLDER}/", hint="`rfsched threadward init` makes it")
    captured = submissions.capture()
    commands = CommandBuilder(workspace.settings, captured.variables, workspace.paths)
    found = record(directory, commands, workspace.paths)
    asked, notes = constraints(directory, found)
    tasks = expand(directory, found)
    drafter = Drafter(directory, commands, workspace.paths, workspace.settings, asked)
    jobs = drafter.jobs(tasks, found.hooks)
    known = _known(workspace, drafter.prefix)
    result = _told(directory, drafter.name, jobs, known, notes, dry_run=dry_run)
    if not dry_run:
        control.ready(workspace)
        _write(directory, tasks, result)
        drafts = [_draft(job, known, captured.digest) for job in jobs if _is_taken(job, known, result)]
        if drafts:
            workspace.submit_drafts(drafts)
        result.scheduler, result.session = ensure_scheduler(workspace, captured.digest, may_start=may_start)
    return result


def _known(workspace: Workspace, prefix: str) -> dict[str, Job]:
    if not os.path.exists(workspace.paths.database):
        return {}
    with workspace.reader() as reader:
        jobs = reader.all_jobs()
    return {job.spec.key: job for job in jobs if job.spec.source == SOURCE and job.spec.key.startswith(prefix)}


def _runs(job: TaskJob, known: Mapping[str, Job]) -> bool:
    """A task that has not succeeded and is not on its way; the hooks around them run with them."""
    old = known.get(job.draft.key)
    if job.task is None:
        return old is None or old.state.ended
    return old is None or (old.state.ended and old.state is not JobState.SUCCEEDED)


def _is_taken(job: TaskJob, known: Mapping[str, Job], result: Warded) -> bool:
    """What runs, and what waits and may be described differently now."""
    old = known.get(job.draft.key)
    waits = old is not None and old.state in (JobState.QUEUED, JobState.HELD)
    return waits or (_runs(job, known) and result.queued > 0)


def _draft(job: TaskJob, known: Mapping[str, Job], digest: str) -> Draft:
    """What it needs is submitted with it, or known by its id."""
    by_name = {old.name: old for old in known.values()}
    ids = tuple(by_name[name].id for name in job.draft.after if name in by_name)
    names = tuple(name for name in job.draft.after if name not in by_name)
    return Draft(spec=job.draft.to_spec(digest, after=ids), after_names=names, again=_runs(job, known))


def _write(directory: str, tasks: Sequence[Task], result: Warded) -> None:
    """The files of the queue say what is known. Raises StoreError."""
    queue = os.path.join(directory, FOLDER, QUEUE)
    try:
        write_tasks(directory, tasks)
        good = [task.id for task in result.tasks if task.state == JobState.SUCCEEDED]
        queue_files.begin(queue, good, [task.id for task in result.tasks if task.run])
    except OSError as error:
        raise StoreError(f"{queue} cannot be written: {error.strerror}") from None


def _told(
    directory: str,
    name: str,
    jobs: Sequence[TaskJob],
    known: Mapping[str, Job],
    notes: list[str],
    *,
    dry_run: bool,
) -> Warded:
    keys = {job.draft.key for job in jobs}
    tasks = [_view(job, known) for job in jobs if job.task is not None]
    return Warded(
        directory=directory,
        name=name,
        dry_run=dry_run,
        queued=sum(task.run for task in tasks),
        succeeded=sum(task.state == JobState.SUCCEEDED for task in tasks),
        under_way=sum(task.state in _UNFINISHED for task in tasks),
        gone=[job.name for key, job in known.items() if key not in keys],
        warnings=notes,
        tasks=tasks,
    )


def _view(job: TaskJob, known: Mapping[str, Job]) -> WardTask:
    assert job.task is not None
    old = known.get(job.draft.key)
    return WardTask(
        id=job.task.id,
        name=job.draft.name,
        state=None if old is None else str(old.state),
        run=_runs(job, known),
        variables=job.task.values,
        nicks=job.task.nicks,
        folder=job.draft.output_dir or "",
    )
