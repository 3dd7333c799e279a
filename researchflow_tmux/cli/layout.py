"""Lines and tables of styled text: fitted to a width, coloured where the terminal takes it, plain where it is piped."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

GAP = "  "
LEAST = 8
"""A column that gives way keeps this many cells."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Cell(NamedTuple):
    """A piece of text with a style such as "bold" or "bold red"."""

    text: str
    style: str = ""


class Line(NamedTuple):
    """Cells one after another."""

    cells: tuple[Cell, ...] = ()


class Table(NamedTuple):
    """Rows in columns. `give` = the columns that are cut when the width is short, in that order."""

    rows: Sequence[tuple[Cell, ...]]
    give: tuple[int, ...] = ()
    right: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""


Block = Line | Table


def line(text: str = "", style: str = "") -> Line:
    """A line of one style."""
    return Line((Cell(text, style),))


def render(blocks: Iterable[Block], *, width: int | None, colour: bool) -> list[str]:
    """The lines as text. `width` None = nothing is cut."""
    lines: list[str] = []
    for block in blocks:
        rows = _fitted(block, width) if isinstance(block, Table) else [list(block.cells)]
        lines += [_painted(_clipped(row, width), colour) for row in rows]
    return lines


def show(blocks: Iterable[Block]) -> None:
    """Print to standard output, as it takes it."""
    lines = render(blocks, width=terminal_width(), colour=wants_colour())
    sys.stdout.write("".join(f"{text}\n" for text in lines))
    sys.stdout.flush()


def terminal_width() -> int | None:
    """Columns of the terminal; None = output goes elsewhere, where nothing should be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wants_colour() -> bool:
    """Whether standard output should be coloured: a terminal, and nobody said NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cell_width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with … where something is missing."""
    if cell_width(text) <= width:
        return text
    room, kept = width - 1, []
    for char in text:
        room -= _char_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…" if width > 0 else ""


def printable(text: str) -> str:
    """`text` without anything that would move the cursor or colour the rest of the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def bar(part: float, width: int) -> str:
    """A bar of `width` columns filled to `part` (0..1)."""
    eighths = round(min(max(part, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    tip = " ▏▎▍▌▋▊▉"[rest] if rest else ""
    return ("█" * full + tip).ljust(width, "░")


# -- inside ------------------------------------------------------------------------------------------------------------


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _fitted(table: Table, width: int | None) -> list[list[Cell]]:
    """The cells of each row, padded to their columns."""
    rows = [[Cell(printable(text), style) for text, style in row] for row in table.rows]
    columns = max((len(row) for row in rows), default=0)
    widths = [max((cell_width(row[at].text) for row in rows if at < len(row)), default=0) for at in range(columns)]
    if width is not None:
        _shrink(widths, width, table.give)
    return [
        [_padded(cell, widths[at], right=at in table.right, last=at == len(row) - 1) for at, cell in enumerate(row)]
        for row in rows
    ]


def _shrink(widths: list[int], width: int, give: Sequence[int]) -> None:
    surplus = sum(widths) + len(GAP) * (len(widths) - 1) - width
    for at in give:
        if surplus > 0 and at < len(widths):
            cut_by = min(surplus, max(widths[at] - LEAST, 0))
            widths[at] -= cut_by
            surplus -= cut_by


def _padded(cell: Cell, width: int, *, right: bool, last: bool) -> Cell:
    text = cut(cell.text, width)
    space = " " * (width - cell_width(text))
    if right:
        text = space + text
    elif not last:
        text += space
    return Cell(text if last else text + GAP, cell.style)


def _clipped(cells: list[Cell], width: int | None) -> list[Cell]:
    """The row in at most `width` columns."""
    cells = [Cell(printable(text), style) for text, style in cells]
    if width is None or sum(cell_width(cell.text) for cell in cells) <= width:
        return cells
    kept: list[Cell] = []
    for cell in cells:
        room = width - sum(cell_width(each.text) for each in kept)
        if room <= 0:
            break
        kept.append(Cell(cut(cell.text, room), cell.style))
    return kept


def _painted(cells: list[Cell], colour: bool) -> str:
    if not colour:
        return "".join(cell.text for cell in cells).rstrip()
    parts = []
    for text, style in cells:
        codes = ";".join(_CODES[word] for word in style.split())
        bare = text.rstrip()
        parts.append(f"\x1b[{codes}m{bare}\x1b[m{text[len(bare) :]}" if codes and bare else text)
    return "".join(parts).rstrip()
