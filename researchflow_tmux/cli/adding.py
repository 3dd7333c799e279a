"""add, run and wait: any command as a job."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from researchflow_tmux.cli.jobargs import Number, complete_jobs, jobs_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from researchflow_tmux.api.adding import Added, AddedMany, SchedulerWord, Wish
    from researchflow_tmux.api.command_lines import Command
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.domain.arrays import Indices
    from researchflow_tmux.domain.job import Job

PART = Number(0, 1, min_open=True)
PERCENT = Number(0, 100, min_open=True)
F = TypeVar("F", bound=Callable[..., Any])
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The command's own options are the command's: parsing ends at its first word.
_COMMAND = {"allow_interspersed_args": False}


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    from researchflow_tmux.domain.units import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _mib(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    from researchflow_tmux.domain.units import parse_size

    if value is None:
        return None
    try:
        size = math.ceil(parse_size(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if size <= 0:
        raise click.BadParameter("must be more than 0")
    return size


def _read_by(kind: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Takes what `parse_KIND` of the hardware can read, as it is written."""

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        from researchflow_tmux.domain import hardware

        try:
            if value is not None:
                getattr(hardware, f"parse_{kind}")(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        return value

    return convert


def _variables(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not _VARIABLE.fullmatch(name):
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
        found[name] = text
    return found


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    from researchflow_tmux.adapters.deadlines import parse_deadline

    try:
        return None if value is None else parse_deadline(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not sign:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE")
        found[key] = text
    return found


def _indices(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Indices | None:
    from researchflow_tmux.domain.arrays import parse_indices

    if value is None:
        return None
    try:
        return parse_indices(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _wishes(function: F) -> F:
    """The options of `add` and `run`."""
    options = [
        click.option("--gpus", type=click.IntRange(0, 1024), default=1, show_default=True, help="GPUs; 0 = a CPU job."),
        click.option("--share", type=PART, metavar="PART", help="Part of each GPU, such as 0.5."),
        click.option(
            "--gpu-memory", "gpu_memory_mib", callback=_mib, metavar="SIZE", help="Memory to keep for it: 12GiB."
        ),
        click.option("--max-memory", type=PERCENT, metavar="PCT", help="Only where less of the memory is in use."),
        click.option("--max-util", type=PERCENT, metavar="PCT", help="Only where less was busy over the last 60 s."),
        click.option("--min-free-memory", callback=_mib, metavar="SIZE", help="Only where this much is free: 10GiB."),
        click.option(
            "--gpu-type", callback=_read_by("types"), metavar="TYPE", help="Only on such: A100, 'A100|H100', 'RTX*'."
        ),
        click.option(
            "--min-gpu-memory", callback=_read_by("memory"), metavar="SIZE", help="Only on GPUs so large: 40GiB."
        ),
        click.option(
            "--compute-capability", callback=_read_by("capability"), metavar="N.N", help="At least this: 8.0."
        ),
        click.option(
            "--topology",
            callback=_read_by("topology"),
            metavar="LINK",
            help="Of several GPUs: nvlink, same_switch, same_numa; 'nvlink!' waits for it.",
        ),
        click.option("--cpus", type=click.IntRange(min=1), metavar="N", help="CPU cores of its own."),
        click.option(
            "--memory", "memory_mib", callback=_mib, metavar="SIZE", help="Stop it above this much memory: 16GiB."
        ),
        click.option("--name", help="What to call it; default: the program and four digits."),
        click.option("--time-limit", callback=_seconds, metavar="TIME", help="Stop it after this: 90m, 12h, 2d."),
        click.option("--priority", type=int, default=0, metavar="N", help="Higher starts first; default 0."),
        click.option("--project", metavar="NAME", help="Whose share of the GPUs it uses, if a `policy` is chosen."),
        click.option("--deadline", callback=_moment, metavar="WHEN", help="For `policy: balanced`: 2026-12-01 18:00."),
        click.option(
            "--preemptible/--no-preemptible", default=None, help="May be stopped and resumed for one with a deadline."
        ),
        click.option("--retries", type=click.IntRange(min=0), metavar="N", help="Further attempts after a failure."),
        click.option("--verify", metavar="CHECK", help="Ask this command (or module:function) whether it succeeded."),
        click.option("--verify-timeout", callback=_seconds, metavar="TIME", help="For --verify; default 5m."),
        click.option(
            "--success",
            type=click.Choice(("no_error_only", "no_error_and_verify", "verify_only", "always")),
            help="What counts as a success; default: no error, and verified if there is a --verify.",
        ),
        click.option(
            "--after", multiple=True, metavar="JOB", shell_complete=complete_jobs, help="Start when JOB has succeeded."
        ),
        click.option(
            "--when",
            type=click.Choice(("success", "failure", "always")),
            default="success",
            help="With --after: start when all have succeeded (default), when one failed, or when all have ended.",
        ),
        click.option("--group", metavar="G", help="A group, named as @G in other commands."),
        click.option(
            "--label", "labels", multiple=True, callback=_labels, metavar="K=V", help="A label, named as @K=V."
        ),
        click.option("--env", multiple=True, callback=_variables, metavar="K=V", help="A variable for this job."),
        click.option(
            "--workdir",
            type=click.Path(exists=True, file_okay=False),
            metavar="DIR",
            help="Where it runs; default: here.",
        ),
        click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND..."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _wish(given: dict[str, Any], *, held: bool = False) -> Wish:
    from researchflow_tmux.api.adding import Wish
    from researchflow_tmux.domain.limits import GpuLimits

    time_limit_s = given.pop("time_limit")
    verify_timeout_s = given.pop("verify_timeout")
    limits = GpuLimits(
        max_memory_pct=given.pop("max_memory"),
        max_util_pct=given.pop("max_util"),
        min_free_mib=given.pop("min_free_memory"),
    )
    return Wish(time_limit_s=time_limit_s, verify_timeout_s=verify_timeout_s, limits=limits, held=held, **given)


@click.command(context_settings=_COMMAND)
@_wishes
@click.option("--no-start", is_flag=True, help="Only queue it; leave the scheduler as it is.")
@click.option("--hold", "held", is_flag=True, help="Queue it held; `rfsched release` lets it start.")
@click.option(
    "--array", callback=_indices, metavar="RANGE", help="One job for each index: 0-9, 0-99%8 (8 at a time), 1,3,5-7."
)
@json_option
@pass_chosen
def add(
    chosen: Chosen,
    /,
    command: tuple[str, ...],
    no_start: bool,
    held: bool,
    array: Indices | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Queue any command as a job; it runs here, in this shell's environment.

    With --array it is many jobs: {index} in the command is the index, as is $RFSCHED_ARRAY_INDEX. The command `-` means
    one command a line from standard input, as in a text job file: ## begins a comment, #@ gpus=2 asks for the next one.

    \b
    rfsched add -- python train.py --lr 0.1
    rfsched add --gpus 0 --name prep -- 'tar xf data.tar && python prepare.py'
    rfsched add --after prep --time-limit 2h -- python train.py
    rfsched add --array 0-99%8 --name seeds -- python train.py --seed {index}
    rfsched add --group night - < commands.txt
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.api.adding import add as queue
    from researchflow_tmux.api.adding import add_array, add_lines

    workspace = chosen.workspace()
    wish, may_start = _wish(given, held=held), not no_start
    if command == ("-",):
        many = add_lines(workspace, _commands(array), wish, may_start=may_start)
    elif array is not None:
        many = add_array(workspace, command, wish, array, may_start=may_start)
    else:
        added = queue(workspace, command, wish, may_start=may_start)
        if as_json:
            print_json("add", added)
        else:
            _tell(added, held=held)
        tell_notes(added.notes)
        tell_impossible(workspace, [added.id])
        return
    if as_json:
        print_json("add-many", many)
    else:
        _tell_many(many, held=held)
    tell_notes(many.notes)
    tell_impossible(workspace, many.ids[:1])


def _commands(array: Indices | None) -> Sequence[Command]:
    """The commands on standard input. Raises UsageError when there are none, ConfigError for lines that are none."""
    from researchflow_tmux.api.command_lines import read
    from researchflow_tmux.domain.errors import UsageError

    if array is not None:
        raise UsageError("--array is for one command, `-` for many", hint="leave one of them out")
    found = read(sys.stdin.buffer.read())
    if found.marked:
        click.echo(f"{count(found.marked, 'line')} marked as running or ended (!, #, ?) left out", err=True)
    if not found.commands:
        raise UsageError("standard input has no command: nothing was queued", hint="write one command a line")
    return found.commands


def _tell_many(many: AddedMany, *, held: bool) -> None:
    first, last = many.ids[0], many.ids[-1]
    jobs = f"{count(len(many.ids), 'job')} {'held' if held else 'queued'}"
    ids = f" (ids {first} to {last})" if last > first else ""
    click.echo(f"{jobs}: {names(many.names, 4)}{ids}")
    tell_scheduler(many.scheduler, many.session, err=False)
    if many.group is not None:
        click.echo(f"follow them: rfsched status @{many.group}   (or `rfsched wait @{many.group}`)")


def _tell(added: Added, *, held: bool) -> None:
    click.echo(f"job {added.id} {'held' if held else 'queued'}: {added.name}")
    tell_scheduler(added.scheduler, added.session, err=False)
    if held:
        click.echo(f"let it start: rfsched release {added.id}")
    else:
        click.echo(f"follow it: rfsched logs -f {added.id}   (or `rfsched attach {added.id}`)")


def tell_notes(notes: Sequence[str]) -> None:
    """Say what is contradictory about what was queued."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def tell_impossible(workspace: Workspace, job_ids: Sequence[int]) -> bool:
    """Say at once what would otherwise wait for ever; True = there is such a job."""
    found = workspace.impossible(job_ids)
    for name, reason in found.items():
        click.echo(f"note: {name}: {reason}", err=True)
    return bool(found)


def tell_scheduler(scheduler: SchedulerWord, session: str | None, *, err: bool) -> None:
    """Say what became of the scheduler, where that is news."""
    match scheduler:
        case "started":
            click.echo(f"scheduler started in session {session}", err=err)
        case "stopped_by_hand":
            click.echo("the scheduler was stopped by hand and stays so: `rfsched start` goes on", err=err)
        case "not_running":
            click.echo("no scheduler is running: `rfsched start` starts it", err=err)
        case "running":
            pass


@click.command(context_settings=_COMMAND)
@_wishes
@pass_chosen
@click.pass_context
def run(ctx: click.Context, chosen: Chosen, /, command: tuple[str, ...], **given: Any) -> None:
    """Queue a command, print its output as it comes, and return its exit code (128 + signal if one ended it).

    Ctrl-C leaves the job alone: it runs on.
    """
    from researchflow_tmux.api.adding import add as queue
    from researchflow_tmux.api.adding import job_of
    from researchflow_tmux.api.following import exit_code
    from researchflow_tmux.cli.looking import follow_job

    workspace = chosen.workspace()
    added = queue(workspace, command, _wish(given))
    click.echo(f"[job {added.id} queued: {added.name}]", err=True)
    tell_scheduler(added.scheduler, added.session, err=True)
    tell_notes(added.notes)
    if tell_impossible(workspace, [added.id]):
        workspace.cancel([str(added.id)])
        ctx.exit(2)
    try:
        follower = follow_job(workspace, job_of(workspace, added), tail=None, raw=False)
    except KeyboardInterrupt:
        click.echo(f"\n[{added.name} goes on without you; end it with `rfsched cancel {added.id}`]", err=True)
        ctx.exit(130)
    ctx.exit(exit_code(follower.job, follower.attempt))


@click.command()
@jobs_argument(required=False)
@click.option("--timeout", callback=_seconds, metavar="TIME", help="Give up after this (exit code 124).")
@json_option
@pass_chosen
@click.pass_context
def wait(ctx: click.Context, chosen: Chosen, jobs: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    """Block until these jobs (default: all) have ended. Exit code 0 if every one succeeded, else 1.

    A job for the case of a failure that did not come about counts as one that succeeded.
    """
    from researchflow_tmux.api.ends import until_ended

    workspace = chosen.workspace()
    wanted = workspace.jobs(jobs)
    held = [job.name for job in wanted if job.state == "held"]
    if held:
        click.echo(f"held, so this waits until somebody releases them: {names(held)}", err=True)
    tell_impossible(workspace, [job.id for job in wanted if job.state == "queued"])
    ended = until_ended(workspace, [job.id for job in wanted], timeout)
    good = [job for job in ended if job.state == "succeeded"]
    idle = [job for job in ended if job.not_needed]
    bad = [job for job in ended if job.state != "succeeded" and not job.not_needed]
    if as_json:
        print_json("wait", [_row(job) for job in ended])
    else:
        spared = f", {len(idle)} not needed" if idle else ""
        click.echo(f"{count(len(ended), 'job')} ended, {len(good)} succeeded{spared}")
        for job in bad:
            click.echo(f"{job.name}: {job.reason or job.state}")
    ctx.exit(1 if bad else 0)


def _row(job: Job) -> dict[str, Any]:
    reason = None if job.reason is None else str(job.reason)
    return {"id": job.id, "name": job.name, "state": str(job.state), "reason": reason, "exit_code": job.exit_code}
