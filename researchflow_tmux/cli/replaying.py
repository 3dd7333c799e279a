"""simulate: a workload through the real scheduler on a virtual clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import Number
from researchflow_tmux.cli.output import count, duration, json_option

if TYPE_CHECKING:
    from researchflow_tmux.cli.layout import Block, Cell
    from researchflow_tmux.domain.resources import GpuDevice
    from researchflow_tmux.policies.planning.orders import Policy
    from researchflow_tmux.simulation.replay.comparing import Run
    from researchflow_tmux.simulation.replay.figures import Figures
    from researchflow_tmux.simulation.replay.trace import Trace

PART = Number(0.0, 1.0)
SCHEMA = "rfsched.simulate/1"
PATIENCE_S = 60.0
"""For a policy of the user's: nothing waits for its answers here."""


def _devices(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[GpuDevice, ...]:
    from researchflow_tmux.domain.simulated_gpus import simulated_gpus

    try:
        return tuple(simulated_gpus(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _kinds(given: Sequence[str], gpus: Sequence[GpuDevice]) -> dict[str, tuple[float, int]]:
    """By type, the part of the jobs that need it, and how many GPUs of it there are."""
    from researchflow_tmux.policies.hardware import kinds

    parts = _numbers(given, "--gpu-type", "TYPE=PART with PART from 0 to 1")
    for name, part in parts.items():
        if part > 1:
            raise click.BadParameter(f"{name}={part:g}: a part is at most 1", param_hint="--gpu-type")
        if not _how_many(name, gpus):
            raise click.BadParameter(f"no GPU is of type {name!r}: there are {kinds(gpus)}", param_hint="--gpu-type")
    return {name: (part, _how_many(name, gpus)) for name, part in parts.items()}


def _how_many(wanted: str, gpus: Sequence[GpuDevice]) -> int:
    from researchflow_tmux.domain.hardware import hardware
    from researchflow_tmux.policies.hardware import fitting

    try:
        return len(fitting(gpus, hardware(gpu_type=wanted)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--gpu-type") from None


@click.command()
@click.option(
    "--trace", "path", metavar="FILE", type=click.Path(), help="A .csv or .swf file of jobs; without it, made-up ones."
)
@click.option(
    "--policy",
    "names",
    metavar="NAME",
    multiple=True,
    help="Policy to try, or one of yours as module:object (may be repeated).",
)
@click.option("--compare", is_flag=True, help="Try all policies, and those of yours that --policy names.")
@click.option(
    "--gpus", callback=_devices, default="8", show_default=True, help="GPUs of the machine: a number, or 2xA100,6xT4."
)
@click.option(
    "--gpu-type",
    "kinds",
    metavar="TYPE=PART",
    multiple=True,
    help="Let this part of made-up jobs need a type: A100=0.3.",
)
@click.option("--no-keep-scarce", is_flag=True, help="As with `keep_scarce_gpus: false`.")
@click.option(
    "--estimates",
    type=click.Choice(["exact", "noisy"]),
    default="exact",
    show_default=True,
    help="What is known of durations beforehand: the truth, or guesses as wrong as people's.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is left to chance.")
@click.option("--jobs", type=click.IntRange(min=1), default=1000, show_default=True, help="Number of made-up jobs.")
@click.option("--daily", is_flag=True, help="Let made-up jobs come by day, with a peak in the morning.")
@click.option(
    "--load", type=float, default=1.2, metavar="PART", help="Made-up work that comes, of what the GPUs can do."
)
@click.option("--stretch", type=float, default=1.0, metavar="FACTOR", help="Let every job take FACTOR times as long.")
@click.option(
    "--projects",
    type=click.Choice(["none", "user", "project"]),
    default="none",
    show_default=True,
    help="Whose shares are fair: nobody's, each user's, or each project's (column project or vc).",
)
@click.option("--weight", "weights", metavar="NAME=N", multiple=True, help="Weight of a project; 1 if not given.")
@click.option("--age-cap", "caps", metavar="TIMES", help="Values of C for `balanced`, such as 1d,3d,7d.")
@click.option("--deadlines", type=PART, default=0.0, metavar="PART", help="Give this part of the jobs a deadline: 0.1.")
@click.option(
    "--preemptible", type=PART, default=0.0, metavar="PART", help="Let this part be stopped for those with a deadline."
)
@click.option("--processors-per-gpu", type=click.IntRange(min=1), default=1, show_default=True, help="Of an .swf file.")
@click.option("--predict", is_flag=True, help="Measure how good predictions of durations are, instead.")
@json_option
def simulate(
    path: str | None,
    names: tuple[str, ...],
    compare: bool,
    gpus: tuple[GpuDevice, ...],
    kinds: tuple[str, ...],
    no_keep_scarce: bool,
    estimates: str,
    seed: int,
    jobs: int,
    daily: bool,
    load: float,
    stretch: float,
    projects: str,
    weights: tuple[str, ...],
    caps: str | None,
    deadlines: float,
    preemptible: float,
    processors_per_gpu: int,
    predict: bool,
    as_json: bool,
) -> None:
    """Replay a workload under one policy or several, and compare what came of it.

    The scheduler is the real one; the clock, the GPUs and the jobs are not. The same arguments print the same figures.

    \b
    rfsched simulate                                    1000 made-up jobs on 8 GPUs
    rfsched simulate --trace lab.csv --compare          every policy on a trace
    rfsched simulate --gpus 4xA100,12xT4 --gpu-type A100=0.3 --daily
    rfsched simulate --trace lab.csv --predict          how well durations are known beforehand
    """  # noqa: D301 - \b is click's "keep these lines"
    from researchflow_tmux.domain.plugin import is_plugin
    from researchflow_tmux.simulation.replay import synthetic
    from researchflow_tmux.simulation.replay import trace as traces
    from researchflow_tmux.simulation.replay.comparing import NAMES, Run, policies
    from researchflow_tmux.simulation.replay.marking import with_deadlines, with_preemptible
    from researchflow_tmux.simulation.replay.reading import read_trace

    if not (stretch > 0 and load > 0):
        raise click.UsageError("--stretch and --load must be above 0")
    if kinds and path:
        raise click.UsageError("--gpu-type is for made-up jobs: a trace has a column gpu_type")
    if predict:
        _predict(path, jobs, seed, processors_per_gpu, as_json=as_json)
        return
    own = [name for name in names if is_plugin(name)]
    chosen = policies((*NAMES, *own) if compare else names or ("balanced",), [_cap_s(cap) for cap in _list(caps)])
    if path:
        found = read_trace(path, processors_per_gpu=processors_per_gpu)
    elif daily:
        found = synthetic.daily(jobs=jobs, gpus=len(gpus), seed=seed, kinds=_kinds(kinds, gpus))
    else:
        found = synthetic.synthetic(jobs=jobs, gpus=len(gpus), seed=seed, load=load, kinds=_kinds(kinds, gpus))
    found = traces.as_projects(traces.stretched(found, stretch), projects)
    of_type = {job.gpu_type: _how_many(job.gpu_type, gpus) for job in found.jobs if job.gpu_type}
    found, wide = traces.fitting(found, len(gpus), of_type)
    found = with_preemptible(with_deadlines(found, deadlines, seed), preemptible, seed)
    it = Run(
        trace=found,
        gpus=len(gpus),
        noisy=estimates == "noisy",
        seed=seed,
        weights=_weights(weights),
        devices=gpus if any(gpu.links or gpu.capability for gpu in gpus) or of_type else (),
        keep_scarce=not no_keep_scarce,
    )
    rows = [_run(it, name, policy) for name, policy in chosen]
    if as_json:
        _print_json(rows, found, len(wide), estimates, seed)
    else:
        _show(rows, found, len(wide), estimates)


def _predict(path: str | None, jobs: int, seed: int, processors_per_gpu: int, *, as_json: bool) -> None:
    """Of a trace: durations by what their like took. Without one: what is left of made-up trainings, by progress."""
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.layout import line
    from researchflow_tmux.cli.output import print_json
    from researchflow_tmux.cli.planning import accuracy_table
    from researchflow_tmux.policies.prediction.accuracy import accuracy
    from researchflow_tmux.simulation.replay import predicting
    from researchflow_tmux.simulation.replay.reading import read_trace

    if path:
        trace = read_trace(path, processors_per_gpu=processors_per_gpu)
        name, made = trace.name, predicting.by_history(trace)
        what = (
            f"{trace.name}: {count(len(trace.jobs), 'job')}, predicted as they come from those that have ended by then"
        )
    else:
        name, made = "trainings", predicting.by_progress(jobs=jobs, seed=seed)
        what = f"{count(jobs, 'made-up training')}, predicted from the progress they report"
    rows = accuracy(made)
    if as_json:
        print_json("predict", {"schema": "rfsched.predict/1", "trace": name, "seed": seed, "accuracy": rows})
    else:
        layout.show([line(what), line(), *accuracy_table(rows)])


def _run(it: Run, name: str, policy: Policy | None) -> Figures:
    """One policy on the workload; one of the user's is looked for in the current directory first."""
    import os

    from researchflow_tmux.adapters.policy_process import PolicyProcess
    from researchflow_tmux.domain.plugin import is_plugin
    from researchflow_tmux.simulation.replay.comparing import run

    if not is_plugin(name):
        return run(it, name, policy)
    plugin = PolicyProcess(name, os.getcwd(), patient=True, deadline_s=PATIENCE_S, loading_s=PATIENCE_S)
    try:
        return run(it, name, None, plugin)
    finally:
        plugin.close()


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _cap_s(text: str) -> float:
    from researchflow_tmux.domain.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--age-cap") from error


def _weights(given: Sequence[str]) -> dict[str, float]:
    return _numbers(given, "--weight", "NAME=N with N above 0")


def _numbers(given: Sequence[str], option: str, form: str) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not 0 < found[name] < float("inf"):
            raise click.BadParameter(f"{text!r} is not {form}", param_hint=option)
    return found


def _print_json(rows: Sequence[Figures], trace: Trace, too_wide: int, estimates: str, seed: int) -> None:
    import msgspec

    from researchflow_tmux.simulation.replay.comparing import Compared

    found = Compared(
        schema=SCHEMA,
        trace=trace.name,
        estimates=estimates,
        seed=seed,
        too_wide=too_wide,
        left_out=trace.left_out,
        compared=list(rows),
    )
    data = msgspec.to_builtins(found)
    if len(rows) == 1:
        del data["compared"]
        data |= msgspec.to_builtins(rows[0])
    sys.stdout.write(msgspec.json.encode(data).decode() + "\n")


def _show(rows: Sequence[Figures], trace: Trace, too_wide: int, estimates: str) -> None:
    from researchflow_tmux.cli import layout

    layout.show(_blocks(rows, trace, too_wide, estimates))


def _blocks(rows: Sequence[Figures], trace: Trace, too_wide: int, estimates: str) -> list[Block]:
    from researchflow_tmux.cli.layout import Cell, Table, line

    first = rows[0]
    known = "durations known beforehand" if estimates == "exact" else "durations guessed beforehand"
    head = tuple(Cell(text, "dim") for text in _COLUMNS)
    shown: list[Block] = [line(f"{trace.name}: {count(first.jobs, 'job')} on {count(first.gpus, 'GPU')}, {known}")]
    if too_wide:
        shown.append(line(f"left out: {count(too_wide, 'job')} for more than {count(first.gpus, 'GPU')}", "yellow"))
    if trace.left_out:
        shown.append(line(f"left out: {count(trace.left_out, 'line')} of jobs that never ran", "dim"))
    table = Table([head, *map(_row, rows)], right=frozenset(range(1, len(_COLUMNS))))
    shown += [line(), table, line(), *(line(text, "dim") for text in _LEGEND)]
    shown += [line(_shares(row)) for row in rows if len(row.shares) > 1]
    shown += _types(rows)
    for row in rows:
        if row.deadline_jobs:
            shown.append(line(f"{row.policy}: {row.deadline_misses} of {row.deadline_jobs} deadlines missed"))
        if row.preemptions:
            lost = f"{row.lost_gpu_hours:.4g} GPU-hours done again"
            shown.append(line(f"{row.policy}: jobs stopped for others {count(row.preemptions, 'time')}, {lost}"))
        if row.unfinished:
            shown.append(line(f"{row.policy}: {count(row.unfinished, 'job')} never ended", "red"))
    return shown


_COLUMNS = ("POLICY", "MEAN WAIT", "P50", "P99", "MAX", "MEAN JCT", "MAKESPAN", "USED", "OF BOUND", "BACKLOG")
_LEGEND = (
    "JCT: from coming to ending. USED: of the GPUs, until the last job came; OF BOUND: of what any schedule could use.",
    "BACKLOG: used while at least 20 jobs waited.",
)


def _row(row: Figures) -> tuple[Cell, ...]:
    from researchflow_tmux.cli.layout import Cell

    waits = (row.mean_wait_s, row.p50_wait_s, row.p99_wait_s, row.max_wait_s, row.mean_jct_s, row.makespan_s)
    parts = (row.utilisation, row.utilisation_of_bound, row.utilisation_under_backlog)
    times = [duration(seconds) for seconds in waits]
    return tuple(Cell(text) for text in (row.policy, *times, *map(_percent, parts)))


def _types(rows: Sequence[Figures]) -> list[Block]:
    """By type of GPU, policy by policy."""
    from researchflow_tmux.cli.layout import Cell, Table, line

    found = [(row, kind) for row in rows for kind in row.types]
    if not found:
        return []
    cells = [tuple(Cell(text, "dim") for text in _TYPE_COLUMNS)]
    for row, kind in found:
        parts = (kind.utilisation, kind.utilisation_under_backlog, kind.utilisation_when_wanted)
        waits = (kind.mean_wait_s, kind.p99_wait_s)
        words = [row.policy, kind.gpu_type, str(kind.gpus), *map(_percent, parts), str(kind.jobs)]
        cells.append(tuple(map(Cell, [*words, *("" if each is None else duration(each) for each in waits)])))
    return [line(), Table(cells, right=frozenset(range(2, len(_TYPE_COLUMNS)))), line(), line(_TYPE_LEGEND, "dim")]


_TYPE_COLUMNS = ("POLICY", "TYPE", "GPUS", "USED", "BACKLOG", "WANTED", "JOBS", "MEAN WAIT", "P99")
_TYPE_LEGEND = "WANTED: used while a job waited that needs this type; JOBS: such jobs (any: those that run on any GPU)."


def _percent(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.1f} %"


def _shares(row: Figures) -> str:
    most = sorted(row.shares.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{project or 'none'} {100 * part:.1f} %" for project, part in most[:8])
    more = f" and {len(most) - 8} more" if len(most) > 8 else ""
    return f"{row.policy}: shares {shown}{more}"
