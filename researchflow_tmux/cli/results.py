"""results: runs found by config and metrics; shown, compared, drawn, removed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import complete_jobs, pass_chosen
from researchflow_tmux.cli.main import Chosen, _workspace_anywhere
from researchflow_tmux.cli.output import count, json_option, names, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.results import Results


class _Group(click.Group):
    """`results QUERY…` is `results list QUERY…`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in where none is named."""
        first = args[0] if args else ""
        if first not in self.commands and first != "--help" and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """`-w DIR` may stand at the end here as well."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not any(param.name == "workspace" for param in command.params):
            command.params.append(_workspace_anywhere())
        return command


def _open(chosen: Chosen) -> Results:
    from researchflow_tmux.api.results import Results

    found = Results(chosen.workspace())
    if found.trouble and found.all:
        click.echo(f"note: the newest runs may be missing: {found.trouble}", err=True)
    return found


query_argument = click.argument("query", nargs=-1, metavar="[QUERY]...", shell_complete=complete_jobs)
run_argument = click.argument("job", metavar="JOB", shell_complete=complete_jobs)
attempts_option = click.option("--all-attempts", is_flag=True, help="Every attempt, not one for each job.")


@click.group(cls=_Group)
def results() -> None:
    """Find runs by their config and metrics, and show, compare, draw or remove them.

    `rfsched results QUERY…` is short for `rfsched results list QUERY…`. Every ended attempt is recorded by itself, with
    its config, code, times, outcome, files and metrics.
    """


@results.command("list")
@query_argument
@click.option("--sort", metavar="[-]KEY", help="Smallest first; -KEY: greatest first.")
@click.option(
    "--best", metavar="[-]KEY", help="The run with the greatest KEY (-KEY: the smallest); --limit N: the best N."
)
@click.option("--columns", metavar="A,B,C", help="These values instead of the usual ones.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N runs.")
@attempts_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with all columns.")
@json_option
@pass_chosen
def list_(
    chosen: Chosen,
    query: tuple[str, ...],
    sort: str | None,
    best: str | None,
    columns: str | None,
    limit: int | None,
    all_attempts: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List runs: of each job the newest attempt that succeeded, else the newest.

    \b
    QUERY, all of which must hold (quote them):
      'lr=0.1' 'model!=bert' 'acc>0.9' 'loss<=1e-3' 'name~^bert' 'outcome~killed'
      exp1 'exp*' @group       names of jobs
    KEY is a name in the config, a metric (its last value; loss.min, loss.max), or a
    fact such as outcome, duration_s, host, git.commit. The last part of a name will do.

    Shown are the config's values that differ between these runs, and their metrics.
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.cli import results_tables as tables

    found = _open(chosen)
    runs = found.find(query, sort=sort, best=best, limit=limit, all_attempts=all_attempts)
    chosen_names = None if columns is None else [found.keys.find(each.strip()) for each in columns.split(",")]
    if as_json:
        rows = [found.facts(run) if chosen_names is None else tables.chosen(found, run, chosen_names) for run in runs]
        print_json("results", {"runs": rows})
    elif as_csv:
        tables.write_csv(found, runs, chosen_names)
    else:
        among = runs if best is None else found.find(query, all_attempts=all_attempts)
        tables.show_list(found, runs, chosen_names, among=among, all_attempts=all_attempts)


@results.command("show")
@run_argument
@json_option
@pass_chosen
def show(chosen: Chosen, job: str, as_json: bool) -> None:
    """Show everything about one run. JOB is a job, JOB.ATTEMPT, or (the beginning of) a uuid."""
    from researchflow_tmux.cli import results_tables as tables

    found = _open(chosen)
    run = found.one(job)
    if as_json:
        print_json("result", found.facts(run))
    else:
        tables.show_run(found, run)


@results.command("open")
@run_argument
@pass_chosen
def open_(chosen: Chosen, job: str) -> None:
    """Print the paths of a run's files; in a terminal, open the log and the outputs that are text in $PAGER."""
    found = _open(chosen)
    paths = found.paths(found.one(job))
    for what, path in paths:
        there = "" if os.path.lexists(path) else "  (gone)"
        click.echo(f"{what:8} {path}{there}" if sys.stdout.isatty() else path)
    if sys.stdin.isatty() and sys.stdout.isatty():
        _page([path for what, path in paths if what in ("log", "output") and _is_text(path)])


def _page(paths: list[str]) -> None:
    pager = shlex.split(os.environ.get("PAGER", "less -R"))
    if pager and paths:
        try:
            subprocess.run([*pager, *paths], check=False)
        except OSError as error:
            click.echo(f"note: {pager[0]} cannot be started: {error.strerror}", err=True)


def _is_text(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"\0" not in file.read(4096)
    except OSError:
        return False


@results.command("diff")
@click.argument("a", metavar="A", shell_complete=complete_jobs)
@click.argument("b", metavar="B", shell_complete=complete_jobs)
@json_option
@pass_chosen
def diff(chosen: Chosen, a: str, b: str, as_json: bool) -> None:
    """Show what differs between two runs: config, code, environment, metrics."""
    from researchflow_tmux.cli import results_tables as tables

    comparison = _open(chosen).compare(a, b)
    if as_json:
        print_json("diff", comparison)
    else:
        tables.show_comparison(comparison)


@results.command("prune")
@query_argument
@click.option("--older-than", metavar="TIME", help="Runs that ended longer ago than this: 30d, 12h.")
@click.option(
    "--keep-best", multiple=True, metavar="[-]KEY:N", help="Not the N runs with the greatest (-: smallest) KEY."
)
@click.option("--yes", is_flag=True, help="Do it; without this nothing is removed.")
@click.option("--dry-run", is_flag=True, help="Only show what would go; so it is without --yes.")
@json_option
@pass_chosen
def prune(
    chosen: Chosen,
    query: tuple[str, ...],
    older_than: str | None,
    keep_best: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove records of runs, with their files in results/runs. Shows what would go; --yes does it.

    Logs, outputs and markers of the jobs stay. All attempts that match are meant.
    """
    done = _open(chosen).prune(query, older_than=older_than, keep_best=keep_best, really=yes and not dry_run)
    if as_json:
        print_json("prune", done)
        return
    size = f"{count(done.files, 'file')}, {done.bytes / 2**20:.1f} MiB"
    if not done.runs:
        click.echo("no run matches")
    elif done.done:
        click.echo(f"removed {count(len(done.runs), 'record')} ({names(done.runs)}) with {size}")
    else:
        click.echo(f"would remove {count(len(done.runs), 'record')}: {names(done.runs, 40)}")
        click.echo(f"with {size}; --yes does it")
    if done.kept:
        click.echo(f"left alone, as files elsewhere were attached to them: {names(done.kept)}", err=True)


@results.command("plot")
@click.argument("metric", metavar="METRIC")
@query_argument
@click.option("-o", "--output", metavar="FILE", help="FILE.svg or FILE.html; - prints SVG. Default: METRIC.svg here.")
@click.option("--log", "log_y", is_flag=True, help="A logarithmic axis.")
@attempts_option
@pass_chosen
def plot(
    chosen: Chosen, metric: str, query: tuple[str, ...], output: str | None, log_y: bool, all_attempts: bool
) -> None:
    """Draw a metric over the steps, a line for each run. QUERY as in `results list`: jobs, 'lr<0.1'."""
    found = _open(chosen)
    picture = found.picture(metric, query, all_attempts=all_attempts, log_y=log_y)
    if output == "-":
        sys.stdout.write(picture.svg())
        sys.stdout.flush()
        return
    path = output or _file_name(picture.metric)
    html = path.lower().endswith((".html", ".htm"))
    note = f"{picture.metric} of {count(len(picture.pairs), 'run')} in {found.directory}"
    _write(path, picture.html(found.keys, note) if html else picture.svg())
    click.echo(f"{path}: {count(len(picture.pairs), 'run')}")


def _file_name(metric: str) -> str:
    return re.sub(r"[^\w.-]+", "_", metric).strip("._") + ".svg"


def _write(path: str, text: str) -> None:
    from researchflow_tmux.domain.errors import UsageError

    if not path.lower().endswith((".svg", ".html", ".htm")):
        raise UsageError(f"{path}: only SVG and HTML can be drawn", hint="name it FILE.svg or FILE.html")
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another place with -o") from None
