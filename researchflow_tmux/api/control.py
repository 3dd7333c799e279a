"""Starting and ending: the scheduler's session, draining, and kill-all."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import msgspec

from researchflow_tmux import scheduler_session
from researchflow_tmux.adapters import live_file, workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.policy_check import check_plugin
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import ConfigError, HostUnreachable, Problem, StoreError, WorkspaceBusy
from researchflow_tmux.domain.units import counted
from researchflow_tmux.domain.workspace import META_TASK_NAME
from researchflow_tmux.engine.context import META_FAILURE
from researchflow_tmux.engine.submitting import Submission, Submitted
from researchflow_tmux.intake import submissions
from researchflow_tmux.intake.watching import show_states
from researchflow_tmux.ports import Sessions
from researchflow_tmux.wiring import META_SOCKET, Parts

START_TIMEOUT_S = 20.0
POLL_S = 0.02

_clock = SystemClock()


class Started(msgspec.Struct, kw_only=True):
    """What `start` did."""

    submitted: Submitted
    session: str | None
    """The scheduler's session, if it was opened now."""
    already_running: bool
    gpu_note: str | None = None
    sources: live_file.LiveSources = live_file.LiveSources()
    """What was found in the files of job_dir, and the problems that are there."""
    warnings: list[str] = msgspec.field(default_factory=list)


def ready(workspace: Workspace) -> submissions.Captured:
    """Make the state directory, check what can be checked before anything is queued, and keep the environment.

    Raises ConfigError or StoreError; then nothing was changed.
    """
    _check_log_dir(workspace)
    captured = submissions.capture()
    workspace.asker.inbox().save_environment(captured.digest, captured.stored)
    return captured


def start(
    workspace: Workspace,
    names: Sequence[str] | None,
    pins: Sequence[str | int | None] = (),
    *,
    rerun: bool = False,
    configs: bool = True,
    skip_bad: bool = False,
    foreground: bool = False,
) -> Started:
    """Queue configs (all, or those named) and make sure that a scheduler runs.

    Raises ConfigError with every problem of every config; then nothing was queued (unless `skip_bad`).
    """
    settings = workspace.settings
    captured = ready(workspace)
    running = _still_at_work(workspace)
    before = _sources(workspace) if running else live_file.LiveSources()
    note = None if running else _gpu_note(workspace)
    if not running:
        check_plugin(settings.policy, workspace.paths.root, workspace.loaded.origins["policy"])
    found = submissions.Intake(drafts=())
    if configs:
        found = submissions.from_configs(workspace.paths, settings, captured.digest, captured.variables, names, pins)
        if found.problems and not skip_bad:
            raise ConfigError([*found.problems, *_way_out(len(found.drafts), found.problems)])
    submission = Submission(drafts=found.drafts, named=names is not None, rerun=rerun, by=asking.whoami())
    watch = {submissions.META_WATCH: captured.digest} if configs and names is None else {}
    remembered = {META_TASK_NAME: settings.task_name, META_STOPPED: "", META_FAILURE: "", **watch}
    workspace.ask("remember", {scheduler_session.META_ENVIRONMENT: captured.digest, **remembered})
    submitted = workspace.submit_drafts(submission.drafts, named=submission.named, rerun=rerun)
    warnings = [*workspace.loaded.warnings, *found.warnings, *(str(problem) for problem in found.problems)]
    session = None if running or foreground else open_scheduler(workspace)
    already = running or (session is None and not foreground)  # in the meantime, by somebody else
    sources = live_file.LiveSources()
    if watch and not foreground:
        sources = looked_at_sources(workspace, before)
        warnings += [
            text for text in (*sources.problems, *sources.unwritten, *sources.warnings) if text not in warnings
        ]
    return Started(
        submitted=submitted,
        session=session,
        already_running=already,
        gpu_note=note,
        sources=sources,
        warnings=warnings,
    )


def looked_at_sources(workspace: Workspace, before: live_file.LiveSources) -> live_file.LiveSources:
    """Have the running scheduler look at the files of all job sources; what came since `before`.

    What takes longer than the scheduler is given here is found all the same, a little later.
    """
    number = int(workspace.ask("look", {}).get("looks", 0))
    deadline = _clock.monotonic() + START_TIMEOUT_S
    now = _sources(workspace)
    while now.looks < number and _clock.monotonic() < deadline and asking.scheduler(workspace.paths) is not None:
        _clock.sleep(POLL_S)
        now = _sources(workspace)
    fresh = {name: getattr(now, name) - getattr(before, name) for name in _COUNTS}
    return msgspec.structs.replace(now, **{name: max(count, 0) for name, count in fresh.items()})


_COUNTS = ("queued", "done_before", "withdrawn", "again")


def _sources(workspace: Workspace) -> live_file.LiveSources:
    live = live_file.read(workspace.paths.live)
    return live_file.LiveSources() if live is None else live.sources


def _still_at_work(workspace: Workspace) -> bool:
    """Whether a scheduler runs and goes on; one that is about to end is waited for."""
    if asking.scheduler(workspace.paths) is None:
        return False
    if not workspace.ask("resume", {}).get("ending", False):
        return True
    deadline = _clock.monotonic() + START_TIMEOUT_S
    while asking.scheduler(workspace.paths) is not None and _clock.monotonic() < deadline:
        _clock.sleep(POLL_S)
    return asking.scheduler(workspace.paths) is not None


META_STOPPED = "stopped_by"
"""Who stopped the scheduler by hand: `add` then queues without starting it again."""


def was_stopped(workspace: Workspace) -> bool:
    """Whether somebody stopped the scheduler on purpose."""
    with workspace.reader() as reader:
        return bool(reader.meta().get(META_STOPPED))


def open_scheduler(workspace: Workspace) -> str | None:
    """Open the scheduler's session and wait until it is at work; None = one was running already.

    Raises HostUnreachable with the scheduler's own last words when it does not come up.
    """
    with scheduler_session.one_opening(workspace.paths, START_TIMEOUT_S):
        return None if asking.scheduler(workspace.paths) is not None else _open_scheduler(workspace)


def _open_scheduler(workspace: Workspace) -> str:
    scheduler_session.forget_last_words(workspace.paths)
    parts = Parts(workspace.paths, workspace.settings, os.environ)
    try:
        workspace.ask("remember", {META_SOCKET: parts.socket})
        session = scheduler_session.open_session(parts)
    finally:
        parts.close()
    deadline = _clock.monotonic() + START_TIMEOUT_S
    while asking.scheduler(workspace.paths) is None:
        words = scheduler_session.last_words(workspace.paths)
        if words:
            raise HostUnreachable(f"the scheduler did not start: {words}")
        if _clock.monotonic() > deadline:
            raise HostUnreachable(
                f"the scheduler did not start within {START_TIMEOUT_S:g} s",
                hint=f"look at it with `tmux attach -t {session}`, or run `rfsched start --foreground`",
            )
        _clock.sleep(POLL_S)
    # Its first look is done when it has written down what it sees: whoever asks next sees jobs on GPUs.
    while live_file.read(workspace.paths.live) is None and _clock.monotonic() < deadline:
        if asking.scheduler(workspace.paths) is None:
            break
        _clock.sleep(POLL_S)
    return session


class Stopped(msgspec.Struct, kw_only=True):
    """What `stop` left behind."""

    was_running: bool
    running: list[str] = msgspec.field(default_factory=list)
    """Jobs that run on."""
    queued: int = 0


def stop(workspace: Workspace, *, drain: bool = False, timeout_s: float | None = None) -> Stopped:
    """End the scheduler; running jobs run on. `drain` = wait until they have ended. Raises TimeoutError."""
    if asking.scheduler(workspace.paths) is None:
        return Stopped(was_running=False)
    workspace.ask("remember", {META_STOPPED: asking.whoami()})
    reply = workspace.ask("stop", {"drain": drain})
    deadline = _clock.monotonic() + (timeout_s if timeout_s is not None else float("inf") if drain else 30.0)
    while asking.scheduler(workspace.paths) is not None:
        if _clock.monotonic() > deadline:
            raise TimeoutError("the scheduler is still at work")
        _clock.sleep(POLL_S)
    return Stopped(was_running=True, running=list(reply.get("running", [])), queued=int(reply.get("queued", 0)))


class Killed(msgspec.Struct, kw_only=True):
    """What `kill-all` did."""

    scheduler: bool
    jobs: list[str]
    sessions: list[str]
    left: list[str] = msgspec.field(default_factory=list)
    """Jobs whose processes could not be killed."""
    queued: int = 0


def kill_all(workspace: Workspace) -> Killed:
    """End the scheduler, then this workspace's jobs, then its tagged sessions. Nobody else's are touched."""
    had_scheduler = _end_scheduler(workspace)
    with workspace_lock.acquire(workspace.paths, "cli", wait_s=10.0) as lock:
        parts = Parts(workspace.paths, workspace.usable_settings, os.environ)
        try:
            return _kill_jobs(parts, lock, had_scheduler)
        finally:
            parts.close()


def _end_scheduler(workspace: Workspace) -> bool:
    """Politely, then by force: its keeper is in the same session, which is closed afterwards."""
    holder = asking.scheduler(workspace.paths)
    if holder is None:
        return False
    try:
        stop(workspace, timeout_s=5.0)
    except (TimeoutError, StoreError):
        again = asking.scheduler(workspace.paths)
        if again is not None and again.host == os.uname().nodename:
            os.kill(again.pid, signal.SIGKILL)
    return True


def _kill_jobs(parts: Parts, lock: workspace_lock.Lock, had_scheduler: bool) -> Killed:
    engine = parts.engine(listen=False)
    workspace_lock.refuse_foreign_attempts(engine.workload.attempts.values(), lock)
    engine.stopping = True
    engine.tick()
    ids = sorted({key[0] for key in engine.workload.attempts})
    names = [engine.workload.jobs[job_id].name for job_id in ids]
    engine.cancel(ids, by="scheduler")
    deadline = _clock.monotonic() + engine.rules.stop_grace_s + 45.0
    while engine.workload.attempts and _clock.monotonic() < deadline:
        engine.tick(engine.waiter.wait(0.05))
    left = [engine.workload.jobs[key[0]].name for key in engine.workload.attempts]
    show_states(parts, engine)
    snapshot = engine.sessions(fresh=True)
    sessions = sorted(snapshot.by_name.values(), key=lambda s: s.name) if isinstance(snapshot, Sessions) else []
    engine.host.close_sessions([(session.name, session.tag) for session in sessions])
    return Killed(
        scheduler=had_scheduler,
        jobs=names,
        sessions=[session.name for session in sessions],
        left=left,
        queued=engine.workload.queue_length,
    )


def _way_out(good: int, problems: Sequence[Problem]) -> list[Problem]:
    """What may be typed when only some of the configs are bad."""
    if not good or any(problem.file is None for problem in problems):
        return []
    hint = f"`rfsched start --skip-bad` queues the other {good}" if good > 1 else "`rfsched start --skip-bad` queues it"
    message = f"nothing was queued, although {counted(good, 'config is', 'configs are')} good"
    return [Problem(message=message, hint=hint)]


def _gpu_note(workspace: Workspace) -> str:
    """Look at the GPUs before anything is queued: a `gpu_count` that cannot be had is told at once."""
    parts = Parts(workspace.paths, workspace.settings, os.environ)
    try:
        found = parts.look_at_gpus()
        return "\n".join([found.note, *found.warnings])
    finally:
        parts.close()


def _check_log_dir(workspace: Workspace) -> None:
    settings = workspace.settings
    if not settings.enable_logging:
        return
    directory = resolve_places(workspace.paths, settings).log_dir
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        place = workspace.loaded.origins.get("log_dir", "default")
        fact = f"{directory} cannot be written: {(error.strerror or str(error)).lower()}"
        inside = directory.startswith(workspace.paths.root + os.sep)
        message = f"the log directory {fact}" if place == "default" else f"log_dir {fact} (set in {place})"
        hint = "`rfsched config set log_dir logs` keeps the logs in the workspace"
        if inside and not os.access(workspace.paths.root, os.W_OK):
            hint = "a workspace must be writable; copy it to a place that is"
        raise ConfigError([Problem(message=message, file=workspace.paths.config, hint=hint)]) from None


__all__ = ["Killed", "Started", "Stopped", "WorkspaceBusy", "kill_all", "open_scheduler", "ready", "start", "stop"]
