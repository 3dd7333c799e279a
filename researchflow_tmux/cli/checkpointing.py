"""checkpoint: what jobs have saved; and saving, for programs in any language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import complete_jobs, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, json_option, moment, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.saved import CheckpointList, CheckpointView

target_argument = click.argument("target", metavar="JOB|DIR", shell_complete=complete_jobs)


@click.group()
def checkpoint() -> None:
    """List, check and keep checkpoints. JOB|DIR is a job, or a directory or URL with a slash in it."""


@checkpoint.command("list")
@target_argument
@json_option
@pass_chosen
def list_(chosen: Chosen, target: str, as_json: bool) -> None:
    """List the checkpoints of a job, the one saved last first."""
    from researchflow_tmux.api import saved

    _tell(saved.listed(saved.place_of(chosen.workspace, target)), as_json=as_json)


@checkpoint.command()
@target_argument
@json_option
@pass_chosen
@click.pass_context
def verify(ctx: click.Context, chosen: Chosen, target: str, as_json: bool) -> None:
    """Compare every byte with the checksums. Exit code 1 if a checkpoint is damaged."""
    from researchflow_tmux.api import saved

    found = saved.verified(saved.place_of(chosen.workspace, target))
    _tell(found, as_json=as_json)
    damaged = sum(each.problem is not None for each in found.checkpoints)
    if not as_json and found.checkpoints:
        click.echo(f"{count(len(found.checkpoints) - damaged, 'checkpoint')} sound, {damaged} damaged")
    ctx.exit(1 if damaged else 0)


@checkpoint.command()
@click.argument("path", type=click.Path(exists=True))
@click.option("--step", required=True, type=click.IntRange(min=0), metavar="N", help="Where in the training it is.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="May be given several times.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=3, metavar="N", help="How many stay, the last ones (default: 3)."
)
@json_option
def commit(path: str, step: int, metrics: tuple[str, ...], keep: int, as_json: bool) -> None:
    """Inside a job: keep a copy of a file or directory as a checkpoint; return when it is safe.

    The next attempt finds PATH/model.bin at $RFSCHED_RESUME_FROM/model.bin.
    """
    from researchflow_tmux import checkpoints
    from researchflow_tmux.api.saved import told_as_ours

    with told_as_ours():
        saved = checkpoints.commit(
            path, step=step, metrics=dict(map(_metric, metrics)), keep=checkpoints.Keep(last=keep)
        )
    if as_json:
        print_json("checkpoint-commit", {"name": saved.name, "place": saved.place, "step": step})
    else:
        click.echo(f"checkpoint of step {step}: {saved.place}")


@checkpoint.command()
@target_argument
@click.argument("dest", type=click.Path())
@json_option
@pass_chosen
def export(chosen: Chosen, target: str, dest: str, as_json: bool) -> None:
    """Copy the files of a job's newest sound checkpoint to a new directory."""
    from researchflow_tmux.api import saved

    found = saved.exported(saved.place_of(chosen.workspace, target), dest)
    if as_json:
        print_json("checkpoint-export", found)
    else:
        click.echo(f"checkpoint of step {found.step} ({found.name}) copied to {dest}")


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--metric") from None


def _tell(found: CheckpointList, *, as_json: bool) -> None:
    if as_json:
        print_json("checkpoints", found)
        return
    if not found.checkpoints:
        click.echo(f"no checkpoints in {found.place}")
        return
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.cli.layout import Cell, Table, line, show

    rows = [tuple(Cell(word, "dim") for word in ("STEP", "SAVED", "SIZE", "METRICS", "NAME"))]
    now = SystemClock().now()
    for each in found.checkpoints:
        step = "" if each.step is None else str(each.step)
        shown = (step, moment(each.saved_at, now), _size(each.bytes), _metrics(each))
        name = Cell(each.name) if each.problem is None else Cell(f"{each.name} is damaged: {each.problem}", "red")
        rows.append((*map(Cell, shown), name))
    show([line(found.place, "dim"), Table(rows, give=(3, 4), right=frozenset({0, 2}))])


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _metrics(each: CheckpointView) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in each.metrics.items())
