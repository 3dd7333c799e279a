"""The history as it goes on: for `for event in workspace.events()` and `async for`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import datetime

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.events import Event, Payload
from researchflow_tmux.domain.wording import describe

PAUSE_S = 0.05
"""Between two looks at the history; one that finds nothing costs some 50 microseconds."""
MOST = 1000
"""Events taken at one look."""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as people and programs want it."""

    seq: int
    """Ascending; give it to `events(after=…)` to go on behind this one."""
    at: datetime
    kind: str
    """job_submitted, job_changed, attempt_planned, attempt_started, attempt_ended, notice…"""
    job_id: int | None
    name: str | None
    """Of the job; None = it is about none."""
    text: str
    """In words, as `rfsched history` has it; empty where it has none."""
    payload: Payload


class Events(Iterator[Happening], AsyncIterator[Happening]):
    """Iterate it, or `async for` over it. Ends after `close()`, after its time, or without `follow` at the last event.

    Not for two threads at a time, apart from `close`.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        after: int | None = None,
        jobs: Collection[int] | None = None,
        kinds: Collection[str] | None = None,
        follow: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        self._reader: SqliteReader | None = None
        self._workspace = workspace
        self._jobs = None if jobs is None else frozenset(jobs)
        self._kinds = kinds
        self._follow = follow
        self._clock = SystemClock()
        self._deadline = None if timeout_s is None else self._clock.monotonic() + timeout_s
        self._closed = threading.Event()
        self._names: dict[int, str] = {}
        self._found: deque[Happening] = deque()
        self.seq = self._last() if after is None else after
        """Number of the last event looked at: where to go on with `after`."""

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()

    def __del__(self) -> None:
        self._give_back()

    def __next__(self) -> Happening:
        while not self._found:
            if self._over() or not (self._look() or self._follow):
                self._give_back()
                raise StopIteration
            if not self._found:
                self._closed.wait(self._pause_s())
        return self._found.popleft()

    async def __anext__(self) -> Happening:
        while not self._found:
            if self._over() or not (await asyncio.to_thread(self._look) or self._follow):
                self._give_back()
                raise StopAsyncIteration
            if not self._found:
                await asyncio.sleep(self._pause_s())
        return self._found.popleft()

    def _over(self) -> bool:
        return self._closed.is_set() or (self._deadline is not None and self._clock.monotonic() >= self._deadline)

    def _pause_s(self) -> float:
        return PAUSE_S if self._deadline is None else max(min(PAUSE_S, self._deadline - self._clock.monotonic()), 0.0)

    def _last(self) -> int:
        reader = self._open()
        return 0 if reader is None else reader.last_event()

    def _open(self) -> SqliteReader | None:
        """The history; None while nothing was ever queued here."""
        if self._reader is None and os.path.exists(self._workspace.paths.database):
            self._reader = self._workspace.reader()
        return self._reader

    def _give_back(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _look(self) -> bool:
        """Take what is new; False = nothing is."""
        reader = self._open()
        if reader is None:
            return False
        events = reader.events(after=self.seq, kinds=self._kinds, limit=MOST)
        for event in events:
            self.seq = event.seq
            if self._jobs is None or event.payload.job_id in self._jobs:
                self._found.append(self._told(reader, event))
        return bool(events)

    def _told(self, reader: SqliteReader, event: Event) -> Happening:
        payload, job_id = event.payload, event.payload.job_id
        return Happening(
            seq=event.seq,
            at=event.at,
            kind=str(payload.__struct_config__.tag),
            job_id=job_id,
            name=None if job_id is None else self._name(reader, job_id),
            text=describe(payload, lambda number: self._name(reader, number)) or "",
            payload=payload,
        )

    def _name(self, reader: SqliteReader, job_id: int) -> str:
        if job_id not in self._names:
            job = reader.job(job_id)
            self._names[job_id] = f"job {job_id}" if job is None else job.name
        return self._names[job_id]
