"""Queueing any command as a job, and starting the scheduler for it unless somebody stopped that on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from researchflow_tmux import scheduler_session
from researchflow_tmux.api import asking, control
from researchflow_tmux.api.command_lines import Command
from researchflow_tmux.api.drafting import Drafter, Wish
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.arrays import Indices
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.submitting import Draft

__all__ = ["Added", "AddedMany", "Wish", "add", "add_array", "add_lines", "ensure_scheduler", "job_of"]

SchedulerWord = Literal["running", "started", "stopped_by_hand", "not_running"]


class Added(msgspec.Struct, kw_only=True):
    """What `add` did."""

    id: int
    name: str
    scheduler: SchedulerWord
    session: str | None = None
    """The scheduler's session, if it was opened now."""
    notes: list[str] = []
    """What is contradictory about it; it is queued all the same."""


class AddedMany(msgspec.Struct, kw_only=True):
    """What `add --array` or `add -` did."""

    ids: list[int]
    names: list[str]
    """In the order of the ids."""
    group: str | None
    scheduler: SchedulerWord
    session: str | None = None
    """The scheduler's session, if it was opened now."""
    notes: list[str] = []
    """What is contradictory about some of them; they are queued all the same."""


def add(workspace: Workspace, words: Sequence[str], wish: Wish, *, may_start: bool = True) -> Added:
    """Queue a command. Raises ConfigError or UsageError; then nothing was queued."""
    drafter = _drafter(workspace)
    many = _queue(workspace, drafter, [drafter.draft(words, wish)], may_start=may_start)
    return Added(id=many.ids[0], name=many.names[0], scheduler=many.scheduler, session=many.session, notes=many.notes)


def add_array(
    workspace: Workspace, words: Sequence[str], wish: Wish, indices: Indices, *, may_start: bool = True
) -> AddedMany:
    """Queue a command once for each index. Raises ConfigError or UsageError; then nothing was queued."""
    drafter = _drafter(workspace)
    return _queue(workspace, drafter, list(drafter.array(words, wish, indices)), may_start=may_start)


def add_lines(workspace: Workspace, commands: Sequence[Command], wish: Wish, *, may_start: bool = True) -> AddedMany:
    """Queue commands together; with a name in `wish` they are `NAME_1`, `NAME_2` and so on, unless they have their own.

    Raises ConfigError or UsageError; then nothing was queued.
    """
    drafter = _drafter(workspace)
    drafts = []
    for number, command in enumerate(commands, 1):
        numbered = replace(wish, name=f"{wish.name}_{number}") if wish.name else wish
        drafts.append(drafter.draft([command.text], command.wish(numbered)))
    return _queue(workspace, drafter, drafts, may_start=may_start)


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


def _drafter(workspace: Workspace) -> Drafter:
    return Drafter(workspace.paths, workspace.settings, control.ready(workspace))


def _queue(workspace: Workspace, drafter: Drafter, drafts: Sequence[Draft], *, may_start: bool) -> AddedMany:
    done = workspace.submit_drafts(drafts)
    scheduler, session = ensure_scheduler(workspace, drafter.captured.digest, may_start=may_start)
    spec = drafts[0].spec
    names = [draft.spec.name for draft in drafts]
    return AddedMany(
        ids=done.ids, names=names, group=spec.group, scheduler=scheduler, session=session, notes=done.notes
    )
