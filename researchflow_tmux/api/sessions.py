"""Where a job (or the scheduler) can be looked at: its tmux session, its log, or nothing yet."""

from __future__ import annotations

import msgspec

from researchflow_tmux.adapters.scheduler_log import log_path
from researchflow_tmux.adapters.tmux import Tmux
from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import Sessions
from researchflow_tmux.wiring import META_SOCKET, META_WORKSPACE


class InSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is there."""

    session: str
    socket: str
    note: str = ""


class InLog(msgspec.Struct, frozen=True, kw_only=True):
    """No session, but a log."""

    path: str
    why: str


class Nowhere(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to look at (yet)."""

    why: str


Place = InSession | InLog | Nowhere


def scheduler_place(workspace: Workspace) -> Place:
    """Where the scheduler is."""
    if asking.scheduler(workspace.paths) is None:
        return Nowhere(why="no scheduler is running; `rfsched start` starts it")
    found = _by_tag(workspace, "scheduler")
    if found is not None:
        return found
    path = log_path(workspace.paths, workspace.settings)
    return InLog(path=path, why="the scheduler runs without a session (in a terminal of its own, or tmux died)")


def job_place(workspace: Workspace, job: Job) -> Place:
    """Where a job is, or was last."""
    attempt = workspace.last_attempt(job)
    if attempt is None:
        view = next((view for view in workspace.status().jobs if view.id == job.id), None)
        why = f": {view.reason}" if view is not None and view.reason else ""
        return Nowhere(why=f"{job.name} is {job.state} and has no session yet{why}")
    found = _by_tag(workspace, f"{job.id}.{attempt.number}")
    if found is not None:
        ended = job.state.ended
        return msgspec.structs.replace(found, note=f"{job.name} has ended: {job.reason or job.state}" if ended else "")
    return _log_of(job, attempt)


def _log_of(job: Job, attempt: Attempt) -> Place:
    if job.state.ended:
        why = f"{job.name} has ended ({job.reason or job.state}) and its session is closed"
    else:
        why = f"{job.name} runs on without its session {attempt.session}"
    return Nowhere(why=f"{why}; there is no log") if attempt.log is None else InLog(path=attempt.log, why=why)


def _by_tag(workspace: Workspace, what: str) -> InSession | None:
    """The session with our tag, whatever it is called by now. Raises UsageError when tmux does not answer."""
    with workspace.reader() as reader:
        meta = reader.meta()
    socket = meta.get(META_SOCKET)
    if not socket:
        return None
    tmux = Tmux(socket)
    try:
        snapshot = TmuxSessions(tmux, meta[META_WORKSPACE]).snapshot()
    finally:
        tmux.close()
    if not isinstance(snapshot, Sessions):
        return None
    tag = f"{meta[META_WORKSPACE]}/{what}"
    name = next((session.name for session in snapshot.by_name.values() if session.tag == tag), None)
    return None if name is None else InSession(session=name, socket=socket)


__all__ = ["InLog", "InSession", "Nowhere", "Place", "UsageError", "job_place", "scheduler_place"]
