"""The table of jobs that are combinations of variables: for sweeps and threadward projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

FOLD = 20
"""So many are shown unless somebody asks for all."""


class Combination(NamedTuple):
    """One job: its name, the nickname of each variable's value, and how it stands."""

    name: str
    nicks: Mapping[str, str]
    state: str


def show_combinations(found: Iterable[Combination], *, everything: bool) -> None:
    """Print them; there is at least one."""
    from researchflow_tmux.cli.layout import Cell, Table, line, show

    jobs: Sequence[Combination] = list(found)
    shown = jobs if everything else jobs[:FOLD]
    head = tuple(Cell(word.upper(), "bold") for word in ("name", *jobs[0].nicks, "state"))
    rows = [tuple(map(Cell, (job.name, *job.nicks.values(), job.state))) for job in shown]
    show([Table([head, *rows], give=tuple(range(len(head) - 1)))])
    if len(shown) < len(jobs):
        show([line(f"… and {len(jobs) - len(shown)} more; --all shows them", "dim")])
