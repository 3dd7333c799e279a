"""All job sources of a workspace as one: read into news for the queue, and shown what became of their jobs.

One thread at a time, and no engine: `watching` runs it beside the scheduler's loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.garbage import no_collection
from researchflow_tmux.adapters.sources.port import JobSource, Reading
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.taking_in import SourceNews
from researchflow_tmux.intake.submissions import marked


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at all files brought."""

    news: tuple[SourceNews, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Why something is not queued: all there are now."""
    unwritten: tuple[Problem, ...] = ()
    """Why jobs are not shown as they are: all there are now."""
    warnings: tuple[str, ...] = ()
    directories: frozenset[str] = frozenset()
    """Where a change matters from now on."""


class Feed:
    """The sources with what they need to know of their jobs."""

    def __init__(self, sources: Sequence[JobSource], digest: str) -> None:
        """`digest` names the environment that the jobs run in."""
        self._sources = list(sources)
        self._digest = digest
        self._jobs: dict[str, dict[str, Job]] = {source.kind: {} for source in sources}
        self._changed: defaultdict[str, set[str]] = defaultdict(set)
        self._unwritten: dict[str, Sequence[Problem]] = {}
        self._broken: dict[str, Problem] = {}

    def learn(self, jobs: Iterable[Job]) -> None:
        """These jobs are as they are now; those of other kinds are passed over."""
        for job in jobs:
            kind, key = job.spec.source, job.spec.key
            if kind in self._jobs:
                self._jobs[kind][key] = job
                self._changed[kind].add(key)

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """The queue does not know these (kind, key) any more."""
        for kind, key in keys:
            self._jobs.get(kind, {}).pop(key, None)
            self._changed[kind].discard(key)

    def write(self) -> None:
        """Show what was learnt since the last time in the files, and try again what could not be written."""
        for source in self._sources:
            changed = self._changed.pop(source.kind, set())
            if changed or self._unwritten.get(source.kind):
                try:
                    self._unwritten[source.kind] = source.write(self._jobs[source.kind], changed)
                except Exception as error:  # noqa: BLE001 - a fault in one source must not end the others
                    self._note_fault(source, error)
                    self._changed[source.kind] |= changed

    def read(self) -> Look:
        """Look at all files. What one source cannot do does not keep the others from being read."""
        looked_at = SystemClock().now()
        with no_collection():
            found = [(source.kind, self._read(source)) for source in self._sources]
            news = [self._news(kind, reading, looked_at) for kind, reading in found]
        problems = [problem for _, reading in found for problem in reading.problems]
        unwritten = dict.fromkeys(problem for each in self._unwritten.values() for problem in each)
        problems = [problem for problem in problems if problem not in unwritten]  # a source may say so in both
        return Look(
            news=tuple(item for item in news if item.drafts or item.withdrawn or item.again),
            problems=tuple(dict.fromkeys([*problems, *self._broken.values()])),
            unwritten=tuple(unwritten),
            warnings=tuple(dict.fromkeys(warning for _, reading in found for warning in reading.warnings)),
            directories=frozenset(path for source in self._sources for path in source.directories()),
        )

    def _read(self, source: JobSource) -> Reading:
        try:
            reading = source.read(self._jobs[source.kind])
        except Exception as error:  # noqa: BLE001 - a fault in one source must not end the others
            self._note_fault(source, error)
            return Reading()
        self._broken.pop(source.kind, None)
        return reading

    def _news(self, kind: str, reading: Reading, looked_at: datetime) -> SourceNews:
        drafts = tuple(marked(draft, self._digest, looked_at) for draft in reading.drafts)
        return SourceNews(source=kind, drafts=drafts, withdrawn=reading.withdrawn, again=reading.again)

    def _note_fault(self, source: JobSource, error: Exception) -> None:
        message = f"jobs of the kind {source.kind!r} cannot be looked at: {type(error).__name__}: {error}"
        self._broken[source.kind] = Problem(message=message, hint="this is a bug; please report it with the file")
