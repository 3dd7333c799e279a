"""Job files with a queue behind them: the real source, feed and workload; jobs are started and ended by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from researchflow_tmux.adapters.sources.jobfiles.source import JobFiles
from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine import by_hand
from researchflow_tmux.engine.taking_in import TakenIn, take_in
from researchflow_tmux.engine.workload import Book, Workload
from researchflow_tmux.intake.feed import Feed, Look


class World:
    """A workspace of job files. `runs` counts what was started."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        (root / "jobs").mkdir(exist_ok=True)
        self.settings = Settings(task_name="t", **settings)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.workload = Workload()
        self.runs: dict[str, int] = {}
        self.look_result = Look()
        self.restart()

    def restart(self) -> None:
        """Another scheduler takes over: it knows the queue and what is on disk."""
        paths = WorkspacePaths(root=str(self.root), config=str(self.root / "scheduler_config.yml"))
        state_dir = str(self.root / ".rfsched" / "sources" / "jobfile")
        context = SourceContext(paths=paths, settings=self.settings, variables={"PATH": "/bin"}, state_dir=state_dir)
        self.source = JobFiles(context)
        self.feed = Feed([self.source], "env")
        self.feed.learn(self.workload.jobs.values())
        self.feed.write()

    # -- files

    def path(self, name: str = "a") -> Path:
        return self.root / "jobs" / f"{name}.txt"

    def put(self, text: str | bytes, name: str = "a") -> Path:
        """Save the file as most editors do: a new one under its name."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(".new")
        beside.write_bytes(text.encode() if isinstance(text, str) else text)
        beside.replace(path)
        return path

    def text(self, name: str = "a") -> str:
        return self.path(name).read_bytes().decode()

    # -- the queue

    def look(self, *, show: bool = True) -> TakenIn:
        """Read the files and carry out what they say; then show it (unless the scheduler is killed before that)."""
        self.feed.write()
        self.look_result = self.feed.read()
        assert "bug" not in self.told(), self.told()
        done = TakenIn()
        for news in self.look_result.news:
            done = take_in(self.book(), news)
        if show:
            self.show()
        return done

    def book(self) -> Book:
        self.now += timedelta(seconds=1)
        return Book(self.workload, self.now)

    def show(self) -> None:
        """What has happened is on disk: the files may show it."""
        _, jobs, _ = self.workload.take_changes()
        self.workload.changes_saved()
        self.feed.learn(jobs)
        self.feed.write()

    def job(self, name: str) -> Job:
        return next(job for job in self.workload.jobs.values() if job.name == name)

    def states(self) -> dict[str, str]:
        return {job.name: str(job.state) for job in self.workload.jobs.values()}

    def set(self, name: str, **fields: Any) -> None:
        self.workload._put(replace(self.job(name), **fields))
        self.workload._payloads.append(None)  # type: ignore[arg-type]  # something to save

    def start(self, *names: str, show: bool = True) -> None:
        for name in names:
            assert self.job(name).state is JobState.QUEUED, self.job(name)
            self.runs[name] = self.runs.get(name, 0) + 1
            self.set(name, state=JobState.ACTIVE, attempts=self.job(name).attempts + 1)
        if show:
            self.show()

    def end(self, *names: str, state: JobState = JobState.SUCCEEDED, show: bool = True) -> None:
        for name in names:
            self.now += timedelta(seconds=1)
            self.set(name, state=state, ended_at=self.now)
        if show:
            self.show()

    def run(self, *names: str, state: JobState = JobState.SUCCEEDED) -> None:
        """Start and end them."""
        self.start(*names)
        self.end(*names, state=state)

    def requeue(self, name: str) -> None:
        by_hand.requeue(self.book(), [self.job(name).id], "user", 1.0)
        self.show()

    def told(self) -> str:
        found = self.look_result
        return "\n".join([str(problem) for problem in (*found.problems, *found.unwritten)] + [*found.warnings])
