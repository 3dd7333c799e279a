"""What Python users call: `from researchflow_tmux import Workspace`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from researchflow_tmux.api import control, workspace
from researchflow_tmux.api.ends import ends
from researchflow_tmux.api.functions import Call
from researchflow_tmux.api.handles import JobHandle, handle_of
from researchflow_tmux.api.happenings import Events
from researchflow_tmux.api.pipeline_builder import PipelineBuilder
from researchflow_tmux.api.submitter import Command, Submitter, Wanted
from researchflow_tmux.domain.errors import JobFailed, UsageError
from researchflow_tmux.domain.job import JobState

if TYPE_CHECKING:
    from researchflow_tmux.api.hindsight import Past
    from researchflow_tmux.hindsight.graph import Graph
    from researchflow_tmux.hindsight.report import Report
    from researchflow_tmux.hindsight.timeline import Timeline
    from researchflow_tmux.hindsight.utilisation import Utilisation

R = TypeVar("R")
AnyJob = JobHandle[Any]


class Workspace(workspace.Workspace):
    """A workspace directory: submit jobs, wait for them, collect what they returned, follow what happens.

    Any number of threads and processes may use one at the same time; nothing that was accepted is lost or doubled,
    whoever is killed. A job that is submitted is on disk when `submit` returns. With `start` (the default) submitting
    starts the workspace's scheduler as `rfsched add` does, unless somebody stopped it on purpose.

    Example:
        >>> from researchflow_tmux import Workspace, job
        >>> workspace = Workspace("my_experiments")              # doctest: +SKIP
        >>> handle = workspace.submit("python train.py", gpus=1)  # doctest: +SKIP
        >>> handle.result()                                      # doctest: +SKIP
        0

    Every method may raise StoreError when the state cannot be read or written, WorkspaceBusy or WorkspaceElsewhere
    (both StoreErrors) when another process or machine has it, and ConfigError when scheduler_config.yml cannot be used.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, config: str | None = None, *, start: bool = True
    ) -> None:
        """The workspace at (or above) `directory`. Raises UsageError when there is none."""
        super().__init__(directory, config)
        self._submitter = Submitter(self, may_start=start)

    # -- submitting ----------------------------------------------------------------------------------------------------

    @overload
    def submit(self, command: Call[R], /, **options: Any) -> JobHandle[R]: ...
    @overload
    def submit(self, command: str | Sequence[str | os.PathLike[str]], /, **options: Any) -> JobHandle[int | None]: ...
    def submit(self, command: Command, /, **options: Any) -> AnyJob:
        """Queue a job; it is on disk when this returns. See docs/reference/python.md for the options.

        A text is a shell line, a list is a program with its arguments, and `function.job(…)` is a call of a function.

        Raises UsageError naming every problem of the options, or what cannot be pickled; then nothing was queued.
        """
        return self._submitter.submit([(command, options)])[0]

    def submit_many(self, commands: Iterable[Command | Mapping[str, Any]], /, **options: Any) -> list[AnyJob]:
        """Queue many jobs, 2 000 at a time as the iterable yields them; their handles, in order.

        Each is a command as for `submit`, or a mapping of a `command` and options of its own, which win over `options`.

        Raises as `submit`. The batches before one that is wrong stay queued; of that one nothing is.
        """
        if isinstance(commands, str | Mapping | Call):
            raise UsageError(
                "submit_many takes many commands, and this is one", hint="use `submit`, or put it into [ ]"
            )
        return list(self._submitter.submit_many(_wanted(each, options) for each in commands))

    def pipeline(self, name: str, **options: Any) -> PipelineBuilder:
        """Jobs that need each other, queued together at the end of a `with` block; `options` are for all of them."""
        return PipelineBuilder(self._submitter, name, options)

    def start(self) -> bool:
        """Make sure that a scheduler runs, also after somebody stopped it; False = one was running already.

        Configs and other files with jobs are left alone: `rfsched start` takes them in. Raises HostUnreachable when
        tmux cannot be started.
        """
        return not control.start(self, None, configs=False).already_running

    # -- looking -------------------------------------------------------------------------------------------------------

    def handle(self, which: str | int) -> AnyJob:
        """The handle of a job that is there: by id or name. Raises UsageError when it is none or several."""
        found = self.job(str(which))
        return handle_of(self, found.id, found.name)

    def handles(self, *patterns: str) -> list[AnyJob]:
        """Handles of the jobs that the patterns name (`"exp*"`, `"@group"`, `"@key=value"`); all without any."""
        if not patterns and not os.path.exists(self.paths.database):
            return []  # nothing was ever queued here
        return [handle_of(self, job.id, job.name) for job in self.jobs(patterns)]

    def events(
        self,
        *,
        after: int | None = None,
        jobs: Iterable[AnyJob] | None = None,
        kinds: Collection[str] | None = None,
        follow: bool = True,
        timeout_s: float | None = None,
    ) -> Events:
        """What happens from now on, or after event number `after` (0 = from the beginning), as it happens.

        For `for` and for `async for`. Ends at `close()`, after `timeout_s`, or without `follow` at the last event.
        """
        ids = None if jobs is None else {each.id for each in jobs}
        return Events(self, after=after, jobs=ids, kinds=kinds, follow=follow, timeout_s=timeout_s)

    # -- looking back --------------------------------------------------------------------------------------------------

    def timeline(
        self,
        *patterns: str,
        by: Literal["gpu", "job", "project"] = "gpu",
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        plan: bool = False,
    ) -> Timeline:
        """What ran when and where, as data: lanes with bars. `since="7d"`, `"yesterday"`, or an aware datetime.

        With `plan` also when and where those that wait should start.

        As all that look back: only of the jobs that the patterns name; raises UsageError for one that names none.
        """
        from researchflow_tmux.api.hindsight import planned_of, timeline_of

        past = self._past(patterns, since, until)
        return timeline_of(past, by, waiting=True, planned=planned_of(self, past) if plan else ())

    def graph(self, *patterns: str, stack: Literal["auto", "always", "never"] = "auto") -> Graph:
        """What needs what, with states, lengths and critical paths. `stack`: whether jobs that are alike are one node.

        Jobs that are connected with no other are there only if patterns name them.
        """
        from researchflow_tmux.api.hindsight import graph_of

        return graph_of(self._past(patterns, None, None), stack)

    def utilisation(self, *, since: str | datetime | None = None, until: str | datetime | None = None) -> Utilisation:
        """How busy GPUs were, how much of them jobs had, how many ran and waited. Unknown is None, never 0."""
        from researchflow_tmux.api.hindsight import utilisation_of

        return utilisation_of(self._past((), since, until))

    def report(
        self, *patterns: str, since: str | datetime | None = None, until: str | datetime | None = None
    ) -> Report:
        """Statistics by project, user, GPU and day: GPU-hours, waits, failures, retries, wasted work."""
        from researchflow_tmux.api.hindsight import report_of

        return report_of(self._past(patterns, since, until))

    def _past(self, patterns: Sequence[str], since: str | datetime | None, until: str | datetime | None) -> Past:
        from researchflow_tmux.api.hindsight import Chosen, past_of
        from researchflow_tmux.api.since import moment_of

        now = self._clock.now()
        begin, end = (moment_of(each, now) if isinstance(each, str) else each for each in (since, until))
        return past_of(self, Chosen(patterns=patterns, since=begin, until=end))

    # -- waiting -------------------------------------------------------------------------------------------------------

    def wait(self, jobs: Iterable[AnyJob] | None = None, timeout_s: float | None = None) -> dict[AnyJob, JobState]:
        """Block until these jobs (default: all that there are) have ended, however; how each ended, in their order.

        Raises TimeoutError after `timeout_s`; UsageError when one cannot end because no scheduler is running.
        """
        chosen = self._chosen(jobs)
        states = dict(ends(self, [each.id for each in chosen], timeout_s))
        return {each: states[each.id] for each in chosen}

    def as_completed(self, jobs: Iterable[AnyJob] | None = None, timeout_s: float | None = None) -> Iterator[AnyJob]:
        """These jobs (default: all) one by one as they end; those that have ended already come first.

        Raises as `wait`.
        """
        chosen = {each.id: each for each in self._chosen(jobs)}
        for job_id, _ in ends(self, list(chosen), timeout_s):
            yield chosen[job_id]

    def results(
        self,
        jobs: Iterable[JobHandle[R]],
        timeout_s: float | None = None,
        *,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Wait for these jobs; what each returned, in their order (exit codes of commands).

        Raises what `JobHandle.result` raises for the first that did not succeed, after all have ended; with
        `return_exceptions` such exceptions stand in the list instead.
        """
        chosen = list(jobs)
        self.wait(chosen, timeout_s)
        found: list[Any] = []
        for each in chosen:
            try:
                found.append(each.result())
            except JobFailed as error:
                if not return_exceptions:
                    raise
                found.append(error)
        return found

    def _chosen(self, jobs: Iterable[AnyJob] | None) -> list[AnyJob]:
        if jobs is None:
            return self.handles()
        chosen = list(jobs)
        for each in chosen:
            if each.root != self.paths.root:
                raise UsageError(f"{each.name} is a job of {each.root}", hint=f"this workspace is {self.paths.root}")
        return chosen


def _wanted(each: Command | Mapping[str, Any], options: Mapping[str, Any]) -> Wanted:
    if not isinstance(each, Mapping):
        return each, options
    if "command" not in each:
        raise UsageError(f"{dict(each)!r} has no `command`", hint="a job is a command, or a mapping with one")
    own = {key: value for key, value in each.items() if key != "command"}
    return each["command"], {**options, **own}
