"""One workspace, as the command line and Python users drive it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from researchflow_tmux.adapters import foreseen_file, live_file, usage_file, workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api import asking, status
from researchflow_tmux.api.accounts import account_views, accounting_of
from researchflow_tmux.api.locate import find_workspace
from researchflow_tmux.api.planning import plan_of
from researchflow_tmux.api.selection import select
from researchflow_tmux.api.views import AccountView, StatusView
from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.errors import ConfigError, RfschedError, StoreError, UsageError, WorkspaceBusy
from researchflow_tmux.domain.events import Event
from researchflow_tmux.domain.gpus import META_CONDITIONS, decode_conditions
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.workspace import META_TASK_NAME, Settings, WorkspacePaths
from researchflow_tmux.engine.planning.choice import META_USAGE
from researchflow_tmux.engine.submitting import Draft, Submission, Submitted
from researchflow_tmux.engine.workload import Workload

if TYPE_CHECKING:
    from researchflow_tmux.adapters.config_file import LoadedSettings
    from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
    from researchflow_tmux.adapters.live_file import Live
    from researchflow_tmux.api.plan_views import PlannedGroup
    from researchflow_tmux.api.setting import Done
    from researchflow_tmux.domain.setting import Setting

KEEPER_S = 1.0
"""A scheduler that is gone this long may be one that its keeper starts again: only then it is looked for in tmux."""


class Workspace:
    """A workspace directory. Any number of processes may use one at the same time.

    Example:
        >>> workspace = Workspace("my_experiments")          # doctest: +SKIP
        >>> workspace.add(["python", "train.py"], name="a")  # doctest: +SKIP

    Raises UsageError when the directory is no workspace.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, config: str | None = None) -> None:
        self.paths: WorkspacePaths = find_workspace(None if directory is None else os.fspath(directory), config)
        self._loaded: LoadedSettings | None = None
        self._clock = SystemClock()
        self.asker = asking.Asker(self.paths, lambda: self.usable_settings)

    def close(self) -> None:
        """Give back what was opened for asking. Optional; the workspace can be used again afterwards."""
        self.asker.close()

    # -- settings ------------------------------------------------------------------------------------------------------

    @property
    def loaded(self) -> LoadedSettings:
        """The settings with where each came from. Raises ConfigError with every problem at once."""
        if self._loaded is None:
            from researchflow_tmux.adapters.config_file import load_settings  # a look at the status needs no YAML

            self._loaded = load_settings(self.paths.config)
        return self._loaded

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    def forget_settings(self) -> None:
        """Read scheduler_config.yml again when it is needed next."""
        self._loaded = None

    @property
    def usable_settings(self) -> Settings:
        """The settings; the defaults while the file cannot be used: looking and ending must work even then."""
        try:
            return self.settings
        except ConfigError:
            return Settings(task_name=os.path.basename(self.paths.root) or "workspace")

    def set(self, key: str, value: str) -> str:
        """Change one setting in the file, keeping all else byte for byte; a running scheduler takes it over.

        Returns what was there before. Raises ConfigError (the file is then untouched).
        """
        from researchflow_tmux.adapters.config_edit import set_value
        from researchflow_tmux.adapters.policy_check import check_plugin

        if key == "policy":
            check_plugin(value, self.paths.root)
        old, _new = set_value(self.paths.config, key, value)
        self._loaded = None
        if asking.scheduler(self.paths) is not None:
            self.ask("reload", {})
        return str(old)

    # -- looking -------------------------------------------------------------------------------------------------------

    def status(self, shown: status.Shown = status.EVERYTHING, *, totals: bool = False) -> StatusView:
        """Everything there is to see, of all jobs or of some. Without a scheduler, what ended meanwhile is recorded.

        `totals` = also when the queue and its groups should be through, which takes some milliseconds more.
        """
        holder = asking.scheduler(self.paths)
        if holder is None:
            self.settle()
        with self.reader() as reader, reader.snapshot():
            jobs, attempts, meta = reader.all_jobs(), reader.live_attempts(), reader.meta()
            task_name = meta.get(META_TASK_NAME)
            last = reader.latest_attempts([job.id for job in jobs if job.attempts])
        settings = self.usable_settings
        workload = Workload(jobs, attempts, gpus=decode_conditions(meta.get(META_CONDITIONS)))
        accounting = accounting_of(self.paths, settings, workload, meta)
        live, now = live_file.read(self.paths.live), self._clock.now()
        return status.build(
            paths=self.paths,
            task_name=task_name or settings.task_name,
            workload=workload,
            plan=lambda: plan_of(self.paths, settings, workload, meta.get(META_USAGE)),
            shown=shown,
            asked=self._reasons,
            last_attempts=last,
            live=live,
            watched=usage_file.read(self.paths.usage),
            foreseen=foreseen_file.read(self.paths.foreseen),
            totals=lambda known: self._totals(workload, live, known, now) if totals else [],
            holder=holder,
            now=now,
            accounting=accounting,
            projects=account_views(accounting, settings, workload, meta, now),
        )

    def projects(self) -> list[AccountView]:
        """The projects and users that the settings describe: what they have, and what is left of their budgets.

        Raises ConfigError when the settings cannot be used.
        """
        settings = self.settings
        if asking.scheduler(self.paths) is None:
            self.settle()
        try:
            with self.reader() as reader, reader.snapshot():
                jobs, attempts, meta = reader.all_jobs(), reader.live_attempts(), reader.meta()
        except UsageError:  # nothing was queued so far
            jobs, attempts, meta = [], [], {}
        workload = Workload(jobs, attempts)
        accounting = accounting_of(self.paths, settings, workload, meta)
        return account_views(accounting, settings, workload, meta, self._clock.now())

    def _totals(
        self, workload: Workload, live: Live | None, known: Mapping[AttemptKey, ForeseenAttempt], now: datetime
    ) -> list[PlannedGroup]:
        from researchflow_tmux.api.totals import totals

        return [] if live is None else totals(self.paths, workload, live, known, now)

    def _reasons(self, job_ids: list[int]) -> dict[int, Reason] | None:
        """Why these jobs wait, in the scheduler's own words; None = it does not say so at once."""
        try:
            reply = asking.ask(self.paths, self.usable_settings, "why", {"ids": job_ids}, patience_s=asking.REPLY_S)
            return msgspec.convert(reply.get("reasons"), dict[int, Reason], strict=False)
        except (RfschedError, msgspec.ValidationError):
            return None

    def impossible(self, job_ids: Iterable[int]) -> dict[str, str]:
        """Of these jobs those that can never start on this machine as it is, with the reason, by name."""
        wanted = set(job_ids)
        views = self.status().jobs if wanted else []
        hopeless = [view for view in views if view.id in wanted and view.reason_code == ReasonCode.IMPOSSIBLE]
        return {view.name: view.reason or "" for view in hopeless}

    def reader(self) -> SqliteReader:
        """A read-only look at the state. Raises UsageError when nothing was ever queued."""
        try:
            os.stat(self.paths.database)
        except FileNotFoundError:
            said = f"nothing was queued in {self.paths.root} so far"
            raise UsageError(said, hint="`rfsched start` queues the configs") from None
        except OSError as error:
            said = f"{self.paths.state} cannot be read: {error.strerror}"
            raise StoreError(said, hint="is this workspace another user's? only its owner can use it") from None
        return SqliteReader(self.paths.database)

    def jobs(self, patterns: Iterable[str] = ()) -> list[Job]:
        """The jobs that the patterns name (all without any). Raises UsageError for a pattern that names none."""
        with self.reader() as reader:
            everything = reader.all_jobs()
        patterns = list(patterns)
        return select(everything, patterns) if patterns else everything

    def job(self, pattern: str) -> Job:
        """The one job that is meant. Raises UsageError when it is none or several."""
        found = self.jobs([pattern])
        if len(found) > 1:
            names = ", ".join(f"{job.name} ({job.id})" for job in found[:8])
            raise UsageError(f"{pattern!r} names {len(found)} jobs: {names}", hint="give an id")
        return found[0]

    def last_attempt(self, job: Job) -> Attempt | None:
        """The latest attempt of a job; None = it never ran."""
        with self.reader() as reader:
            return reader.latest_attempts([job.id]).get(job.id)

    def history(self, since: datetime | None = None, job: Job | None = None, limit: int | None = None) -> list[Event]:
        """The history, oldest first."""
        with self.reader() as reader:
            return reader.events(since=since, job_id=None if job is None else job.id, limit=limit)

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have a request answered by the scheduler, or here if none runs."""
        return self.asker.ask(kind, body)

    def submit_drafts(self, drafts: Sequence[Draft], *, named: bool = False, rerun: bool = False) -> Submitted:
        """Queue jobs. Raises UsageError naming every problem; then nothing was queued."""
        submission = Submission(drafts=tuple(drafts), named=named, rerun=rerun, by=asking.whoami())
        result = self.asker.submit(submission)
        if result.problems:
            raise UsageError("\n".join(result.problems), hint="nothing was queued")
        return result

    def cancel(self, patterns: Iterable[str]) -> dict[str, Any]:
        """Cancel waiting jobs; stop running ones."""
        return self._by_ids("cancel", self.jobs(patterns))

    def requeue(self, jobs: Sequence[Job], *, afresh: bool = False) -> dict[str, Any]:
        """Queue ended jobs again; running ones are stopped and queued. `afresh`: without their checkpoints so far."""
        return self.ask("requeue", {"ids": [job.id for job in jobs], "afresh": afresh})

    def hold(self, patterns: Iterable[str]) -> dict[str, Any]:
        """Keep waiting jobs from starting."""
        return self._by_ids("hold", self.jobs(patterns))

    def release(self, patterns: Iterable[str]) -> dict[str, Any]:
        """Let held jobs start."""
        return self._by_ids("release", self.jobs(patterns))

    def set_words(self, words: Sequence[str]) -> Done:
        """Change values of jobs, as `rfsched set` takes it: what names jobs, and KEY=VALUE.

        Raises UsageError with every problem; then nothing was changed.
        """
        from researchflow_tmux.api.setting import KEYS, setting_of, told_apart

        patterns, given = told_apart(words)
        wanted, problems = setting_of(given, self._clock.now())
        found: list[Job] = []
        try:
            found = self.jobs(patterns) if patterns else []
        except UsageError as error:
            problems = [str(error.args[0]), *problems]
        if not patterns:
            problems.append("set it of which jobs?")
        if not given:
            problems.append("set what?")
        if problems:
            raise UsageError("\n".join(problems), hint=f"rfsched set JOB... KEY=VALUE..., KEY one of {', '.join(KEYS)}")
        return self._set(found, wanted)

    def set_jobs(self, patterns: Iterable[str], **values: Any) -> Done:
        """Change values of jobs: `priority`, `deadline`, `project`, `preemptible`, `time_limit`, `retries`.

        None takes a deadline, project or time limit away. Raises UsageError with every problem of the values, or for a
        pattern that names no job; then nothing was changed.
        """
        return self.set_of(self.jobs(patterns), values)

    def set_of(self, jobs: Sequence[Job], values: Mapping[str, Any]) -> Done:
        """As `set_jobs`, of these jobs."""
        from researchflow_tmux.api.setting import setting_of, texts_of, unknown_among

        problems = unknown_among(values)
        wanted, more = (None, []) if problems else setting_of(texts_of(values), self._clock.now())
        if wanted is None or more:
            raise UsageError("\n".join([*problems, *more]))
        return self._set(jobs, wanted)

    def _set(self, jobs: Sequence[Job], wanted: Setting) -> Done:
        from researchflow_tmux.api.setting import Done, notes

        body = {"ids": [job.id for job in jobs], "values": msgspec.to_builtins(wanted)}
        done = msgspec.convert(self.ask("set", body), Done)
        done.notes = notes(wanted, self.usable_settings)
        return done

    def settle(self) -> None:
        """With no scheduler: running jobs may have ended without anybody writing it down."""
        if not os.path.exists(self.paths.database):
            return
        with SqliteReader(self.paths.database) as reader:
            if not reader.live_attempts():
                return
        # Somebody else may be writing, or the disk full: then what is there is shown.
        with contextlib.suppress(WorkspaceBusy, StoreError):
            asking.settle(self.paths, self.usable_settings)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _by_ids(self, kind: str, jobs: Sequence[Job]) -> dict[str, Any]:
        return self.ask(kind, {"ids": [job.id for job in jobs]})


def lock_holder(paths: WorkspacePaths) -> workspace_lock.LockHolder | None:
    """Who writes this workspace now."""
    return workspace_lock.holder(paths)
