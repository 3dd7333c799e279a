"""The scheduler's stand-in: the same engine in the asking process, for as long as no scheduler runs.

It is kept between requests while nothing runs, and learns only what others have changed since, so that the hundredth
request costs what the first did, however many jobs there are. The workspace lock is held for each request, never
between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from researchflow_tmux.adapters import workspace_lock
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.gpus import META_CONDITIONS, decode_conditions
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.submitting import Submission, Submitted
from researchflow_tmux.ports import Request, Wakeup
from researchflow_tmux.wiring import Parts

T = TypeVar("T")

_OF_JOBS = frozenset({"cancel", "hold", "release", "requeue", "note", "look", "remember"})
OWN_REQUEST = 0
"""Number of a request that never was in the inbox."""


class StandIn:
    """Answers requests under the workspace lock. Launches nothing. Not for two threads at a time."""

    def __init__(self, paths: WorkspacePaths, settings: Settings) -> None:
        self.paths = paths
        self.settings = settings
        self._parts: Parts | None = None
        self._engine: Engine | None = None
        self._seen = (0, 0)

    def answer(self, kind: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Answer one request, and all that wait in the inbox; what was done is on disk when this returns.

        Raises:
            WorkspaceBusy: Somebody else is at it (a scheduler, another stand-in).
            StoreError: The disk refuses; nothing was changed.
        """
        if kind not in _OF_JOBS:
            self.close()  # it is about more than jobs, and only of those is known what others changed
        request = Request(id=OWN_REQUEST, kind=kind, json=msgspec.json.encode(body), by=by)
        return self._do(lambda engine: engine.answer(request), Wakeup(poked=True))

    def submit(self, submission: Submission) -> Submitted:
        """Queue jobs, as `answer` does; what waits in the inbox is left to those who asked."""
        return self._do(lambda engine: engine.submit(submission), Wakeup())

    def _do(self, act: Callable[[Engine], T], look: Wakeup) -> T:
        with workspace_lock.acquire(self.paths, "cli") as lock:
            engine = self._ready(lock)
            assert self._parts is not None
            try:
                reply = act(engine)
                engine.tick(look)
                if not engine.durable:
                    why = engine.halted_by_host or "the disk refuses"
                    raise StoreError(f"{why}; nothing was changed", hint="free disk space, then try again")
                self._seen = self._parts.store.watermark()
                if engine.workload.attempts or engine.workload.changed:
                    # Attempts have more to them than what is looked up again (what was observed and may be saved a
                    # moment later, say). We let go of the lock now: by then it may be out of date.
                    self.close()
            except BaseException:
                self.close()  # what is in memory may not be what is on disk
                raise
            return reply

    def close(self) -> None:
        """Give back descriptors; the next request begins afresh."""
        parts, self._parts, self._engine = self._parts, None, None
        if parts is not None:
            parts.close()

    def _ready(self, lock: workspace_lock.Lock) -> Engine:
        """The engine as things stand now."""
        if self._parts is not None and self._engine is not None and self._catch_up(self._parts, self._engine):
            return self._engine
        self.close()
        self._parts = Parts(self.paths, self.settings, os.environ)
        try:
            engine = self._parts.engine(listen=False)
            workspace_lock.refuse_foreign_attempts(engine.workload.attempts.values(), lock)
        except BaseException:
            self.close()
            raise
        engine.stopping = True
        self._engine = engine
        return engine

    def _catch_up(self, parts: Parts, engine: Engine) -> bool:
        """Learn what others did since the last request; False = too much: load everything anew."""
        try:
            now = parts.store.watermark()
            if now == self._seen:
                return True
            events, removals = self._seen
            if now[1] != removals:  # jobs were forgotten
                return False
            jobs, attempts = parts.store.changed_since(events)
            gpus = decode_conditions(parts.store.load_meta().get(META_CONDITIONS))
        except StoreError:  # the database was replaced under us
            return False
        engine.workload.learn(jobs, attempts, gpus)
        return True
