"""The job sources beside the scheduler's loop: a thread reads and writes the files, the loop carries out what they say.

The thread is told only what is on disk already, and looks again only after its last look was carried out and is on
disk: so a source can go by what it sees, whatever is killed when.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from researchflow_tmux.adapters.garbage import give_back, no_collection
from researchflow_tmux.adapters.live_file import LiveSources
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources.registry import SOURCES, make_sources
from researchflow_tmux.domain.errors import Problem, StoreError
from researchflow_tmux.domain.events import Event
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.intake.feed import Feed, Look
from researchflow_tmux.intake.feeder import Feeder
from researchflow_tmux.intake.submissions import META_WATCH
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.wiring import Parts

QUIET_S = 0.3
"""A directory that was quiet this long is read: an editor's half-saved file is finished by then."""
LARGE = 10_000
"""Jobs of one look after which memory is given back to the system, with the next sweep: nobody waits for it then."""
LONG_S = 2.0
"""Where it never gets quiet (our own marks are written as well), it is read all the same after this."""


def show_states(parts: Parts, engine: Engine) -> None:
    """Show how all jobs stand in the files they come from, with no scheduler running; hold the workspace lock."""
    digest = parts.store.load_meta().get(META_WATCH, "")
    if digest:
        with contextlib.suppress(StoreError):
            variables = parts.store.environment(digest)["env"]
            feed = Feed(make_sources(parts.paths, parts.settings, variables), digest)
            feed.learn(engine.workload.jobs.values())
            feed.write()


class SourceWatch:
    """Used by the loop alone; `wake` makes the loop turn, from any thread."""

    def __init__(self, parts: Parts, engine: Engine, wake: Callable[[], None]) -> None:
        self.parts = parts
        self.engine = engine
        self.state = LiveSources()
        self._wake = wake
        self._digest = ""
        self._feeder: Feeder | None = None
        self._looks: deque[tuple[int, Look]] = deque()
        self._asked = 0
        self._settling: int | None = None
        """A look that is carried out and not known to be on disk yet."""
        self._large = False
        """It brought very many jobs."""
        self._directories: frozenset[str] = frozenset()
        self._due: float | None = None
        self._latest = float("inf")
        self._told: set[str] = set()

    # -- life ----------------------------------------------------------------------------------------------------------

    def switch(self, digest: str) -> None:
        """Feed jobs that run in the environment `digest` from now on; none at all if it is empty."""
        self._digest = digest
        self.begin()

    def begin(self) -> None:
        """Look at everything as the settings say now."""
        previous, self._feeder = self._feeder, None
        if previous is not None:
            previous.end()
        self._looks.clear()
        self._settling = None
        if not self._digest:
            return
        try:
            variables = self.parts.store.environment(self._digest)["env"]
        except StoreError as error:
            self.engine.notice(str(error), level="warning")
            return
        feed = Feed(make_sources(self.parts.paths, self.parts.settings, variables), self._digest)
        feed.learn(self.engine.workload.jobs.values())
        self._feeder = Feeder(feed, self._brought, after=previous)
        self.ask()

    def close(self, timeout_s: float = 5.0) -> None:
        """Show the last states in the files, and end."""
        if self._feeder is not None:
            self._feeder.end()
            self._feeder.join(timeout_s)

    # -- what the loop does with it ------------------------------------------------------------------------------------

    def ask(self) -> int:
        """Have everything looked at soon; `state.looks` reaches the answer when that is carried out."""
        self._asked += 1
        self._due, self._latest = None, float("inf")
        if self._feeder is not None:
            self._feeder.look(self._asked)
        return self._asked

    def sweep(self) -> None:
        """What no notice may have told; and, after very many jobs, a tidy heap."""
        if self._large and self._settling is None:
            self._large = False
            give_back()
        self._watch_directories()
        if self._feeder is not None and self._due is None:
            self.ask()

    def wait_s(self) -> float:
        """Seconds until the directories should be looked at."""
        return float("inf") if self._due is None else max(self._due - self.parts.clock.monotonic(), 0.0)

    def look(self, wakeup: Wakeup) -> None:
        """Note what changed; ask for a look once it has been quiet."""
        now = self.parts.clock.monotonic()
        if self._directories & wakeup.directories and self._feeder is not None:
            self._latest = min(self._latest, now + LONG_S)
            self._due = min(now + QUIET_S, self._latest)
        elif self._due is not None and now >= self._due:
            self.ask()

    def take_in(self) -> None:
        """Carry out what was read; the next tick saves it."""
        while self._looks and self._settling is None:
            number, look = self._looks.popleft()
            self._directories = look.directories
            self._watch_directories()
            self._carry_out(number, look)
            self._settling = number

    def settle(self) -> None:
        """After a tick: what was carried out is on disk, so the sources may look again."""
        if self._settling is not None and self._feeder is not None and self.engine.durable:
            self._feeder.settled(self._settling)
            self.state = msgspec.structs.replace(self.state, looks=self._settling)
            self._settling = None

    def saved(self, events: Iterable[Event]) -> None:
        """These events are on disk: their jobs may be shown in the files."""
        if self._feeder is None:
            return
        jobs = self.engine.workload.jobs
        ids = dict.fromkeys(event.payload.job_id for event in events)
        found = [jobs[job_id] for job_id in ids if job_id is not None and job_id in jobs]
        self._feeder.learn([job for job in found if job.spec.source in SOURCES])

    def forget(self, jobs: Iterable[Job]) -> None:
        """These jobs were removed from the queue and its history."""
        if self._feeder is not None:
            self._feeder.forget([(job.spec.source, job.spec.key) for job in jobs])

    # -- inside --------------------------------------------------------------------------------------------------------

    def _brought(self, number: int, look: Look) -> None:
        """Called in the feeder's thread."""
        self._looks.append((number, look))
        self._wake()

    def _carry_out(self, number: int, look: Look) -> None:
        state = self.state
        self._large = self._large or sum(len(news.drafts) for news in look.news) >= LARGE
        refused: list[str] = []
        for news in look.news:
            with no_collection():
                done = self.engine.take_in(news)
            refused += done.problems
            state = msgspec.structs.replace(
                state,
                queued=state.queued + len(done.queued),
                done_before=state.done_before + len(done.done_before),
                withdrawn=state.withdrawn + len(done.withdrawn),
                again=state.again + len(done.again),
            )
        unwritten = tuple(map(self._worded, look.unwritten))
        problems = (*map(self._worded, look.problems), *refused)
        notices = [(text, f"not queued: {text}") for text in problems]
        notices += [(text, text) for text in (*unwritten, *look.warnings)]
        for text, notice in notices:
            if text not in self._told:
                self.engine.notice(notice, level="warning")
        self._told = {*problems, *unwritten, *look.warnings}
        self.state = msgspec.structs.replace(state, problems=problems, unwritten=unwritten, warnings=look.warnings)

    def _worded(self, problem: Problem) -> str:
        """What is wrong; files in job_dir by their path in the workspace."""
        jobs = resolve_places(self.parts.paths, self.parts.settings).job_dir
        if problem.file is not None and problem.file.startswith(jobs + os.sep):
            problem = msgspec.structs.replace(problem, file=os.path.relpath(problem.file, self.parts.paths.root))
        return str(problem)

    def _watch_directories(self) -> None:
        if self.parts.waiter is not None:
            for path in self._directories:
                self.parts.waiter.watch_directory(path)
