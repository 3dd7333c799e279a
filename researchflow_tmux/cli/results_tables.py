"""Runs as tables and CSV, one run as a page of text, two side by side."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from researchflow_tmux.cli.layout import Block, Cell, Line, Table, line, show, terminal_width
from researchflow_tmux.cli.output import count, duration, names
from researchflow_tmux.records import ranking
from researchflow_tmux.records.picturing import words

if TYPE_CHECKING:
    from researchflow_tmux.api.results import Comparison, Results, Run
    from researchflow_tmux.records.comparing import Difference

FIXED = ("run.job", "run.outcome", "run.duration_s")
MOST_CONFIG, MOST_METRICS = 8, 6
"""Columns of each kind in a terminal; where output is piped, all are there."""
LONGEST = 40


def show_list(
    found: Results, runs: Sequence[Run], columns: list[str] | None, *, among: Sequence[Run], all_attempts: bool
) -> None:
    """Print a table of runs; `among` = those whose differences are worth a column."""
    if not runs:
        click.echo("no run matches", err=True)
        return
    shown, left_out = usual(found, among) if columns is None else (columns, [])
    fixed = ["run.job", "run.attempt", *FIXED[1:]] if all_attempts else list(FIXED)
    whole = [*fixed, *shown] if columns is None else ["run.job", *(name for name in shown if name != "run.job")]
    rows = [tuple(Cell(_title(found, name), "dim") for name in whole)]
    rows += [tuple(_cell(run, name) for name in whole) for run in runs]
    numbers = {at for at, name in enumerate(whole) if at and all(_is_figure(run.get(name)) for run in runs)}
    blocks: list[Block] = [Table(rows, give=tuple(range(1, len(fixed))), right=frozenset(numbers))]
    if left_out:
        short = [found.keys.short(name) for name in left_out]
        blocks.append(line(f"not shown: {names(short, 12)}; --columns A,B or --csv shows them", "dim"))
    show(blocks)


def usual(found: Results, runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The columns worth showing, and those there is no room for."""
    config, metrics = ranking.differing(runs, found.keys), ranking.metric_names(runs)
    if terminal_width() is None:
        return [*config, *metrics], []
    shown = [*config[:MOST_CONFIG], *metrics[:MOST_METRICS]]
    return shown, [*config[MOST_CONFIG:], *metrics[MOST_METRICS:]]


def write_csv(found: Results, runs: Sequence[Run], columns: list[str] | None) -> None:
    """Print CSV: job, attempt, outcome, times, and all config values and metrics, by their whole names."""
    fixed = ["run.job", "run.attempt", "run.uuid", *FIXED[1:], "run.succeeded", "run.started_at", "run.ended_at"]
    config = [name for name in found.keys.all("config") if any(run.get(name) is not None for run in runs)]
    whole = columns or [*fixed, *config, *ranking.metric_names(runs)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(name.removeprefix("run.") if columns is None else found.keys.short(name) for name in whole)
    writer.writerows([_exact(run.get(name)) for name in whole] for run in runs)
    sys.stdout.flush()


def chosen(found: Results, run: Run, columns: Sequence[str]) -> dict[str, Any]:
    """Some values of a run for --json."""
    return {"uuid": run.uuid, "job": run.job} | {found.keys.short(name): run.get(name) for name in columns}


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float) else words(value)


def _title(found: Results, name: str) -> str:
    usual_titles = {"run.job": "JOB", "run.attempt": "ATTEMPT", "run.outcome": "OUTCOME", "run.duration_s": "TOOK"}
    return usual_titles.get(name) or found.keys.short(name)


def _cell(run: Run, name: str) -> Cell:
    value = run.get(name)
    match name:
        case "run.job":
            return Cell(str(value), "bold")
        case "run.outcome":
            return Cell(_one_line(value), "green" if run.succeeded else "red")
        case "run.duration_s":
            return Cell(duration(value))
        case "run.git.commit":
            return Cell(words(value)[:12])
    return Cell(_one_line(words(value)))


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# One run --------------------------------------------------------------------------------------------------------------


def show_run(found: Results, run: Run) -> None:
    """Print everything about one run."""
    outcome = Cell(str(run.rest.get("outcome")), "green" if run.succeeded else "bold red")
    blocks: list[Block] = [Line((Cell(f"{run.job}  attempt {run.attempt}  ", "bold"), outcome))]
    blocks += _section("", _facts(run))
    blocks += _section("METRICS", _metrics(run))
    blocks += _section("CONFIG", [(name, words(value)) for name, value in run.config.items()])
    blocks += _section("CODE", [(name.removeprefix("git."), words(value)) for name, value in _code(run)])
    blocks += _section("FILES", found.paths(run))
    marker = run.rest.get("marker")
    if isinstance(marker, str) and marker.strip():
        blocks += [line(), line("MARKER", "dim"), *(line(f"  {text}") for text in marker.splitlines()[:20])]
    show(blocks)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    rest = run.rest
    yield "uuid", run.uuid
    yield "job", f"{run.job_id}"
    for name in ("group", "command", "workdir", "host"):
        yield name, words(rest.get(name))
    yield "GPUs", ", ".join(map(str, rest.get("gpus") or ())) or "none"
    for name in ("queued_at", "started_at", "ended_at"):
        yield name.replace("_at", ""), _local(rest.get(name))
    yield "took", duration(rest.get("duration_s"))
    if rest.get("peak_rss_mib") is not None:
        yield "peak memory", f"{rest['peak_rss_mib']:g} MiB"
    if rest.get("peak_gpu_mib") is not None:
        yield "peak GPU memory", f"{rest['peak_gpu_mib']:g} MiB"
    if rest.get("mean_gpu_util_pct") is not None:
        yield "GPU in use", f"{rest['mean_gpu_util_pct']:g} % (at most {rest['peak_gpu_util_pct']:g} %)"
    if rest.get("cpu_s") is not None:
        yield "CPU time", duration(rest["cpu_s"])
    for name in ("exit_code", "signal", "note", "session", "environment"):
        yield name.replace("_", " "), words(rest.get(name))


def _local(value: Any) -> str:
    try:
        return f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError):
        return ""


def _metrics(run: Run) -> Iterator[tuple[str, str]]:
    for name, value in run.last.items():
        figures = [(each, run.metrics.get(f"{name}.{each}")) for each in ("min", "max", "count")]
        more = "  ".join(f"{each} {words(figure)}" for each, figure in figures if figure is not None)
        yield name, f"{words(value)}  ({more})" if more else words(value)


def _code(run: Run) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in run.rest.items() if name.startswith("git.")]


def _section(title: str, pairs: Iterable[tuple[str, str]]) -> list[Block]:
    rows = [(Cell(f"  {name}"), Cell(" ".join(value.split()))) for name, value in pairs if value]
    if not rows:
        return []
    head: list[Block] = [line(), line(title, "dim")] if title else []
    return [*head, Table(rows, give=(1,))]


# Two runs -------------------------------------------------------------------------------------------------------------


def show_comparison(found: Comparison) -> None:
    """Print two runs side by side."""
    rows: list[tuple[Cell, ...]] = []
    for title, differences in (
        ("RUN", found.run),
        ("CONFIG", found.config),
        ("CODE", found.code),
        ("ENVIRONMENT", found.environment),
        ("METRICS", found.metrics),
    ):
        if differences:
            rows += [(Cell(title, "dim"), Cell(found.a, "bold"), Cell(found.b, "bold"))]
            rows += [*map(_side_by_side, differences), (Cell(""),)]
    blocks: list[Block] = [Table(rows, give=(1, 2, 0))]
    if found.same_config_keys:
        same = count(found.same_config_keys, "value of the config is", "values of the config are")
        blocks.append(line(f"{same} the same in both", "dim"))
    blocks.append(line(_about_code(found.code), "dim"))
    if found.code_diff:
        blocks += [line(), line("UNCOMMITTED CHANGES", "dim"), *(line(text, _paint(text)) for text in found.code_diff)]
    show(blocks)


def _about_code(code: Sequence[Difference]) -> str:
    commit = next((each for each in code if each.name == "git.commit"), None)
    if commit is None:
        return "the commit is the same, or unknown"
    if commit.a is None or commit.b is None:
        return "the commit of one of them is unknown"
    return f"the code between them: git diff {commit.a[:12]} {commit.b[:12]}"


def _side_by_side(each: Difference) -> tuple[Cell, ...]:
    return (Cell(f"  {each.name.removeprefix('git.')}"), Cell(_or_none(each.a)), Cell(_or_none(each.b)))


def _or_none(value: Any) -> str:
    return "-" if value is None else " ".join(words(value).split())


def _paint(text: str) -> str:
    return {"+": "green", "-": "red"}.get(text[:1], "")
