"""Tables of reports in columns, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.cli.layout import Block, Cell, Table, line
from researchflow_tmux.drawing import viewer


def blocks_of(said: str, tables: Sequence[viewer.Table]) -> list[Block]:
    """A line that says what they are of, and the tables below it."""
    blocks: list[Block] = [line(said)]
    for table in tables:
        header = tuple(Cell(cell, "bold") for cell in table.header)
        rows = [header, *(tuple(map(Cell, row)) for row in table.rows)]
        blocks += [line(), Table(rows, give=(0,), right=table.numbers)]
    return blocks
