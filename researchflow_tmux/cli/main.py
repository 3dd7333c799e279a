"""`rfsched`: the group, its global options, and the one place that turns errors into exit codes.

Commands are imported only when they are called: `rfsched --help` costs hardly more than importing click.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from researchflow_tmux.api.workspace import Workspace

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (module, function, one line of help)
    "setup": ("starting", "setup", "Make a directory a workspace."),
    "start": ("starting", "start", "Queue configs and make sure that the scheduler runs."),
    "status": ("showing", "status", "Show jobs, GPUs and the scheduler."),
    "stop": ("starting", "stop", "End the scheduler; running jobs run on."),
    "kill-all": ("starting", "kill_all", "End the scheduler and all jobs of this workspace."),
    "config": ("configuring", "config", "Show the settings in force, or change one."),
    "attach": ("looking", "attach", "Open a job's session (or the scheduler's) in this terminal."),
    "logs": ("looking", "logs", "Print a job's log; -f follows it."),
    "why": ("explaining", "why", "Say why a job is where it is."),
    "plan": ("planning", "plan", "Foresee what starts when and where, and when it ends."),
    "add": ("adding", "add", "Queue any command as a job."),
    "sweep": ("sweeping", "sweep", "Queue the jobs that one file with variables stands for."),
    "pipeline": ("pipelining", "pipeline", "Queue what there is to do of one file with jobs that need each other."),
    "threadward": ("threadwarding", "threadward", "Run the tasks of a threadward project as jobs."),
    "run": ("adding", "run", "Queue a command, follow it, return its exit code."),
    "wait": ("adding", "wait", "Block until jobs have ended."),
    "cancel": ("changing", "cancel", "Cancel waiting jobs and stop running ones."),
    "requeue": ("changing", "requeue", "Queue ended jobs again."),
    "hold": ("changing", "hold", "Keep waiting jobs from starting."),
    "release": ("changing", "release", "Let held jobs start."),
    "set": ("setting", "set_values", "Change the priority, deadline, project … of jobs."),
    "project": ("projecting", "project", "Show and change what projects and users may have, and what they had."),
    "simulate": ("replaying", "simulate", "Replay a workload under scheduling policies and compare them."),
    "gpus": ("gpus", "gpus", "Show the GPUs; drain, enable, or clear them."),
    "history": ("explaining", "history", "Show what happened."),
    "export": ("exporting", "export", "Draw what ran, and count what it cost."),
    "results": ("results", "results", "Find runs by config and metrics; show, compare, draw them."),
    "checkpoint": ("checkpointing", "checkpoint", "List, check and keep checkpoints."),
    "hooks": ("hooking", "hooks", "List and try what is told to others about jobs."),
    "clean": ("tidying", "clean", "Remove old ended jobs; shows first what would go."),
    "autostart": ("tidying", "autostart", "Bring the scheduler back after a reboot."),
    "doctor": ("tidying", "doctor", "Check this machine and say what to do."),
    "demo": ("demonstrating", "demo", "Watch a workspace train real models on simulated GPUs."),
    "completion": ("tidying", "completion", "Print the shell completion script."),
    "version": ("tidying", "version", "Print the version."),
    "_scheduler": ("starting", "scheduler", ""),
    "_autostart": ("tidying", "autostart_now", ""),
}
ALIASES = {
    "ls": "status",
    "ps": "status",
    "kill": "cancel",
    "retry": "requeue",
    "pause": "hold",
    "resume": "release",
}
HIDDEN = frozenset({"_scheduler", "_autostart"})

EPILOG = """\b
JOB is a name, an id, a glob such as 'exp*', @group or @label=value.
Exit codes: 0 ok, 1 a job failed or a check did, 2 wrong usage, 3 bad config, 4 state not usable,
5 tmux not usable, 6 launch failed, 7 GPUs not readable, 124 timed out, 130 interrupted."""


class LazyGroup(click.Group):
    """Knows its commands by name; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a working day."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        from importlib import import_module

        module, function, _ = COMMANDS[name]
        command = getattr(import_module(f"researchflow_tmux.cli.{module}"), function)
        assert isinstance(command, click.Command)
        if not any(param.name == "workspace" for param in command.params):
            command.params.append(_workspace_anywhere())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with "did you mean" for a name that is none."""
        name = args[0]
        if ALIASES.get(name, name) not in COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, [*self.list_commands(ctx), *ALIASES], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"no command {name!r}{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, without importing any."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=COMMANDS[name][2])
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


def _workspace_anywhere() -> click.Option:
    """`-w DIR` after the command means the same as before it."""

    def choose(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value is not None:
            root = ctx.find_root()
            root.params["workspace"] = value
            if isinstance(root.obj, Chosen):
                root.obj.directory = value

    return click.Option(["-w", "--workspace"], hidden=True, expose_value=False, callback=choose)


class Chosen:
    """What the global options say; the workspace is found when a command asks for it."""

    def __init__(self, directory: str | None, config: str | None) -> None:
        self.directory = directory
        self.config = config

    def workspace(self) -> Workspace:
        """The workspace that is meant. Raises UsageError."""
        from researchflow_tmux.api.workspace import Workspace

        return Workspace(self.directory, self.config)


@click.group(cls=LazyGroup, invoke_without_command=True, epilog=EPILOG, context_settings={"max_content_width": 110})
@click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: here, or the nearest above).")
@click.option("-f", "--file", "config", metavar="FILE", help="A scheduler config with another name or place.")
@click.version_option(package_name="researchflow_tmux", message="rfsched %(version)s")
@click.pass_context
def cli(ctx: click.Context, workspace: str | None, config: str | None) -> None:
    """Training jobs as live tmux sessions on GPU slots: started at most once, never lost.

    Without a command, inside a workspace: status.
    """
    ctx.obj = Chosen(workspace, config)
    if ctx.invoked_subcommand is None:
        _bare(ctx, elsewhere=workspace is None and config is None)


def _bare(ctx: click.Context, *, elsewhere: bool) -> None:
    """`rfsched` alone: status inside a workspace, help outside of any."""
    from researchflow_tmux.domain.errors import UsageError

    command = cli.get_command(ctx, "status")
    assert command is not None
    if elsewhere:
        from researchflow_tmux.api.locate import find_workspace

        try:
            find_workspace()
        except UsageError:
            click.echo(ctx.get_help())
            click.echo("\nThis directory is no workspace: `rfsched setup my_experiments` makes one.")
            return
    ctx.invoke(command)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit. No traceback reaches a user, unless RFSCHED_DEBUG is set."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end a command
    if args[:1] == ["help"]:
        args = [*args[1:2], "--help"]
    sys.exit(run(args))


def run(args: list[str]) -> int:
    """One command line in this process; its exit code. Errors become words on stderr."""
    try:
        result: Any = cli.main(args, prog_name="rfsched", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return 130
    except click.ClickException as error:
        _say(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough (`rfsched status | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where every error becomes words
        return _explain(error)


def _explain(error: Exception) -> int:
    from researchflow_tmux.domain.errors import RfschedError

    if os.environ.get("RFSCHED_DEBUG"):
        raise error
    if isinstance(error, RfschedError):
        _say(f"rfsched: {error}")
        return error.exit_code
    if isinstance(error, TimeoutError):
        _say(f"rfsched: {error}")
        return 124
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _say(f"rfsched: {where}{error.strerror or error}")
        return 4
    _say(
        f"rfsched: this is a bug: {type(error).__name__}: {error}\n"
        "    hint: RFSCHED_DEBUG=1 shows where; please report it with that output"
    )
    return 1


def _say(what: str | click.ClickException) -> None:
    """The last words. A terminal that is gone must not change the exit code: the keeper goes by it."""
    try:
        if isinstance(what, str):
            click.echo(what, err=True)
        else:
            what.show()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in (1, 2):  # what is still in the buffers goes the same way when Python ends
            os.dup2(nowhere, fd)
