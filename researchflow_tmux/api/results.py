"""The results of a workspace: every ended attempt with its config, code, times, outcome and metrics."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import RfschedError, StoreError, UsageError, WorkspaceBusy
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records import catching_up, pruning, ranking
from researchflow_tmux.records.comparing import Comparison, compare
from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.picturing import Picture, picture
from researchflow_tmux.records.pruning import Pruned
from researchflow_tmux.records.runs import Run, one_per_job, one_run, read_runs
from researchflow_tmux.records.terms import matching

__all__ = ["Comparison", "Keys", "Pruned", "Results", "Run"]

PATIENCE_S = 2.0
"""How long a running scheduler gets to record what has just ended, before it is recorded here."""
COMMANDS = ("list", "show", "open", "diff", "prune", "plot")


class Results:
    """The run records of a workspace, brought up to date.

    Example:
        >>> results = Results(Workspace("my_experiments"))           # doctest: +SKIP
        >>> results.find(["lr<0.1"], best="acc", limit=1)[0].config  # doctest: +SKIP
    """

    def __init__(self, workspace: Workspace) -> None:
        self.directory = catching_up.results_dir(workspace.paths)
        self.trouble = _catch_up(workspace)
        """Why the newest runs may be missing; None = all are there."""
        self.all: list[Run] = read_runs(self.directory)
        self.keys = Keys(self.all)

    def find(
        self,
        query: Iterable[str] = (),
        *,
        sort: str | None = None,
        best: str | None = None,
        limit: int | None = None,
        all_attempts: bool = False,
    ) -> list[Run]:
        """The runs for which all terms of `query` hold: `lr=0.1`, `acc>0.9`, `model~^bert`, or names of jobs.

        Of each job its newest attempt that succeeded, else its newest, unless `all_attempts`. `sort="-acc"`: greatest
        first; `best="acc"`: only runs that have it, greatest first, `best="-loss"`: smallest first (one, without a
        limit). Raises UsageError for what cannot be understood.
        """
        self.need_some()
        found = matching(self.all, query, commands=COMMANDS)
        if not all_attempts:
            found = one_per_job(found)
        if sort is not None:
            found = ranking.ordered(found, sort, self.keys)
        if best is not None:
            found = ranking.best(found, best, self.keys)[: 1 if limit is None else limit]
        return found if limit is None else found[:limit]

    def one(self, wanted: str) -> Run:
        """The run that is meant by a job, `JOB.ATTEMPT` or a uuid. Raises UsageError."""
        self.need_some()
        return one_run(self.all, wanted)

    def compare(self, first: str, second: str) -> Comparison:
        """What differs between two runs. Raises UsageError."""
        return compare(self.one(first), self.one(second), self.directory)

    def prune(
        self, query: Sequence[str], *, older_than: str | None, keep_best: Sequence[str] = (), really: bool
    ) -> Pruned:
        """Remove the records (all attempts) that match, or only say which. Raises UsageError, ResultsError."""
        if not query and older_than is None:
            raise UsageError("which runs?", hint="give --older-than 30d, or a query such as succeeded=false")
        self.need_some()
        matched = matching(self.all, query, commands=COMMANDS)
        doomed = matched
        if older_than is not None:
            try:
                before = SystemClock().now() - timedelta(seconds=parse_duration(older_than))
            except (ValueError, OverflowError) as error:
                raise UsageError(f"--older-than: {error}") from None
            doomed = pruning.older_than(doomed, before)
        for rule in keep_best:
            doomed = pruning.without_best(matched, rule, doomed)
        return pruning.prune(self.directory, doomed, really=really)

    def picture(
        self, metric: str, query: Iterable[str] = (), *, all_attempts: bool = False, log_y: bool = False
    ) -> Picture:
        """The metric over the steps of each run that logged it: `.svg()`, or `.html(keys, note)`. Raises UsageError."""
        found = self.find(query, all_attempts=all_attempts)
        return picture(found, metric, self.directory, by_attempt=all_attempts, log_y=log_y)

    def facts(self, run: Run) -> dict[str, Any]:
        """All of one run for programs, with the paths of its files."""
        files = {name: run.attachment(self.directory, name) for name in run.entry.get("attachments", {})}
        metadata = {name: value for name, value in run.entry["metadata"].items() if name != "run"}
        return {"uuid": run.uuid, "job_id": run.job_id, **metadata, **run.rest_of_entry, "files": files}

    def paths(self, run: Run) -> list[tuple[str, str]]:
        """Where its files are, each with what it is: log, output, config, metrics, diff."""
        found = [("log", run.rest.get("log"))]
        found += [("output", path) for path in run.rest.get("outputs") or ()]
        found += [(name, run.attachment(self.directory, name)) for name in run.entry.get("attachments", {})]
        return [(what, path) for what, path in found if isinstance(path, str)]

    def need_some(self) -> None:
        """Raises UsageError where nothing was recorded so far."""
        if self.all:
            return
        hint = "a run is recorded when an attempt of a job ends: `rfsched start` runs the configs"
        if self.trouble:
            raise UsageError(f"no results yet, and none can be recorded: {self.trouble}")
        raise UsageError(f"no results yet in {self.directory}", hint=hint)


def _catch_up(workspace: Workspace) -> str | None:
    """Record what has ended so far; words for what keeps us from it."""
    paths = workspace.paths
    if not os.path.exists(paths.database):
        return None
    try:
        if asking.scheduler(paths) is None:
            _settle(workspace)
        elif _scheduler_does_it(paths):
            return None
        if catching_up.catch_up(paths, wait_s=PATIENCE_S) is None:
            return "another process is recording"
    except (RfschedError, OSError) as error:
        return str(error)
    return None


def _settle(workspace: Workspace) -> None:
    """With no scheduler: running jobs may have ended without anybody writing it down."""
    with workspace.reader() as reader:
        if not reader.live_attempts():
            return
    with contextlib.suppress(WorkspaceBusy, StoreError):
        asking.settle(workspace.paths, workspace.settings)


def _scheduler_does_it(paths: WorkspacePaths) -> bool:
    """Leave it to the scheduler, which knows which code has just started; False = it does not get there."""
    clock, never = SystemClock(), threading.Event()
    deadline = clock.monotonic() + PATIENCE_S
    while catching_up.is_behind(paths):
        if clock.monotonic() > deadline:
            return False
        never.wait(0.02)
    return True
