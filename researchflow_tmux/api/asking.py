"""Asking the one writer: the running scheduler through its inbox, or the same engine here under the workspace lock."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from researchflow_tmux.adapters import wake, workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.procs import user_name
from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.domain.errors import RfschedError, StoreError, UsageError, WorkspaceBusy, WorkspaceElsewhere
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

if TYPE_CHECKING:
    from researchflow_tmux.api.standing_in import StandIn
    from researchflow_tmux.engine.submitting import Submission, Submitted

T = TypeVar("T")

REPLY_S = 1.0
PER_JOB_S = 0.002
"""On a busy machine, a job of a large submission may take so long."""
SLOW_REPLY_S = 30.0
"""A scheduler that is in the middle of something (a silent driver, thousands of new jobs) still answers by then."""


def scheduler(paths: WorkspacePaths) -> workspace_lock.LockHolder | None:
    """The running scheduler, or None. A command that holds the lock for a moment is none."""
    found = workspace_lock.holder(paths)
    return found if found is not None and found.role == "scheduler" else None


def ask(
    paths: WorkspacePaths, settings: Settings, kind: str, body: Mapping[str, Any], *, patience_s: float = SLOW_REPLY_S
) -> dict[str, Any]:
    """Have one request answered; see `Asker.ask`."""
    asker = Asker(paths, lambda: settings)
    try:
        return asker.ask(kind, body, patience_s=patience_s)
    finally:
        asker.close()


class Asker:
    """Asks as often as one likes, from any thread, with what that needs kept open in between.

    After a fork the child opens everything anew: SQLite's connections must not be shared.
    """

    def __init__(self, paths: WorkspacePaths, settings: Callable[[], Settings]) -> None:
        self.paths = paths
        self._settings = settings
        self._mutex = threading.RLock()
        self._open = _Open()
        weakref.finalize(self, self._open.close)
        _ALL.add(self)

    def ask(self, kind: str, body: Mapping[str, Any], *, patience_s: float = SLOW_REPLY_S) -> dict[str, Any]:
        """Have one request answered.

        Raises UsageError with the answer's words if it is a refusal, StoreError if none came. When this returns, what
        was asked for is on disk: what was accepted is never lost.
        """

        def through_inbox() -> dict[str, Any]:
            return self._through_inbox(kind, msgspec.json.encode(body).decode(), patience_s)

        reply = self._here_or(lambda stand_in: stand_in.answer(kind, body, whoami()), through_inbox)
        return _accepted(reply)

    def submit(self, submission: Submission) -> Submitted:
        """Queue jobs; raises as `ask` does. Problems are in the answer; with any, nothing was queued."""
        from researchflow_tmux.engine.submitting import Submitted

        def through_inbox() -> Submitted:
            body = msgspec.json.encode(submission).decode()
            patience_s = SLOW_REPLY_S + len(submission.drafts) * PER_JOB_S
            return msgspec.convert(_accepted(self._through_inbox("submit", body, patience_s)), Submitted)

        return self._here_or(lambda stand_in: stand_in.submit(submission), through_inbox)

    def inbox(self) -> SqliteInbox:
        """The open inbox of the database that is there now."""
        with self._mutex:
            if self._open.inbox is not None and not self._open.inbox.still_there():
                self._open.close()
            if self._open.inbox is None:
                self._open.inbox = SqliteInbox(self.paths.database)
            return self._open.inbox

    def close(self) -> None:
        """Give back what is open; asking again opens it anew."""
        with self._mutex:
            self._open.close()

    def forget_after_fork(self) -> None:
        """Be as new, without touching what the parent process has open."""
        self._mutex = threading.RLock()
        self._open.leave_alone()

    def _here_or(self, here: Callable[[StandIn], T], through_inbox: Callable[[], T]) -> T:
        """Do it here while no scheduler runs; ask it otherwise, or whoever else has the workspace just now."""
        with self._mutex:
            if scheduler(self.paths) is None:
                try:
                    return here(self._standing_in())
                except WorkspaceElsewhere:
                    raise
                except WorkspaceBusy:
                    pass  # another process is at it, or a scheduler begins
            return through_inbox()

    def _standing_in(self) -> StandIn:
        from researchflow_tmux.api.standing_in import StandIn

        if self._open.stand_in is None:
            self._open.stand_in = StandIn(self.paths, self._settings())
        return self._open.stand_in

    def _through_inbox(self, kind: str, body: str, patience_s: float) -> dict[str, Any]:
        inbox = self.inbox()
        request = inbox.put_json(kind, body, by=whoami(), at=SystemClock().now())
        reply = self._answered(inbox, request, patience_s)
        if reply is None:
            if inbox.withdraw(request):
                raise StoreError("the scheduler does not answer; nothing was changed", hint="see `rfsched doctor`")
            reply = inbox.reply(request) or {}
        return reply

    def _answered(self, inbox: SqliteInbox, request: int, patience_s: float) -> dict[str, Any] | None:
        waited_s = 0.0
        while waited_s < patience_s:
            if scheduler(self.paths) is not None:
                self._dismiss()
                wake.wake(self.paths.wake)
                reply = inbox.wait(request, REPLY_S)
                waited_s += REPLY_S
                if reply is not None:
                    return reply
                continue
            if (reply := inbox.reply(request)) is not None:  # another process has answered all there was
                return reply
            try:
                self._standing_in().answer("look", {}, whoami())
            except WorkspaceElsewhere:
                inbox.withdraw(request)
                raise
            except WorkspaceBusy:
                waited_s += 0.25  # a scheduler is starting, or another command is at it: acquiring waited that long
                continue
            return inbox.reply(request)
        return inbox.reply(request)

    def _dismiss(self) -> None:
        """A scheduler is at work: what the stand-in remembers of the jobs is of no more use."""
        if self._open.stand_in is not None:
            self._open.stand_in.close()
            self._open.stand_in = None


class _Open:
    """What an asker has open, apart from it, so that it can be closed when the asker is gone."""

    inbox: SqliteInbox | None = None
    stand_in: StandIn | None = None

    def close(self) -> None:
        inbox, stand_in, self.inbox, self.stand_in = self.inbox, self.stand_in, None, None
        if stand_in is not None:
            stand_in.close()
        if inbox is not None:
            inbox.close()

    def leave_alone(self) -> None:
        """In a forked child: what is open is the parent's, and closing it here could take away the parent's locks."""
        _LEFT_ALONE.append((self.inbox, self.stand_in))
        self.inbox = self.stand_in = None


_ALL: weakref.WeakSet[Asker] = weakref.WeakSet()
_LEFT_ALONE: list[object] = []


def _after_fork() -> None:
    for asker in list(_ALL):
        asker.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _accepted(reply: dict[str, Any]) -> dict[str, Any]:
    if "error" in reply:
        raise UsageError(str(reply["error"]))
    return reply


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
    return user_name(os.getuid())


__all__ = ["RfschedError", "ask", "scheduler", "settle", "whoami"]
