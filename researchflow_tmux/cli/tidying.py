"""clean, autostart, doctor, completion, version."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.adapters.doctor.check import Check
    from researchflow_tmux.api.workspace import Workspace
    from researchflow_tmux.domain.workspace import WorkspacePaths


@click.command()
@click.option("--older-than", required=True, metavar="TIME", help="Jobs that ended longer ago than this: 14d, 12h.")
@click.option("--yes", is_flag=True, help="Do it; without this nothing is removed.")
@json_option
@pass_chosen
def clean(chosen: Chosen, older_than: str, yes: bool, as_json: bool) -> None:
    """Forget jobs that ended long ago, with their attempts, history and logs. Shows what would go; --yes does it.

    Results, checkpoints and completion markers stay.
    """
    from researchflow_tmux.api.cleaning import clean as forget

    done = forget(chosen.workspace(), older_than, really=yes)
    if as_json:
        print_json("clean", done)
        return
    size = f"{done.bytes / 2**20:.1f} MiB"
    if not done.jobs:
        click.echo(f"no job ended more than {older_than} ago")
    elif yes:
        click.echo(
            f"removed {count(len(done.jobs), 'job')} ({names(done.jobs)}) and {count(done.files, 'file')}, {size}"
        )
    else:
        click.echo(f"would remove {count(len(done.jobs), 'job')}: {names(done.jobs, 40)}")
        click.echo(f"with their history, attempt directories and logs: {count(done.files, 'file')}, {size}")
        click.echo(f"do it: rfsched clean --older-than {older_than} --yes")
    if done.kept_configs:
        what = f"{count(len(done.kept_configs), 'job')} whose configs are still there and would run again"
        click.echo(f"kept: {what} ({names(done.kept_configs)})")
    if done.kept_outside:
        click.echo(f"left alone, as they are not in the log directory: {names(done.kept_outside)}", err=True)


@click.command()
@click.argument("what", type=click.Choice(["on", "off", "status"]), default="status")
@pass_chosen
def autostart(chosen: Chosen, what: str) -> None:
    """Bring this workspace's scheduler back after a reboot: one line of your crontab."""
    from researchflow_tmux.adapters import autostart as crontab

    paths = chosen.workspace().paths
    if what == "on":
        new = crontab.enable(paths.root, _autostart_command(paths))
        click.echo("autostart is on" if new else "autostart was on already")
        click.echo("a reboot brings the scheduler back, unless it was stopped by hand; off: `rfsched autostart off`")
    elif what == "off":
        click.echo("autostart is off" if crontab.disable(paths.root) else "autostart was off already")
    else:
        command = crontab.status(paths.root)
        click.echo("autostart is off" if command is None else f"autostart is on: {command}")


def _autostart_command(paths: WorkspacePaths) -> list[str]:
    return [sys.executable, "-m", "researchflow_tmux", "-w", paths.root, "-f", paths.config, "_autostart"]


@click.command("_autostart", hidden=True)
@pass_chosen
def autostart_now(chosen: Chosen) -> None:
    """What cron runs at the machine's start: the scheduler, as it was started last."""
    from researchflow_tmux import scheduler_session
    from researchflow_tmux.api import control

    workspace = chosen.workspace()
    if control.was_stopped(workspace):
        return
    scheduler_session.adopt_environment(workspace.paths)  # cron's own has hardly a PATH
    control.open_scheduler(workspace)


@click.command()
@json_option
@pass_chosen
@click.pass_context
def doctor(ctx: click.Context, chosen: Chosen, as_json: bool) -> None:
    """Check this machine (and the workspace, if there is one) and say what to do. Exit code 1 if a check fails."""
    checks = _checks(chosen)
    if as_json:
        print_json("checks", checks)
    else:
        _show_checks(checks)
    ctx.exit(1 if any(check.status == "fail" for check in checks) else 0)


def _checks(chosen: Chosen) -> list[Check]:
    from researchflow_tmux.adapters.doctor import run_checks
    from researchflow_tmux.adapters.doctor.check import Check
    from researchflow_tmux.domain.errors import ConfigError, RfschedError, UsageError

    try:
        workspace = chosen.workspace()
    except UsageError:
        if chosen.directory or chosen.config:
            raise
        return run_checks(None, None)
    paths = workspace.paths
    try:
        settings = workspace.settings
    except ConfigError as error:
        broken = Check(name="config", status="fail", fact=str(error), advice="correct scheduler_config.yml")
        return [broken, *run_checks(paths, None)]
    socket = None
    if os.path.exists(paths.database):
        try:
            with workspace.reader() as reader:
                socket = reader.meta().get("tmux_socket")
        except RfschedError:
            pass  # the checks of the workspace say so
    return [*run_checks(paths, settings, socket=socket), _config_check(workspace)]


def _config_check(workspace: Workspace) -> Check:
    """What `start` would say of the configs now."""
    from researchflow_tmux.adapters.doctor.check import Check
    from researchflow_tmux.domain.errors import ConfigError
    from researchflow_tmux.intake import submissions

    captured = submissions.capture()
    try:
        found = submissions.from_configs(workspace.paths, workspace.settings, captured.digest, captured.variables)
        problems = list(found.problems)
    except ConfigError as error:
        problems = list(error.problems)
    if problems:
        fact = "\n".join(str(problem) for problem in problems)
        return Check(name="configs", status="fail", fact=fact, advice="`rfsched start` would queue nothing")
    fact = f"{count(len(found.drafts), 'config')} can be queued"
    return Check(name="configs", status="ok", fact=fact, advice="")


def _show_checks(checks: list[Check]) -> None:
    from researchflow_tmux.cli.layout import Block, Cell, Table, line, show

    marks = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
    rows = []
    for check in checks:
        first, *rest = check.fact.splitlines() or [""]
        rows.append((Cell(*marks[check.status]), Cell(check.name, "bold"), Cell(first)))
        rows += [(Cell(""), Cell(""), Cell(text)) for text in rest]
        if check.advice:
            rows.append((Cell(""), Cell(""), Cell(f"→ {check.advice}", "dim")))
    bad = sum(check.status == "fail" for check in checks)
    doubtful = sum(check.status == "warn" for check in checks)
    verdict = f"{count(bad, 'check')} failed" if bad else "nothing stands in the way of jobs"
    blocks: list[Block] = [Table(rows), line(), line(f"{verdict}, {count(doubtful, 'warning')}", "bold")]
    show(blocks)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell; it also knows the names of your jobs.

    \b
    bash:  eval "$(rfsched completion bash)"                 in ~/.bashrc
    zsh:   eval "$(rfsched completion zsh)"                  in ~/.zshrc, after compinit
    fish:  rfsched completion fish > ~/.config/fish/completions/rfsched.fish
    """  # noqa: D301 - \b is click's "keep these lines"
    from click.shell_completion import get_completion_class

    from researchflow_tmux.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    maker = found(cli, {}, "rfsched", "_RFSCHED_COMPLETE")
    # Not .source(): for bash that runs bash to ask for its version.
    click.echo(maker.source_template % maker.source_vars())


@click.command()
def version() -> None:
    """Print the version."""
    from researchflow_tmux import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"rfsched {__version__} (Python {python}, {os.path.dirname(os.path.dirname(__file__))})")
