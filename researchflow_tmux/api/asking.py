"""Asking the one writer: the running scheduler through its inbox, or the same engine here under the workspace lock."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import Any

from researchflow_tmux.adapters import wake, workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.domain.errors import RfschedError, StoreError, UsageError, WorkspaceBusy, WorkspaceElsewhere
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

REPLY_S = 1.0
SLOW_REPLY_S = 30.0
"""A scheduler that is in the middle of something (a silent driver, thousands of new jobs) still answers by then."""


def scheduler(paths: WorkspacePaths) -> workspace_lock.LockHolder | None:
    """The running scheduler, or None. A command that holds the lock for a moment is none."""
    found = workspace_lock.holder(paths)
    return found if found is not None and found.role == "scheduler" else None


def ask(
    paths: WorkspacePaths, settings: Settings, kind: str, body: Mapping[str, Any], *, patience_s: float = SLOW_REPLY_S
) -> dict[str, Any]:
    """Have one request answered. Raises UsageError with the answer's words if it is a refusal, StoreError if none came.

    The request is durable before anybody is asked: what was accepted is never lost.
    """
    inbox = SqliteInbox(paths.database)
    try:
        request = inbox.put(kind, body, by=whoami(), at=SystemClock().now())
        reply = _answered(paths, settings, inbox, request, patience_s)
        if reply is None:
            if inbox.withdraw(request):
                raise StoreError("the scheduler does not answer; nothing was changed", hint="see `rfsched doctor`")
            reply = inbox.reply(request) or {}
    finally:
        inbox.close()
    if "error" in reply:
        raise UsageError(str(reply["error"]))
    return reply


def _answered(
    paths: WorkspacePaths, settings: Settings, inbox: SqliteInbox, request: int, patience_s: float
) -> dict[str, Any] | None:
    waited_s = 0.0
    while waited_s < patience_s:
        if scheduler(paths) is not None:
            wake.wake(paths.wake)
            reply = inbox.wait(request, REPLY_S)
            waited_s += REPLY_S
            if reply is not None:
                return reply
            continue
        try:
            settle(paths, settings)
        except WorkspaceElsewhere:
            inbox.withdraw(request)
            raise
        except WorkspaceBusy:
            waited_s += 0.25  # a scheduler is starting, or another command is at it: acquiring waited that long
            continue
        return inbox.reply(request)
    return inbox.reply(request)


def settle(paths: WorkspacePaths, settings: Settings) -> None:
    """With no scheduler running: answer what is in the inbox and record what ended meanwhile. Launches nothing.

    Raises WorkspaceBusy when somebody else is at it.
    """
    from researchflow_tmux.wiring import Parts

    with workspace_lock.acquire(paths, "cli") as lock:
        parts = Parts(paths, settings, os.environ)
        try:
            engine = parts.engine(listen=False)
            workspace_lock.refuse_foreign_attempts(engine.workload.attempts.values(), lock)
            engine.stopping = True
            engine.tick()
        finally:
            parts.close()


def scheduler_session_exists(paths: WorkspacePaths) -> bool:
    """Whether a session of this workspace's scheduler is in tmux. No answer counts as yes: unknown is not gone."""
    from researchflow_tmux.adapters.sqlite_reader import SqliteReader
    from researchflow_tmux.adapters.tmux import Tmux
    from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
    from researchflow_tmux.ports import Sessions, Unknown
    from researchflow_tmux.wiring import META_SOCKET, META_WORKSPACE

    with SqliteReader(paths.database) as reader:
        meta = reader.meta()
    socket, workspace_id = meta.get(META_SOCKET), meta.get(META_WORKSPACE, "")
    if socket is None:
        return False
    tmux = Tmux(socket)
    try:
        seen = TmuxSessions(tmux, workspace_id).snapshot()
    finally:
        tmux.close()
    if isinstance(seen, Unknown):
        return True
    tags = [session.tag for session in seen.by_name.values()] if isinstance(seen, Sessions) else []
    return f"{workspace_id}/scheduler" in tags


def whoami() -> str:
    """The user's name, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


__all__ = ["RfschedError", "ask", "scheduler", "settle", "whoami"]
