"""export: pictures and statistics of what ran, as files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from researchflow_tmux.cli.jobargs import complete_jobs, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.showing import STATE_WORDS

if TYPE_CHECKING:
    from researchflow_tmux.api.exporting import Export
    from researchflow_tmux.api.hindsight import Past

FORMATS = ("svg", "html", "json", "png", "csv", "txt", "vega")

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def export() -> None:
    """Draw what ran, and count what it cost.

    FILE says by its name in which format: .svg, .html (one page that needs no network), .json, .png, .csv.

    \b
    rfsched export timeline week.svg --since 7d         what ran when, on which GPU
    rfsched export graph pipeline.html @training        what needs what, and the critical path
    rfsched export report --since 2026-11-01            statistics in the terminal
    """  # noqa: D301 - \b is click's "keep these lines"


def common(function: F) -> F:
    """What all exports take."""
    options = (
        click.argument("words", nargs=-1, metavar="[FILE] [JOB...]", shell_complete=complete_jobs),
        click.option("-o", "--output", metavar="FILE", help="Where to write; - is standard output."),
        click.option("--format", "form", type=click.Choice(FORMATS), help="The format, if FILE does not say it."),
        click.option("--since", metavar="WHEN", help="From then on: yesterday, today, 2h, 2026-01-31."),
        click.option("--until", metavar="WHEN", help="Up to then; written the same way."),
        click.option("--state", "states", multiple=True, type=click.Choice(STATE_WORDS), help="Jobs in this state."),
        click.option("--group", metavar="G", help="Only jobs of this group; the same as @G."),
        click.option("--width", type=click.IntRange(400, 20_000), default=1200, show_default=True, help="In pixels."),
        click.option("--force", is_flag=True, help="Replace FILE even if it is something else."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@export.command(short_help="What ran when, on which GPU.")
@common
@click.option(
    "--by", type=click.Choice(["gpu", "job", "project"]), default="gpu", show_default=True, help="What a lane is."
)
@click.option("--waiting", is_flag=True, help="Also show how many jobs waited over time.")
@click.option("--plan", is_flag=True, help="Also show when and where waiting jobs should start.")
@pass_chosen
def timeline(chosen: Chosen, /, by: str, waiting: bool, plan: bool, width: int, **given: Any) -> None:
    """Draw what ran when: a bar for each attempt, with what was expected of it.

    \b
    rfsched export timeline week.svg --since 7d
    rfsched export timeline jobs.html 'exp*' --by job       one line for each job, with its waiting time
    """  # noqa: D301 - as above
    from researchflow_tmux.api.exports import timeline_export
    from researchflow_tmux.api.hindsight import planned_of

    def make(past: Past) -> Export:
        planned = planned_of(chosen.workspace(), past) if plan else ()
        return timeline_export(past, by, waiting=waiting, planned=planned, width=width)

    _export(chosen, make, **given)


@export.command(short_help="What needs what, and the critical path.")
@common
@click.option(
    "--stack",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Whether jobs that are alike (arrays, a matrix) are one box.",
)
@pass_chosen
def graph(chosen: Chosen, /, stack: str, width: int, **given: Any) -> None:
    """Draw what needs what: boxes with their states, and the critical path.

    \b
    rfsched export graph training.html @training       a pipeline
    rfsched export graph all.svg --stack never          a box for each single job
    """  # noqa: D301 - as above
    from researchflow_tmux.api.exports import graph_export

    _export(chosen, lambda past: graph_export(past, stack=stack, width=width), **given)


@export.command(short_help="How busy GPUs were over time.")
@common
@pass_chosen
def utilisation(chosen: Chosen, /, width: int, **given: Any) -> None:
    """Draw how busy GPUs were, how much of them jobs had, how many jobs ran and waited.

    \b
    rfsched export utilisation day.svg --since 24h
    """  # noqa: D301 - as above
    from researchflow_tmux.api.exports import utilisation_export

    _export(chosen, lambda past: utilisation_export(past, width=width), expecting=(), **given)


@export.command(short_help="Who had how much of the GPUs, beside the weights.")
@common
@pass_chosen
def shares(chosen: Chosen, /, width: int, **given: Any) -> None:
    """Draw what part of the GPUs each project had over time, beside the part that its weight gives it.

    \b
    rfsched export shares month.svg --since 30d
    """  # noqa: D301 - as above
    from researchflow_tmux.api.exports import shares_export

    _export(chosen, lambda past: shares_export(past, width=width), expecting=(), **given)


@export.command(short_help="GPU-hours, waits, failures, wasted work.")
@common
@pass_chosen
def report(chosen: Chosen, /, width: int, **given: Any) -> None:
    """Count what ran, waited, failed and was wasted: by project, user, GPU and day.

    Without FILE as tables in the terminal; an .html file has the pictures, too.

    \b
    rfsched export report --since 7d
    rfsched export report november.html --since 2026-11-01 --until 2026-12-01
    """  # noqa: D301 - as above
    from researchflow_tmux.api.exports import report_export

    _export(chosen, lambda past: report_export(past, width=width), default="txt", expecting=("html",), **given)


def _export(
    chosen: Chosen,
    make: Callable[[Past], Export],
    *,
    words: tuple[str, ...],
    output: str | None,
    form: str | None,
    since: str | None,
    until: str | None,
    states: tuple[str, ...],
    group: str | None,
    force: bool,
    default: str | None = None,
    expecting: tuple[str, ...] = FORMATS,
) -> None:
    """Gather, make, write.

    `default` = the format on standard output when no file is named; `expecting` = those that show what was expected.
    """
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api import exporting, hindsight
    from researchflow_tmux.api.since import moment_of
    from researchflow_tmux.domain.job import JobState

    path, patterns = _file_and_jobs(words, output)
    form = exporting.format_of(path, form) or (default if path in (None, "-") else None)
    if form is None:
        raise click.UsageError("name a file, such as FILE.svg, or give --format to print it")
    if form == "png" and path in (None, "-") and sys.stdout.isatty():
        raise click.UsageError("a PNG is nothing for a terminal; name a file")
    now = SystemClock().now()
    wanted = hindsight.Chosen(
        patterns=(*patterns, *([f"@{group}"] if group is not None else [])),
        states=frozenset(JobState("queued" if state == "waiting" else state) for state in states),
        since=None if since is None else moment_of(since, now),
        until=None if until is None else moment_of(until, now),
    )
    made = make(hindsight.past_of(chosen.workspace(), wanted, expect=form in expecting))
    content = _text(made, printed=path in (None, "-")) if form == "txt" and made.tables is not None else made.made(form)
    if path is None or path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    exporting.write(path, content, form, force=force)
    click.echo(f"{path}: {made.said}")


def _text(made: Export, *, printed: bool) -> bytes:
    """Its tables in columns, for the terminal or a file."""
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.tables import blocks_of

    assert made.tables is not None
    blocks = blocks_of(made.said, made.tables())
    width, colour = (layout.terminal_width(), layout.wants_colour()) if printed else (None, False)
    return "".join(f"{row}\n" for row in layout.render(blocks, width=width, colour=colour)).encode("utf-8", "replace")


def _file_and_jobs(words: tuple[str, ...], output: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The first word is the file if it ends like one and no other was named."""
    from researchflow_tmux.api.exporting import FOREIGN, SUFFIXES, suffix_of

    if output is None and words and suffix_of(words[0]) in (*SUFFIXES, *FOREIGN):
        return words[0], words[1:]
    return output, words
