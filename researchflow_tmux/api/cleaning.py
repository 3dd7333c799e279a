"""Forgetting jobs that ended long ago: their rows, their attempts' directories and their logs, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.adapters import workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.api import asking, call_files
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.workspace import WorkspacePaths


class Cleaned(msgspec.Struct, kw_only=True):
    """What went, or would go."""

    jobs: list[str]
    ids: list[int]
    files: int = 0
    bytes: int = 0
    kept_configs: list[str] = msgspec.field(default_factory=list)
    """Jobs that stay because their config or their file in job_dir is still there: forgotten, they would run again."""
    kept_outside: list[str] = msgspec.field(default_factory=list)
    """Logs that stay because they are not where this workspace keeps its logs."""


class _Files:
    """What of a job lies on the disk."""

    def __init__(self, workspace: Workspace) -> None:
        self.attempts = os.path.join(workspace.paths.state, "attempts")
        log_dir = resolve_places(workspace.paths, workspace.settings).log_dir
        self.logs = tuple(os.path.realpath(place) + os.sep for place in (log_dir, workspace.paths.root))

    def directory(self, job_id: int) -> str:
        return os.path.join(self.attempts, str(job_id))

    def ours(self, log: str) -> bool:
        """A plain file of ours, where this workspace keeps logs."""
        try:
            facts = os.lstat(log)
        except OSError:
            return False
        parent = os.path.realpath(os.path.dirname(log)) + os.sep
        return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and parent.startswith(self.logs)


def clean(workspace: Workspace, older_than: str, *, really: bool) -> Cleaned:
    """Remove (or only count) what ended more than `older_than` ago. Raises UsageError."""
    clock = SystemClock()
    try:
        before = clock.now() - timedelta(seconds=parse_duration(older_than))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--older-than: {error}") from None
    job_dir = resolve_places(workspace.paths, workspace.settings).job_dir
    with workspace.reader() as reader:
        ids = reader.cleanable(before)
        jobs = {job.id: job for job in reader.full_jobs(ids)}
        kept = {job.id: job.name for job in jobs.values() if _would_come_back(job, workspace.paths, job_dir)}
        ids = [job_id for job_id in ids if job_id not in kept]
        logs = {job_id: [each.log for each in reader.attempts_of(job_id) if each.log] for job_id in ids}
    if really and ids:
        ids = _delete_rows(workspace, before, sorted(kept), clock.boot_id)
    files = _Files(workspace)
    names = [jobs[job_id].name for job_id in ids if job_id in jobs]
    done = Cleaned(jobs=names, ids=ids, kept_configs=list(kept.values()))
    for path in _calls_of(workspace, ids, jobs.values()):
        _count(path, done)
        if really:
            with suppress(OSError):
                os.unlink(path)
    for job_id in ids:
        _take(files, job_id, logs.get(job_id, []), done, really=really)
    return done


def _calls_of(workspace: Workspace, ids: Sequence[int], jobs: Iterable[Job]) -> list[str]:
    """The call files that no job needs once these are gone: one may serve thousands of jobs."""
    gone = frozenset(ids)
    candidates = {call_files.file_of(job.spec.key) for job in jobs if job.spec.source == call_files.SOURCE}
    if not candidates:
        return []
    with workspace.reader() as reader:
        rows = reader.jobs()
    needed = {call_files.file_of(row.key) for row in rows if row.source == call_files.SOURCE and row.id not in gone}
    return [os.path.join(workspace.paths.calls, name) for name in sorted(candidates - needed)]


def _would_come_back(job: Job, paths: WorkspacePaths, job_dir: str) -> bool:
    """Whether the next look at the files would queue the job anew: nothing but its row says that it has ended."""
    if job.spec.source in ("sweep", "pipeline"):
        return _is_watched(job, paths, job_dir)
    if job.spec.source == "table":  # successes are counted in the table; a row of which all runs failed says nothing
        file = os.path.join(paths.root, job.spec.key.rpartition("#")[0])
        return job.state is not JobState.SUCCEEDED and os.path.exists(file)
    if job.spec.config_path is None or not os.path.exists(job.spec.config_path):
        return False
    marked = job.spec.marker is not None and os.path.exists(job.spec.marker)
    return not (marked and job.state is JobState.SUCCEEDED)


def _is_watched(job: Job, paths: WorkspacePaths, job_dir: str) -> bool:
    """Whether the file that the job comes from is there, where the scheduler looks for such files."""
    file = os.path.join(os.path.realpath(paths.root), job.spec.key.partition("#")[0])
    return os.path.exists(file) and file.startswith(os.path.realpath(job_dir) + os.sep)


def _delete_rows(workspace: Workspace, before: datetime, keep: list[int], boot_id: str) -> list[int]:
    """The rows go first: a crash then leaves files that nothing names, never rows without their files."""
    if asking.scheduler(workspace.paths) is not None:
        reply = workspace.ask("clean", {"before": before.isoformat(), "keep": keep})
        return [int(job_id) for job_id in reply["ids"]]
    with workspace_lock.acquire(workspace.paths, "cli", wait_s=5.0):
        store = SqliteStore(workspace.paths.database, boot_id=boot_id)
        try:
            return store.delete_jobs_before(before, keep=frozenset(keep))
        finally:
            store.close()


def _take(files: _Files, job_id: int, logs: Iterable[str], done: Cleaned, *, really: bool) -> None:
    directory = files.directory(job_id)
    for folder, _, names in os.walk(directory):
        for name in names:
            _count(os.path.join(folder, name), done)
    if really:
        shutil.rmtree(directory, ignore_errors=True)
    for log in logs:
        if files.ours(log):
            _count(log, done)
            if really:
                _remove_log(log)
        elif os.path.lexists(log):
            done.kept_outside.append(log)


def _count(path: str, done: Cleaned) -> None:
    with suppress(OSError):
        done.bytes += os.lstat(path).st_size
        done.files += 1


def _remove_log(log: str) -> None:
    """The log, and the link to the latest one if that is what it names."""
    with suppress(OSError):
        os.unlink(log)
    directory = os.path.dirname(log)
    latest = os.path.join(directory, os.path.basename(log).rpartition("_a")[0] + ".log")
    with suppress(OSError):
        if os.path.islink(latest) and not os.path.exists(latest):
            os.unlink(latest)
