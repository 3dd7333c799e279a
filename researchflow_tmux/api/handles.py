"""Handles of jobs: small values that name a job and can ask about it, from any process and any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from researchflow_tmux.api import call_files, looping
from researchflow_tmux.api.ends import ends
from researchflow_tmux.api.logs import last_lines, seen
from researchflow_tmux.api.opened import opened
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import JobFailed, UsageError
from researchflow_tmux.domain.job import Job, JobState

if TYPE_CHECKING:
    from researchflow_tmux.api.plan_views import PlannedJob

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, order=True)
class JobHandle(Generic[R_co]):
    """A job of a workspace. Handles of one job are equal, hashable, ordered by id, and can be pickled.

    Nothing is kept in it but what names the job: every question is asked anew. `await handle` is `result()` for
    coroutines. Every method raises UsageError when the job is not known any more, StoreError when the workspace's
    state cannot be read.
    """

    root: str
    """The workspace's directory."""
    id: int
    name: str = field(compare=False)
    config: str = field(compare=False, repr=False)
    """The scheduler config of the workspace."""

    @property
    def workspace(self) -> Workspace:
        """The workspace, opened once in a process."""
        return opened(self.root, self.config)

    @property
    def job(self) -> Job:
        """Everything the workspace knows about it now."""
        with self.workspace.reader() as reader:
            found = reader.job(self.id)
        if found is None:
            raise UsageError(f"job {self.id} ({self.name}) is not known any more", hint="was it removed by `clean`?")
        return found

    @property
    def state(self) -> JobState:
        """Where it stands now: queued, held, running, succeeded, failed, cancelled or skipped."""
        return self.job.state

    @property
    def reason(self) -> str | None:
        """Why it ended as it did, or why it was put back; None = there is nothing to say."""
        reason = self.job.reason
        return None if reason is None else str(reason)

    def why(self) -> str | None:
        """Why it waits or stands where it does, as `rfsched status` says it; None = there is nothing to say."""
        found = next((each for each in self.workspace.status().jobs if each.id == self.id), None)
        return None if found is None else found.reason

    def eta(self) -> PlannedJob | None:
        """When it should start and end, with the interval that holds it in four cases of five.

        None = it has ended, or it would not start as things are. Times in it are None where nothing is known of its
        like. Raises ConfigError or ProbeError too when no scheduler runs and the GPUs cannot be found out.
        """
        from researchflow_tmux.api.plan import planned

        return planned(self.workspace, self.job)

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts, first to last; empty = it never ran."""
        with self.workspace.reader() as reader:
            return reader.attempts_of(self.id)

    def wait(self, timeout_s: float | None = None) -> JobState:
        """Block until it has ended, however; return how.

        Raises TimeoutError after `timeout_s`; UsageError when it cannot end because no scheduler is running.
        """
        [(_, state)] = ends(self.workspace, [self.id], timeout_s)
        return state

    def result(self, timeout_s: float | None = None) -> R_co:
        """Wait for its end; return what the function returned, or the exit code of a command (None: it was up to date).

        Raises RemoteError when the function raised, JobFailed when the job did not succeed for any other reason
        (killed, timed out, cancelled, skipped, a command with a bad exit code), ResultError when what it returned
        cannot be read here, and what `wait` raises.
        """
        self.wait(timeout_s)
        return self._outcome()

    def exception(self, timeout_s: float | None = None) -> JobFailed | None:
        """Wait for its end; return what `result` would raise because of how it ended; None = it succeeded."""
        self.wait(timeout_s)
        return _failure(self.workspace, self.job)

    def cancel(self) -> bool:
        """Cancel it if it waits, stop it if it runs; False = it has ended already. Does not wait for its end."""
        return not self.workspace.ask("cancel", {"ids": [self.id]}).get("ended")

    def hold(self) -> bool:
        """Keep it from starting; False = it runs or has ended."""
        return not self.workspace.ask("hold", {"ids": [self.id]}).get("untouched")

    def release(self) -> bool:
        """Let it start; False = it is not held."""
        return not self.workspace.ask("release", {"ids": [self.id]}).get("untouched")

    def requeue(self, *, fresh: bool = False) -> None:
        """Run it again, from its newest checkpoint unless `fresh`; a running one is stopped first."""
        self.workspace.ask("requeue", {"ids": [self.id], "afresh": fresh})

    def set(self, **values: Any) -> bool:
        """Change its `priority`, `deadline`, `project`, `preemptible`, `time_limit` or `retries`; False = it had them.

        It holds against the job's config until that says something else than now. None takes a deadline, a project or
        a time limit away. Raises UsageError with every problem of the values, and when one cannot be changed any more
        (project and time limit of a running job); then nothing was changed.
        """
        done = self.workspace.set_of([self.job], values)
        if done.refused:
            raise UsageError("\n".join(done.refused))
        return bool(done.changed)

    def logs(self, tail: int | None = None) -> str:
        """What its latest attempt wrote so far, as one would have seen it (the last `tail` lines); "" = nothing yet."""
        attempts = self.attempts
        path = attempts[-1].log if attempts else None
        if path is None:
            return ""
        try:
            with open(path, "rb") as file:
                if tail is not None:
                    last_lines(file, tail)
                return b"".join(seen(file)).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def __await__(self) -> Generator[Any, None, R_co]:
        """`await handle`: as `result`, without blocking the event loop."""
        return self._awaited().__await__()

    async def _awaited(self) -> R_co:
        await looping.ended(self.workspace, self.id)
        return await asyncio.to_thread(self._outcome)

    def _outcome(self) -> R_co:
        job = self.job
        failure = _failure(self.workspace, job)
        if failure is not None:
            raise failure
        if job.spec.source == call_files.SOURCE:
            return cast("R_co", call_files.result_of(self.workspace.paths, job))
        return cast("R_co", job.exit_code)


def handle_of(workspace: Workspace, job_id: int, name: str) -> JobHandle[Any]:
    """The handle of a job of this workspace."""
    return JobHandle(workspace.paths.root, job_id, name, workspace.paths.config)


def _failure(workspace: Workspace, job: Job) -> JobFailed | None:
    if job.state is JobState.SUCCEEDED:
        return None
    if job.spec.source == call_files.SOURCE and job.state is JobState.FAILED:
        raised = call_files.error_of(workspace.paths, job)
        if raised is not None:
            return raised
    said = f"{job.name}: {job.reason or job.state}"
    hint = f"`rfsched logs {job.id}` shows what it wrote" if job.attempts else None
    return JobFailed(said, hint=hint, job_id=job.id, state=str(job.state), code=job.exit_code)
