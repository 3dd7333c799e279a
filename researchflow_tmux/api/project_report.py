"""`project report`: what projects and users got, wasted and waited for, and how good predictions were."""

from __future__ import annotations

import difflib
from datetime import datetime

import msgspec

from researchflow_tmux.api.accuracy import accuracy
from researchflow_tmux.api.hindsight import Chosen, Past, past_of, report_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.hindsight.report import Report, Tally
from researchflow_tmux.policies.prediction.accuracy import Accuracy


class ProjectReport(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """What ran in a time, and what became of it. Times and hours are those within it."""

    schema_name: str = "rfsched.project-report/1"
    at: datetime
    workspace: str
    name: str | None
    """The project (or user) it is about; null = all."""
    since: datetime
    until: datetime
    total: Tally
    outcomes: dict[str, int]
    """Attempts by how they ended; `running` of what has not."""
    projects: list[Tally]
    users: list[Tally]
    days: list[Tally]
    waiting: int
    """Jobs that wait now."""
    accuracy: list[Accuracy]
    """How good predictions were, by when they were made; empty = none has come true so far."""


def project_report(
    workspace: Workspace, name: str | None = None, *, user: bool = False, since: datetime | None = None
) -> tuple[ProjectReport, Report]:
    """The report on all jobs, or on those of one project (or user); with what it was made of.

    Raises UsageError when nothing is known of that project or user.
    """
    past = past_of(workspace, Chosen(since=since))
    if name is not None:
        past = _only(past, name, _known(workspace, past, user=user), user=user)
    found = report_of(past)
    made = ProjectReport(
        at=found.at,
        workspace=found.workspace,
        name=name,
        since=found.since,
        until=found.until,
        total=found.total,
        outcomes=found.outcomes,
        projects=found.projects,
        users=found.users,
        days=found.days,
        waiting=found.waiting,
        accuracy=accuracy(workspace, since=since, project=None if user else name, user=name if user else None),
    )
    return made, found


def _of(job: Job, *, user: bool) -> str | None:
    return job.spec.user if user else job.spec.project


def _known(workspace: Workspace, past: Past, *, user: bool) -> set[str]:
    described = workspace.usable_settings.users if user else workspace.usable_settings.projects
    return {name for job in past.everything.values() if (name := _of(job, user=user))} | set(described)


def _only(past: Past, name: str, known: set[str], *, user: bool) -> Past:
    if name not in known:
        kind = "user" if user else "project"
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"`rfsched project list` lists each {kind}"
        raise UsageError(f"nothing is known of {kind} {name!r}", hint=hint)
    return past._replace(
        spans=[span for span in past.spans if _of(span.job, user=user) == name],
        waiting=[one for one in past.waiting if _of(one.job, user=user) == name],
        weights={},
    )
