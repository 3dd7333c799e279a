"""Waiting for jobs to end: how both `wait` and coroutines find out, in one look at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import KEEPER_S, Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.units import counted

FIRST_PAUSE_S, LAST_PAUSE_S = 0.01, 0.1
"""Between two looks: at first, and when nothing has ended for a while."""
SETTLE_S = 0.5
"""Without a scheduler, nobody but us writes down that a running job has ended."""


class Ends:
    """Looks for the ends of jobs. A look costs by what has changed, not by how many jobs are waited for."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.pending: set[int] = set()
        self._new: set[int] = set()
        self._active: set[int] = set()
        self._seen = 0
        self._reader: SqliteReader | None = None
        self._clock = SystemClock()
        self._idle_since = self._settle_at = self._clock.monotonic()

    def add(self, ids: Iterable[int]) -> None:
        """Wait for these too."""
        wanted = set(ids) - self.pending
        self.pending |= wanted
        self._new |= wanted

    def look(self) -> dict[int, JobState]:
        """Those that have ended since the last look. They are not waited for any more.

        Raises UsageError when what is left can never end: no scheduler is running and nothing runs, or a job is gone.
        """
        running = asking.scheduler(self.workspace.paths) is not None
        self._settle(running=running)
        reader = self._open()
        seen = reader.last_event()
        ids = self._new | (reader.jobs_changed_since(self._seen) & self.pending if seen != self._seen else set())
        self._new, self._seen = set(), seen
        states = reader.states(sorted(ids)) if ids else {}
        gone = ids - states.keys()
        if gone:
            raise UsageError(f"job {min(gone)} is not known any more", hint="was it removed by `rfsched clean`?")
        ended = {job_id: state for job_id, state in states.items() if state.ended}
        self._active -= states.keys()
        self._active |= {job_id for job_id, state in states.items() if state is JobState.ACTIVE}
        self.pending -= ended.keys()
        self._refuse_to_wait_for_nothing(running=running)
        return ended

    def close(self) -> None:
        """Give back what is open."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _open(self) -> SqliteReader:
        if self._reader is None:
            self._reader = self.workspace.reader()
        return self._reader

    def _settle(self, *, running: bool) -> None:
        now = self._clock.monotonic()
        if not running and now >= self._settle_at:
            self._settle_at = now + SETTLE_S
            self.workspace.settle()

    def _refuse_to_wait_for_nothing(self, *, running: bool) -> None:
        now = self._clock.monotonic()
        if running or self._active or not self.pending:
            self._idle_since = now
        elif now - self._idle_since > KEEPER_S and not asking.scheduler_session_exists(self.workspace.paths):
            words = f"{counted(len(self.pending), 'job')} still to run, and no scheduler is running"
            raise UsageError(words, hint="`rfsched start`, or `Workspace.start()`")


def longer(pause_s: float) -> float:
    """The pause after one in which nothing has ended."""
    return min(pause_s * 1.1, LAST_PAUSE_S)


def ends(workspace: Workspace, ids: Iterable[int], timeout_s: float | None = None) -> Iterator[tuple[int, JobState]]:
    """Ids and end states of jobs, as they end. Raises TimeoutError after `timeout_s`, UsageError as `Ends.look`."""
    clock, never = SystemClock(), threading.Event()
    deadline = None if timeout_s is None else clock.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    waiting = Ends(workspace)
    waiting.add(ids)
    try:
        while waiting.pending:
            found = waiting.look()
            yield from sorted(found.items())
            if not waiting.pending:
                return
            pause_s = FIRST_PAUSE_S if found else longer(pause_s)
            left_s = pause_s if deadline is None else min(pause_s, deadline - clock.monotonic())
            if left_s <= 0:
                raise TimeoutError(_not_ended(workspace, waiting.pending))
            never.wait(left_s)
    finally:
        waiting.close()


def until_ended(workspace: Workspace, ids: Sequence[int], timeout_s: float | None = None) -> list[Job]:
    """Block until all these jobs have ended; return them as they then are. Raises as `ends` does."""
    for _ in ends(workspace, ids, timeout_s):
        pass
    with workspace.reader() as reader:
        return reader.full_jobs(ids)


def _not_ended(workspace: Workspace, ids: set[int]) -> str:
    with workspace.reader() as reader:
        names = [job.name for job in reader.full_jobs(sorted(ids)[:8])]
    return f"not ended: {counted(len(ids), 'job')}: {', '.join(names)}"
