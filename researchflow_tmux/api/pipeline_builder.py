"""Pipelines in Python: jobs that need each other, checked as a whole and queued together."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from researchflow_tmux.adapters.sources.pipelines.building import note_path
from researchflow_tmux.api.functions import Call
from researchflow_tmux.api.handles import JobHandle
from researchflow_tmux.api.submitter import Command, Submitter, Wanted
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import JobFiles, JobState
from researchflow_tmux.domain.pipelines import circles, in_order

AnyJob = JobHandle[Any]


class Step(msgspec.Struct, frozen=True):
    """A job of a pipeline that is not queued yet: what other jobs of it may need."""

    name: str
    """Within the pipeline."""


class Made(msgspec.Struct, frozen=True):
    """What a job makes of what."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    force: bool


Needed = str | Step | AnyJob
"""A job of the pipeline by name or as a step, or a job of the workspace by its handle."""


class PipelineBuilder:
    """Collects jobs; the end of the `with` block (or `submit`) queues all of them, or none.

    Example:
        >>> with workspace.pipeline("exp") as pipeline:                              # doctest: +SKIP
        ...     prepare = pipeline.job("prepare", "python prepare.py", gpus=0)
        ...     train = pipeline.job("train", train.job(0.1), needs=[prepare])
        ...     pipeline.job("tidy", "rm -r scratch", needs=[train], when="always")
        >>> pipeline["train"].result()                                               # doctest: +SKIP
    """

    def __init__(self, submitter: Submitter, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self._submitter = submitter
        self._options = {"group": name, **options}
        self._wanted: dict[str, Wanted] = {}
        self._needs: dict[str, list[Needed]] = {}
        self._made: dict[str, Made] = {}
        self._problems: list[str] = []
        self._handles: dict[str, AnyJob] = {}

    def job(
        self,
        name: str,
        command: Command,
        /,
        *,
        needs: Iterable[Needed] | Needed = (),
        when: str = "success",
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        force: bool = False,
        **options: Any,
    ) -> Step:
        """Add a job, called `{pipeline}_{name}` in the workspace.

        It starts when all it `needs` have succeeded; with `when="failure"` if one of them failed, with `"always"` when
        all have ended. Options are those of `Workspace.submit`. What is wrong is told by `submit`, all at once.

        A command with `outputs` (paths or patterns, relative to its directory) is skipped while these are there and
        neither it, its `inputs` nor what it needs has changed since it made them, unless `force`. The runner looks
        right before the start. One that needs a job without outputs, or waits for a failure, always runs.
        """
        if name in self._wanted:
            self._problems.append(f"there are two jobs {name!r}")
            return Step(name)
        if "after" in options:
            self._problems.append(f"{name}: `after` is called `needs` here")
        self._needs[name] = [needs] if isinstance(needs, str | Step | JobHandle) else list(needs)
        if outputs and isinstance(command, Call):
            self._problems.append(f"{name}: `outputs` are for commands; a function always runs")
        if inputs and not outputs:
            self._problems.append(f"{name}: `inputs` without `outputs` say nothing")
        if outputs:
            self._made[name] = Made(tuple(inputs), tuple(outputs), force or when != "success")
        said = {**self._options, **options, "name": f"{self.name}_{name}", "when": when}
        self._wanted[name] = (command, said)
        return Step(name)

    def submit(self) -> list[AnyJob]:
        """Queue all jobs; their handles, in the order in which they were added. Called by the `with` block.

        Raises UsageError naming every job that is there twice, every need that is not there and every circle; then
        nothing was queued.
        """
        if self._handles:
            raise UsageError(f"the pipeline {self.name} is queued already", hint="build another one")
        self._check()
        order = in_order({name: self._within(name) for name in self._wanted})
        handles = self._submitter.submit([self._complete(name) for name in order])
        found = dict(zip(order, handles, strict=True))
        self._handles = {name: found[name] for name in self._wanted}
        return list(self._handles.values())

    @property
    def handles(self) -> dict[str, AnyJob]:
        """The handles by the jobs' names in the pipeline, once it is queued."""
        return dict(self._handles)

    def __getitem__(self, which: str | Step) -> AnyJob:
        """The handle of one job, once the pipeline is queued. Raises KeyError."""
        return self._handles[which.name if isinstance(which, Step) else which]

    def wait(self, timeout_s: float | None = None) -> dict[str, JobState]:
        """Block until all have ended; how each ended, by name. Raises as `Workspace.wait`."""
        from researchflow_tmux.api.ends import ends

        names = {handle.id: name for name, handle in self._handles.items()}
        states = dict(ends(self._submitter.workspace, list(names), timeout_s))
        return {name: states[job_id] for job_id, name in names.items()}

    def results(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for all; what each returned, by name. Raises as `JobHandle.result` does for the first that failed."""
        self.wait(timeout_s)
        return {name: handle.result() for name, handle in self._handles.items()}

    def __enter__(self) -> PipelineBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if kind is None:
            self.submit()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        problems = list(self._problems)
        if not self._wanted:
            problems.append(f"the pipeline {self.name} has no jobs")
        for name in self._wanted:
            problems += [self._missing(name, need) for need in self._within(name) if need not in self._wanted]
        if not problems:
            rings = circles({name: self._within(name) for name in self._wanted})
            problems += [f"jobs need each other in a circle: {' → '.join(ring)}" for ring in rings]
        if problems:
            raise UsageError("\n".join(problems), hint="nothing was queued")

    def _missing(self, name: str, need: str) -> str:
        close = difflib.get_close_matches(need, list(self._wanted), n=1)
        return f"{name} needs {need!r}, which is no job of the pipeline" + (
            f"; did you mean {close[0]!r}?" if close else ""
        )

    def _within(self, name: str) -> list[str]:
        """The jobs of this pipeline that one of its jobs needs."""
        needs = (need for need in self._needs[name] if not isinstance(need, JobHandle))
        return [need.name if isinstance(need, Step) else need for need in needs]

    def _complete(self, name: str) -> Wanted:
        command, options = self._wanted[name]
        outside = [need for need in self._needs[name] if isinstance(need, JobHandle)]
        inside = [f"{self.name}_{need}" for need in self._within(name)]
        complete = {**options, "after": [*outside, *inside]}
        if name in self._made:
            complete["files"] = self._files(name, command, options)
        return command, complete

    def _files(self, name: str, command: Command, options: Mapping[str, Any]) -> JobFiles:
        """What its runner looks at to see whether there is anything to do."""
        made, needs = self._made[name], self._within(name)
        what = [command, options.get("env"), options.get("workdir"), made.inputs, made.outputs]
        return JobFiles(
            definition=hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest(),
            note=self._note(name),
            inputs=made.inputs,
            outputs=made.outputs,
            upstream=tuple(self._note(need) for need in needs),
            force=made.force or any(need not in self._made for need in needs),
        )

    def _note(self, name: str) -> str:
        return note_path(self._submitter.workspace.paths, f"python:{self.name}:{name}")
