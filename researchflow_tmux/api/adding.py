"""Queueing any command as a job, and starting the scheduler for it unless somebody stopped that on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from researchflow_tmux import scheduler_session
from researchflow_tmux.api import asking, control
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.job import Condition, Job
from researchflow_tmux.intake import submissions

SchedulerWord = Literal["running", "started", "stopped_by_hand", "not_running"]


class Added(msgspec.Struct, kw_only=True):
    """What `add` did."""

    id: int
    name: str
    scheduler: SchedulerWord
    session: str | None = None
    """The scheduler's session, if it was opened now."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user said about the job."""

    name: str | None = None
    gpus: int = 1
    time_limit_s: float | None = None
    priority: int = 0
    retries: int | None = None
    after: tuple[str, ...] = ()
    when: Condition = "success"
    group: str | None = None
    held: bool = False
    env: Mapping[str, str] = {}
    workdir: str | None = None


def add(workspace: Workspace, words: Sequence[str], wish: Wish, *, may_start: bool = True) -> Added:
    """Queue a command. Raises ConfigError or UsageError; then nothing was queued."""
    captured = control.ready(workspace)
    fields = {name: getattr(wish, name) for name in Wish.__struct_fields__}
    draft = submissions.from_command(workspace.paths, workspace.settings, captured, words, **fields)
    done = workspace.submit([draft])
    job_id, name = done.ids[0], draft.spec.name
    scheduler, session = ensure_scheduler(workspace, captured.digest, may_start=may_start)
    return Added(id=job_id, name=name, scheduler=scheduler, session=session)


def ensure_scheduler(workspace: Workspace, digest: str, *, may_start: bool) -> tuple[SchedulerWord, str | None]:
    """Start the scheduler (in the environment `digest`) for what was queued, unless somebody stopped it on purpose.

    Returns how things are now, and the scheduler's session if it was opened now.
    """
    if asking.scheduler(workspace.paths) is not None:
        return "running", None
    if control.was_stopped(workspace):
        return "stopped_by_hand", None
    if not may_start:
        return "not_running", None
    workspace.ask("remember", {scheduler_session.META_ENVIRONMENT: digest})
    return "started", control.open_scheduler(workspace)


def job_of(workspace: Workspace, added: Added) -> Job:
    """The job that was added."""
    with workspace.reader() as reader:
        job = reader.job(added.id)
    assert job is not None
    return job
