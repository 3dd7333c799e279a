"""A workspace with a table source, and a queue that does at once what the source says."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.adapters.sources.tables.source import Tables
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

AT = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = (JobState.QUEUED, JobState.HELD)


class Desk:
    """`settings` are those of the workspace; `restart` is what a scheduler that was killed does."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        (root / "jobs").mkdir(exist_ok=True)
        self.settings = Settings(task_name="t", **settings)  # type: ignore[arg-type]
        self.jobs: dict[str, Job] = {}
        self.restart()

    def restart(self) -> None:
        paths = WorkspacePaths(root=str(self.root), config=str(self.root / "scheduler_config.yml"))
        context = SourceContext(
            paths=paths,
            settings=self.settings,
            variables={"PATH": os.environ["PATH"]},
            state_dir=str(self.root / ".rfsched" / "sources" / "table"),
        )
        self.source = Tables(context)
        self.problems = [str(problem) for problem in self.source.write(self.jobs, list(self.jobs))]

    def table(self, name: str, content: str | bytes) -> Path:
        path = self.root / "jobs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def look(self) -> Reading:
        """Read, and carry it out."""
        reading = self.source.read(self.jobs)
        for key in reading.withdrawn:
            if self.jobs[key].state in WAITING:
                self._change(key, JobState.CANCELLED, ReasonCode.WITHDRAWN)
        for draft in reading.drafts:
            known = self.jobs.get(draft.key)
            spec = draft.to_spec("env")
            if known is None:
                number = len(self.jobs) + 1
                slug = f"{draft.name}-{number}"
                job = Job(id=number, spec=spec, slug=slug, state=JobState.QUEUED, queued_at=AT)
                self.jobs[draft.key] = job
            else:
                self.jobs[draft.key] = replace(known, spec=spec)
                if known.reason is not None and known.reason.code is ReasonCode.WITHDRAWN:
                    self._change(draft.key, JobState.QUEUED, ReasonCode.REQUEUED)
        self.problems = [str(problem) for problem in reading.problems]
        return reading

    def states(self) -> list[str]:
        """`name state` of all jobs in the order in which they were queued."""
        return [f"{job.name} {job.state}" for job in self.jobs.values()]

    def waiting(self) -> list[str]:
        return [job.name for job in self.jobs.values() if job.state in WAITING]

    def begin(self, name: str) -> str:
        """The first waiting job of this name runs; its key."""
        key = next(key for key, job in self.jobs.items() if job.name == name and job.state in WAITING)
        self._change(key, JobState.ACTIVE)
        self.jobs[key] = replace(self.jobs[key], attempts=self.jobs[key].attempts + 1)
        return key

    def end(self, key: str, state: JobState = JobState.SUCCEEDED) -> None:
        self._change(key, state)
        self.problems = [str(problem) for problem in self.source.write(self.jobs, [key])]

    def run(self, name: str, state: JobState = JobState.SUCCEEDED) -> None:
        self.end(self.begin(name), state)

    def edit(self, path: Path, change: Callable[[str], str]) -> Reading:
        """Change the table as a user does, and look."""
        path.write_text(change(path.read_text()))
        return self.look()

    def _change(self, key: str, state: JobState, code: ReasonCode | None = None) -> None:
        reason = None if code is None else Reason(code=code)
        self.jobs[key] = replace(self.jobs[key], state=state, reason=reason)
