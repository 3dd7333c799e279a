"""cancel, requeue, hold, release: what people do to jobs by hand, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from researchflow_tmux.cli.jobargs import jobs_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.domain.job import Job

# What the answer's lists mean, said of one job and of several.
SAID = {
    "cancelled": "cancelled: {}",
    "stopping": "told to stop: {}",
    "ended": "had ended already: {}",
    "queued": "queued: {}",
    "waiting": "was waiting already: {}",
    "held": "held: {}",
}


def _tell(kind: str, done: dict[str, Any], jobs: Sequence[Job], *, as_json: bool) -> None:
    if as_json:
        print_json(kind, done)
        return
    states = {job.name: str(job.state) for job in jobs}
    for what, found in done.items():
        if not found:
            continue
        if what == "untouched":
            for name in found[:20]:
                click.echo(f"{name} is {states.get(name, 'gone')}: {_UNTOUCHED[kind]}")
        else:
            click.echo(SAID[what].format(names(found, 20)))
    if not any(done.values()):
        click.echo("no job is meant: nothing was changed")


_UNTOUCHED = {
    "hold": "only waiting jobs can be held (`rfsched cancel` stops a running one)",
    "release": "only held jobs can be released",
}


@click.command()
@jobs_argument(required=True)
@json_option
@pass_chosen
def cancel(chosen: Chosen, jobs: tuple[str, ...], as_json: bool) -> None:
    """Cancel waiting jobs and stop running ones; jobs that come after them are skipped."""
    workspace = chosen.workspace()
    found = workspace.jobs(jobs)
    done = workspace.cancel(jobs)
    _tell("cancel", done, found, as_json=as_json)
    if done.get("stopping") and not as_json:
        click.echo(f"they have {workspace.settings.stop_grace:g} s to end; `rfsched status` shows when they have")


@click.command()
@jobs_argument(required=False)
@click.option("--failed", "states", flag_value="failed", multiple=True, help="Every failed job.")
@click.option("--cancelled", "states", flag_value="cancelled", multiple=True, help="Every cancelled job.")
@click.option(
    "--running", "states", flag_value="running", multiple=True, help="Every running job: stopped, then queued."
)
@click.option("--fresh", is_flag=True, help="Begin at the start, without the checkpoints so far (they stay).")
@json_option
@pass_chosen
def requeue(chosen: Chosen, jobs: tuple[str, ...], states: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Queue ended jobs again, with new attempts. Running ones are stopped first; skipped followers come back too.

    A job that was not finished goes on from its newest checkpoint, if it has one; one that succeeded begins afresh.
    """
    from researchflow_tmux.domain.errors import UsageError

    if not jobs and not states:
        raise UsageError("requeue what?", hint="name jobs, or use --failed, --cancelled or --running")
    workspace = chosen.workspace()
    found = {job.id: job for job in workspace.jobs(jobs)} if jobs else {}
    if states:
        found |= {job.id: job for job in workspace.jobs() if job.state in states}
    chosen_jobs = [found[job_id] for job_id in sorted(found)]
    done = workspace.requeue(chosen_jobs, afresh=fresh) if chosen_jobs else {"queued": []}
    _tell("requeue", done, chosen_jobs, as_json=as_json)
    if any(done.values()) and not as_json:
        _note_no_scheduler(chosen)


def _note_no_scheduler(chosen: Chosen) -> None:
    from researchflow_tmux.api import asking

    if asking.scheduler(chosen.workspace().paths) is None:
        click.echo("no scheduler is running: `rfsched start` goes on with them")


@click.command()
@jobs_argument(required=True)
@json_option
@pass_chosen
def hold(chosen: Chosen, jobs: tuple[str, ...], as_json: bool) -> None:
    """Keep waiting jobs from starting until they are released."""
    workspace = chosen.workspace()
    found = workspace.jobs(jobs)
    _tell("hold", workspace.hold(jobs), found, as_json=as_json)


@click.command()
@jobs_argument(required=True)
@json_option
@pass_chosen
def release(chosen: Chosen, jobs: tuple[str, ...], as_json: bool) -> None:
    """Let held jobs start, at the place in the queue they had."""
    workspace = chosen.workspace()
    found = workspace.jobs(jobs)
    done = workspace.release(jobs)
    _tell("release", done, found, as_json=as_json)
    if done.get("queued") and not as_json:
        _note_no_scheduler(chosen)
