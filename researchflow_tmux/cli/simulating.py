"""`start --simulate`: what would start when and where, as a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from researchflow_tmux.cli import layout
from researchflow_tmux.cli.layout import Block, Cell, Table, line
from researchflow_tmux.cli.output import count, duration, print_json
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.names import gpu_suffix
from researchflow_tmux.engine.submitting import Submission
from researchflow_tmux.intake import submissions
from researchflow_tmux.simulating import ASSUMED_S, Simulation, Stay, simulate

if TYPE_CHECKING:
    from researchflow_tmux.api.workspace import Workspace


def show_simulation(
    workspace: Workspace,
    names: Sequence[str] | None,
    pins: Sequence[str | int | None],
    *,
    rerun: bool,
    as_json: bool,
) -> None:
    """Print what `start` with the same arguments would do. Nothing is written and nothing is launched.

    Raises ConfigError with every problem of every config.
    """
    captured = submissions.capture()
    found = submissions.from_configs(
        workspace.paths, workspace.settings, captured.digest, captured.variables, names, pins
    )
    if found.problems:
        raise ConfigError(found.problems)
    submission = Submission(drafts=found.drafts, named=names is not None, rerun=rerun)
    result = simulate(workspace.paths, workspace.settings, submission)
    if as_json:
        print_json("simulation", msgspec.to_builtins(result))
    else:
        layout.show(blocks(result))


def blocks(found: Simulation) -> list[Block]:
    """The simulation as blocks."""
    shown: list[Block] = [line(found.note)]
    if found.stays:
        head = tuple(Cell(text, "dim") for text in ("JOB", "GPU", "START", "END", ""))
        shown += [line(), Table([head, *(_row(stay) for stay in found.stays)], give=(0,), right=frozenset({2, 3}))]
    shown += [line(), line(_total(found), "bold"), line(_lengths(found), "dim")]
    shown += [line(f"not started: {waiting.job} ({waiting.reason})", "yellow") for waiting in found.not_started]
    return [*shown, line("simulated: nothing was queued or launched", "dim")]


def _row(stay: Stay) -> tuple[Cell, ...]:
    more = "runs now" if stay.running else f"attempt {stay.attempt}" if stay.attempt > 1 else ""
    return (
        Cell(stay.job),
        Cell(gpu_suffix(tuple(stay.gpus)).removeprefix("gpu")),
        Cell("+" + duration(stay.start_s)),
        Cell("+" + duration(stay.end_s)),
        Cell(more, "dim"),
    )


def _total(found: Simulation) -> str:
    if not found.stays:
        return "nothing would run"
    used = "" if found.utilisation_pct is None else f", GPU slots {found.utilisation_pct:g} % used"
    runs = count(len({stay.job for stay in found.stays}), "job")
    return f"{runs} done after {duration(found.makespan_s) or '0 s'}{used}"


def _lengths(found: Simulation) -> str:
    """Where the lengths come from: a guess is said to be one."""
    sources = {stay.length_from for stay in found.stays}
    words = {
        "job": "as long as the same jobs took before (median)",
        "workspace": "as long as what is most like them took before (median)",
        "assumed": f"{ASSUMED_S:g} s each, a guess: nothing has succeeded here so far",
    }
    said = [text for source, text in words.items() if source in sources]
    return f"lengths: {'; else '.join(said)}" if said else ""
