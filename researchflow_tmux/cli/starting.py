"""setup, start, stop, kill-all, and the scheduler itself."""

from __future__ import annotations

import sys

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json


@click.command()
@click.argument("directory", metavar="WORKSPACE")
@click.option("--force", is_flag=True, help="Also convert a directory that is in use; what is replaced is backed up.")
def setup(directory: str, force: bool) -> None:
    """Make WORKSPACE a workspace: config, example jobs, a training script that runs.

    With --force, a workspace of the bash scheduler is converted: configs, values and comments stay.
    """
    from researchflow_tmux.adapters.template import setup as make
    from researchflow_tmux.cli.setup_report import show_report

    show_report(make(directory, force=force), directory)


@click.command()
@click.argument("configs", required=False, metavar="[CONFIG_LIST]")
@click.argument("gpus", required=False, metavar="[GPU_LIST]")
@click.option("--rerun", is_flag=True, help="Run even what is done (marker there) or failed.")
@click.option("--no-configs", is_flag=True, help="Only make sure that the scheduler runs.")
@click.option("--skip-bad", is_flag=True, help="Queue the good configs although others have problems.")
@click.option("--foreground", is_flag=True, help="Be the scheduler in this terminal, without a session of its own.")
@click.option("--simulate", is_flag=True, help="Show what would start when and where; change nothing.")
@click.option("--max-memory", metavar="PCT", help="Set max_memory in scheduler_config.yml before, e.g. 80.")
@click.option("--max-util", metavar="PCT", help="Set max_util before.")
@click.option("--grace-period", metavar="TIME", help="Set grace_period before, in seconds or 3m.")
@json_option
@pass_chosen
def start(
    chosen: Chosen,
    /,
    configs: str | None,
    gpus: str | None,
    rerun: bool,
    no_configs: bool,
    skip_bad: bool,
    foreground: bool,
    simulate: bool,
    as_json: bool,
    **thresholds: str | None,
) -> None:
    """Queue configs and make sure that the scheduler runs.

    \b
    rfsched start                             every config; done ones are skipped
    rfsched start "a.yml,b.yml" "0,1"         a on GPU 0, b on GPU 1
    rfsched start --max-memory 80             from now on only on GPUs with less of their memory in use
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.adapters.sources.selection import split_list
    from researchflow_tmux.api import control
    from researchflow_tmux.cli.adding import tell_impossible, tell_notes

    workspace = chosen.workspace()
    if configs is not None and not configs.strip():
        raise click.UsageError("CONFIG_LIST is empty; leave it out to queue every config")
    chosen_settings = {key: value for key, value in thresholds.items() if value is not None}
    if simulate and chosen_settings:
        raise click.UsageError("--simulate changes nothing, and settings neither")
    for key, value in chosen_settings.items():
        old = workspace.set(key, value)
        click.echo(f"{key}: {old or 'not set'} → {value}", err=as_json)
    names = None if configs is None else split_list(configs)
    pins = split_list(gpus)
    if simulate:
        from researchflow_tmux.cli.simulating import show_simulation

        show_simulation(workspace, names, pins, rerun=rerun, as_json=as_json)
        return
    result = control.start(
        workspace, names, pins, rerun=rerun, configs=not no_configs, skip_bad=skip_bad, foreground=foreground
    )
    if as_json:
        print_json("start", result)
    else:
        _tell_started(result)
    tell_notes(result.submitted.notes)
    tell_impossible(workspace, result.submitted.ids)
    if foreground:
        _be_the_scheduler(chosen, foreground=True)


def _tell_started(result: object) -> None:
    from researchflow_tmux.api.control import Started

    assert isinstance(result, Started)
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    if result.gpu_note:
        click.echo(result.gpu_note)
    said = result.submitted
    scheduler = "scheduler was running already" if result.already_running else "scheduler started"
    found = result.sources
    done_before = len(said.done_before) + found.done_before
    parts = [f"{len(said.queued) + found.queued} queued"]
    parts += [f"{found.again} queued again"] if found.again else []
    parts += [f"{found.withdrawn} withdrawn"] if found.withdrawn else []
    parts += [f"{len(said.under_way)} under way"] if said.under_way else []
    parts += [f"{done_before} done before"] if done_before else []
    click.echo(f"{scheduler}, {', '.join(parts)}")
    if said.skipped:
        click.echo(f"{len(said.skipped)} skipped, because what they wait for did not succeed: {names(said.skipped)}")
    if said.unmarked:
        click.echo(f"done before, but the marker is gone: {names(said.unmarked)}; `rfsched requeue JOB` runs one again")
    if said.left_failed:
        click.echo(f"{len(said.left_failed)} failed before and were left alone: `rfsched requeue --failed` queues them")
    if said.left_cancelled:
        some = " ".join(said.left_cancelled[:5])
        click.echo(f"{len(said.left_cancelled)} cancelled before and were left alone: `rfsched requeue {some}`")
    if result.session:
        click.echo(f"watch it: tmux attach -t {result.session}   (or `rfsched status --watch`)")


@click.command()
@click.option("--wait", "drain", is_flag=True, help="Start nothing new and wait until running jobs have ended.")
@click.option("--timeout", type=float, metavar="SECONDS", help="With --wait: give up waiting after this.")
@pass_chosen
def stop(chosen: Chosen, drain: bool, timeout: float | None) -> None:
    """End the scheduler: nothing new starts. Running jobs run on."""
    from researchflow_tmux.api import control

    result = control.stop(chosen.workspace(), drain=drain, timeout_s=timeout)
    if not result.was_running:
        click.echo("no scheduler is running")
        return
    click.echo("scheduler stopped")
    if result.running and not drain:
        verb = "runs" if len(result.running) == 1 else "run"
        click.echo(f"{count(len(result.running), 'job')} {verb} on: {names(result.running)}")
        click.echo("end them with `rfsched cancel JOB…` or `rfsched kill-all`")
    if result.queued:
        click.echo(f"still queued: {count(result.queued, 'job')}; `rfsched start` goes on")


@click.command("kill-all")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_chosen
def kill_all(chosen: Chosen, yes: bool, as_json: bool) -> None:
    """End the scheduler and every job of this workspace, and close its sessions. Nobody else's are touched."""
    from researchflow_tmux.api import control

    workspace = chosen.workspace()
    workspace.reader().close()
    if not yes and sys.stdin.isatty():
        click.confirm(f"End the scheduler and all running jobs of {workspace.paths.root}?", abort=True)
    result = control.kill_all(workspace)
    if as_json:
        print_json("kill-all", result)
        return
    ended = "scheduler ended, " if result.scheduler else ""
    click.echo(f"{ended}{count(len(result.jobs), 'job')} ended, {count(len(result.sessions), 'session')} closed")
    if result.left:
        click.echo(f"could not be killed: {', '.join(result.left)}", err=True)
    if result.queued:
        click.echo(f"still queued: {count(result.queued, 'job')}; `rfsched start` goes on")


@click.command("_scheduler", hidden=True)
@pass_chosen
def scheduler(chosen: Chosen) -> None:
    """Be the scheduler (runs in its session, under the keeper)."""
    _be_the_scheduler(chosen, foreground=False)


def _be_the_scheduler(chosen: Chosen, *, foreground: bool) -> None:
    from researchflow_tmux import daemon, scheduler_session
    from researchflow_tmux.cli.live_table import LiveTable

    paths = chosen.workspace().paths
    screen = LiveTable().draw if sys.stdout.isatty() else None
    try:
        daemon.run(paths, screen=screen, foreground=foreground)
    except Exception as error:
        # Nobody reads a pane that closes: `start` tells these words.
        scheduler_session.leave_last_words(paths, str(error) or repr(error))
        raise
