"""Following a job's log while it runs, over its retries, until it has ended; and the exit code it left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api import asking
from researchflow_tmux.api.logs import Growing, seen
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import (
    Attempt,
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    OutOfMemory,
    TimedOut,
    UpToDate,
)
from researchflow_tmux.domain.errors import StoreError, WorkspaceBusy
from researchflow_tmux.domain.job import Job, JobState

PAUSE_S = 0.1
SETTLE_EVERY = 10
"""Without a scheduler, nobody but us writes down that the job has ended: look every so many pauses."""


class Said(msgspec.Struct, frozen=True):
    """Something about the job, between its lines."""

    text: str


class Follower:
    """Follows one job. Iterate `lines()`; afterwards `job` and `attempt` are what they were at the end."""

    def __init__(self, workspace: Workspace, job: Job, *, tail: int | None = None, raw: bool = False) -> None:
        self.workspace = workspace
        self.job = job
        self.attempt: Attempt | None = None
        self._raw = raw
        self._tail = tail
        self._log: Growing | None = None
        self._pause = threading.Event()  # never set: a bounded wait

    def lines(self) -> Iterator[bytes | Said]:
        """The log's lines as they come, and what happens to the job, until it has ended."""
        told = ""
        with self.workspace.reader() as reader:
            for turn in _forever():
                self._look(reader)
                text = self._waiting()
                if text and text != told:
                    yield Said(text)
                told = text
                yield from self._switch()
                yield from self._new(final=self.job.state.ended)
                if self.job.state.ended:
                    return
                if turn % SETTLE_EVERY == SETTLE_EVERY - 1:
                    self._settle()
                self._pause.wait(PAUSE_S)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _look(self, reader: SqliteReader) -> None:
        with reader.snapshot():
            self.job = reader.job(self.job.id) or self.job
            self._latest = reader.latest_attempts([self.job.id]).get(self.job.id)

    def _switch(self) -> Iterator[bytes | Said]:
        """Go over to the log of a new attempt."""
        latest = self._latest
        if latest is None or (self.attempt is not None and self.attempt.number == latest.number):
            self.attempt = latest
            return
        if self._log is not None:
            yield from self._new(final=True)
            self._log.close()
            yield Said(f"attempt {latest.number} begins")
        self.attempt = latest
        if latest.log is None:
            yield Said(f"{self.job.name} runs without a log (enable_logging: false)")
            self._log = None
        else:
            self._log = Growing(latest.log, self._tail)
        self._tail = None

    def _new(self, *, final: bool) -> Iterator[bytes]:
        if self._log is None:
            return
        yield from self._log.chunks() if self._raw else seen(self._log.read(final=final))

    def _waiting(self) -> str:
        """What to tell while there is nothing to follow."""
        job = self.job
        if job.state not in (JobState.QUEUED, JobState.HELD):
            return ""
        if asking.scheduler(self.workspace.paths) is None:
            return f"{job.name} waits: no scheduler is running (`rfsched start`)"
        if job.attempts and job.reason is not None:
            return f"{job.name}: {job.reason}"
        return f"{job.name} is {job.state}" if job.state is JobState.HELD else ""

    def _settle(self) -> None:
        if asking.scheduler(self.workspace.paths) is not None or self.job.state is not JobState.ACTIVE:
            return
        try:
            asking.settle(self.workspace.paths, self.workspace.settings)
        except (WorkspaceBusy, StoreError):
            return  # somebody else is at it


def exit_code(job: Job, attempt: Attempt | None) -> int:
    """What a shell would return: the job's code, 128 + its signal, 124 for its time limit, 1 for anything else."""
    outcome = attempt.phase.outcome if attempt is not None and isinstance(attempt.phase, Ended) else None
    match outcome:
        case Exited(code=code, succeeded=succeeded):
            return 0 if succeeded else code or 1
        case UpToDate():
            return 0
        case Killed(signal=signal):
            return 128 + (signal or 15)
        case OutOfMemory(code=code, signal=number):
            return code if code else 128 + (number or 9)
        case TimedOut():
            return 124
        case LaunchFailed():
            return 6
    return 0 if job.state is JobState.SUCCEEDED else 1


def _forever() -> Iterator[int]:
    turn = 0
    while True:
        yield turn
        turn += 1
