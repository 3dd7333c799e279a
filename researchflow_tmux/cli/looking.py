"""attach and logs: a job's screen, or what it left of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from researchflow_tmux.cli.jobargs import job_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen

if TYPE_CHECKING:
    from researchflow_tmux.api.following import Follower
    from researchflow_tmux.api.sessions import InSession
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.domain.attempt import Attempt
    from researchflow_tmux.domain.job import Job


@click.command()
@job_argument(required=False)
@pass_chosen
def attach(chosen: Chosen, job: str | None) -> None:
    """Open a job's session in this terminal; without JOB the scheduler's. Leave it with Ctrl-b d.

    Inside tmux the client is switched. Where the session is gone, the log is shown instead.
    """
    from researchflow_tmux.api.sessions import InLog, InSession, job_place, scheduler_place

    workspace = chosen.workspace()
    found = None if job is None else workspace.job(job)
    place = scheduler_place(workspace) if found is None else job_place(workspace, found)
    match place:
        case InSession():
            _enter(place, job)
        case InLog(path=path, why=why):
            click.echo(f"{why}; its log:", err=True)
            if found is None or found.state.ended:
                print_log(path, None, raw=False)
            else:
                follow_job(workspace, found, tail=None, raw=False)
        case _:
            click.echo(place.why)


def _enter(place: InSession, job: str | None) -> None:
    """Become tmux."""
    from researchflow_tmux.domain.errors import UsageError

    if place.note:
        click.echo(place.note, err=True)
    target = f"={place.session}:"
    inside = os.environ.get("TMUX", "").rpartition(",")[0].rpartition(",")[0]
    if inside and os.path.realpath(inside) == os.path.realpath(place.socket):
        _become_tmux(["tmux", "-S", place.socket, "switch-client", "-t", target])
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            f"session {place.session} can only be shown in a terminal",
            hint=f"type `tmux -S {place.socket} attach -t {place.session}` in one, or `rfsched logs {job or ''}`",
        )
    os.environ.pop("TMUX", None)  # inside another server: tmux would refuse for fear of nesting one in itself
    _become_tmux(["tmux", "-S", place.socket, "attach-session", "-t", target])


def _become_tmux(command: list[str]) -> None:
    from researchflow_tmux.domain.errors import HostUnreachable

    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - this process becomes tmux; no shell is wanted
    except OSError as error:
        raise HostUnreachable(f"tmux cannot be started: {error.strerror}") from error


@click.command()
@job_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended, over its retries.")
@click.option("-n", "--lines", "tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="K", help="The log of attempt K, not of the last one.")
@click.option("--raw", is_flag=True, help="Every byte as the job wrote it, with all states of progress bars.")
@pass_chosen
def logs(chosen: Chosen, job: str | None, follow: bool, tail: int | None, attempt: int | None, raw: bool) -> None:
    """Print a job's log as it was seen on its screen; without JOB the scheduler's log.

    Of several jobs (@group, a glob) the logs come one after another.
    """
    workspace = chosen.workspace()
    if job is None:
        _scheduler_log(workspace, tail, follow=follow, raw=raw)
        return
    several = workspace.jobs([job])
    if len(several) > 1 and not follow:
        _logs_of(workspace, several, tail, attempt, raw=raw)
        return
    found = workspace.job(job)
    if follow and attempt is None and not found.state.ended:
        follow_job(workspace, found, tail=tail, raw=raw)
        return
    print_log(_log_path(found, _attempt(workspace, found, attempt)), tail, raw=raw)


def _logs_of(workspace: Workspace, jobs: Sequence[Job], tail: int | None, attempt: int | None, *, raw: bool) -> None:
    """The logs of several jobs one after another, each under its name; what is missing is said in its place."""
    from researchflow_tmux.domain.errors import UsageError

    for job in jobs:
        write(f"==> {job.name} (job {job.id}, {job.state}) <==\n".encode(errors="replace"))
        sys.stdout.flush()
        try:
            print_log(_log_path(job, _attempt(workspace, job, attempt)), tail, raw=raw)
        except UsageError as error:
            click.echo(f"[{error.message}]", err=True)


def _attempt(workspace: Workspace, job: Job, number: int | None) -> Attempt:
    from researchflow_tmux.domain.errors import UsageError

    with workspace.reader() as reader:
        attempts = reader.attempts_of(job.id)
    if not attempts:
        raise UsageError(
            f"{job.name} never ran: it has no log", hint=f"`rfsched why {job.name}` says what it waits for"
        )
    found = attempts[-1] if number is None else next((each for each in attempts if each.number == number), None)
    if found is None:
        numbers = ", ".join(str(each.number) for each in attempts)
        raise UsageError(f"{job.name} has no attempt {number}", hint=f"it has: {numbers}")
    return found


def _log_path(job: Job, attempt: Attempt) -> str:
    from researchflow_tmux.domain.errors import UsageError

    if attempt.log is None:
        hint = "`rfsched config set enable_logging true` turns logs on for later attempts"
        raise UsageError(f"attempt {attempt.number} of {job.name} wrote no log: enable_logging was off", hint=hint)
    return attempt.log


def _scheduler_log(workspace: Workspace, tail: int | None, *, follow: bool, raw: bool) -> None:
    from researchflow_tmux.adapters.scheduler_log import log_path

    path = log_path(workspace.paths, workspace.settings)
    if not follow:
        print_log(path, tail, raw=raw)
        return
    import threading

    from researchflow_tmux.api.logs import Growing

    growing, pause = Growing(path, tail), threading.Event()
    while True:
        for line in growing.read():
            write(line)
        sys.stdout.flush()
        pause.wait(0.1)


def print_log(path: str, tail: int | None, *, raw: bool) -> None:
    """Print a log file. Raises UsageError when it is gone."""
    from researchflow_tmux.api.logs import CHUNK, last_lines, seen
    from researchflow_tmux.domain.errors import UsageError

    try:
        file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise UsageError(f"{path} is not there", hint="it was moved or removed, or nothing was written yet") from None
    with file:
        if tail is not None:
            last_lines(file, tail)
        for part in iter(lambda: file.read(CHUNK), b"") if raw else seen(file):
            write(part)
    sys.stdout.flush()


def follow_job(workspace: Workspace, job: Job, *, tail: int | None, raw: bool) -> Follower:
    """Print a job's log until the job has ended; what happens to it meanwhile goes to stderr."""
    from researchflow_tmux.api.following import Follower, Said

    follower = Follower(workspace, job, tail=tail, raw=raw)
    try:
        for part in follower.lines():
            if isinstance(part, Said):
                click.echo(f"[{part.text}]", err=True)
            else:
                write(part)
                sys.stdout.flush()
    finally:
        follower.close()
    click.echo(f"[{follower.job.name}: {follower.job.reason or follower.job.state}]", err=True)
    return follower


def write(data: bytes) -> None:
    """Bytes of a log to standard output, as they are."""
    sys.stdout.buffer.write(data)
