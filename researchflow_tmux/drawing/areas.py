"""Parts of a whole over time, stacked, beside the parts that each should have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import NamedTuple

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.axis_ink import AXIS, time_labels, time_lines
from researchflow_tmux.drawing.layers import spread
from researchflow_tmux.drawing.lettering import shortened, width
from researchflow_tmux.drawing.looks import DIM, INK, PAPER, RULE
from researchflow_tmux.drawing.sheet import MARGIN, Head, head, sheet
from researchflow_tmux.drawing.steps import runs
from researchflow_tmux.drawing.timeaxis import TimeAxis

FILLS = ("#2f78b7", "#e0a008", "#0b8f6a", "#b3478f", "#7cc0ea", "#d1491b", "#41466b", "#8fd3bd")
REST = "#b0b7be"
MOST = len(FILLS)
"""More parts than these cannot be told apart: the smallest are one."""
HEIGHT, COLUMN, ROW = 240.0, 26.0, 30.0


class Part(NamedTuple):
    """One of those who share."""

    name: str
    values: Sequence[float | None]
    """Its part of each stretch of time, from 0 to 1; None = nobody used anything."""
    whole: float | None
    """Its part of all."""
    wanted: float | None
    """What it should have."""


class Areas(NamedTuple):
    """All there is to draw."""

    title: str
    notes: Sequence[str]
    parts: Sequence[Part]
    begin: float
    end: float
    now: float | None = None


class Label(NamedTuple):
    """The name of a part, beside what it should have."""

    name: str
    figures: str
    y: float
    middle: float
    """Where its part of the column is."""
    fill: str


class AreaPlan(NamedTuple):
    """The picture as it is laid out."""

    head: Head
    width: float
    height: float
    top: float
    bottom: float
    axis: TimeAxis
    column: float
    """The left edge of the column of what each should have."""
    shapes: list[tuple[str, str, list[list[tuple[float, float]]]]]
    """Of each part from the bottom up: (name, fill, outlines)."""
    labels: list[Label]


def plan(it: Areas, *, sheet_width: float = 1200.0, zone: tzinfo | None = None) -> AreaPlan:
    """Lay it out: the first part is at the bottom."""
    parts = _few(it.parts)
    fills = [*FILLS[: len(parts)]] if len(it.parts) <= MOST else [*FILLS[: len(parts) - 1], REST]
    top_part = head(it.title, it.notes, (), sheet_width)
    room = min(max((width(part.name, 12.0) for part in parts), default=60.0), 170.0)
    left, column = MARGIN + 40, sheet_width - MARGIN - COLUMN - 26 - max(room, width(_figures(0.5, 0.5), 10.5))
    top = top_part.bottom + AXIS
    bottom = top + max(HEIGHT, ROW * len(parts))
    axis = TimeAxis(it.begin, max(it.end, it.begin + 1e-3), left, column - 22, zone)
    shapes = _shapes(parts, fills, axis, top, bottom)
    labels = _labels(parts, fills, top, bottom, room)
    return AreaPlan(top_part, sheet_width, bottom + AXIS, top, bottom, axis, column, shapes, labels)


def areas(it: Areas, description: str, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """The picture as an SVG document. `description` says in words what is in it."""
    found = plan(it, sheet_width=width, zone=zone)
    now = it.now if it.now is not None and it.begin <= it.now <= it.end else None
    parts = [part for tenth in range(0, 101, 25) for part in _level(tenth, found)]
    for name, fill, outlines in found.shapes:
        inside = [
            svg.element("polygon", points=svg.points(shape), fill=fill, stroke=PAPER, stroke_width=0.6, class_="face")
            for shape in outlines
        ]
        parts.append(svg.element("g", svg.title(name), *inside, class_="hit"))
    parts += time_lines(found.axis, found.top, found.bottom)
    parts += _column(found)
    parts += time_labels(found.axis, found.top, found.bottom, now)
    return sheet(found.head, description, found.width, found.height, (), parts)


def _few(parts: Sequence[Part]) -> list[Part]:
    if len(parts) <= MOST:
        return list(parts)
    ordered = sorted(parts, key=lambda part: -max(part.whole or 0.0, part.wanted or 0.0))
    kept, rest = ordered[: MOST - 1], ordered[MOST - 1 :]
    values: list[float | None] = []
    for column in zip(*(part.values for part in rest), strict=True):
        known = [value for value in column if value is not None]
        values.append(sum(known) if known else None)
    wanted = [part.wanted for part in rest if part.wanted is not None]
    whole = [part.whole for part in rest if part.whole is not None]
    sums = (sum(whole) if whole else None, sum(wanted) if wanted else None)
    return [*kept, Part(f"{len(rest)} others", values, *sums)]


def _shapes(
    parts: Sequence[Part], fills: Sequence[str], axis: TimeAxis, top: float, bottom: float
) -> list[tuple[str, str, list[list[tuple[float, float]]]]]:
    count = len(parts[0].values) if parts else 0
    ground = [0.0] * count
    size = (axis.right - axis.left) / max(count, 1)
    found = []
    for part, fill in zip(parts, fills, strict=True):
        outlines = []
        for first, values in runs(part.values):
            upper, lower = [], []
            for at, value in enumerate(values, first):
                for x in (axis.left + at * size, axis.left + (at + 1) * size):
                    upper.append((x, bottom - (ground[at] + value) * (bottom - top)))
                    lower.append((x, bottom - ground[at] * (bottom - top)))
            for at, value in enumerate(values, first):
                ground[at] += value
            if any(value > 0 for value in values):
                outlines.append([*upper, *reversed(lower)])
        found.append((part.name, fill, outlines))
    return found


def _labels(parts: Sequence[Part], fills: Sequence[str], top: float, bottom: float, room: float) -> list[Label]:
    """From the bottom up, each beside its part of the column, but never over another."""
    middles, ground = [], 0.0
    for part in parts:
        wanted = part.wanted or 0.0
        middles.append(bottom - (ground + wanted / 2) * (bottom - top))
        ground += wanted
    wanted_places = [top + bottom - middle for middle in middles]
    places = [top + bottom - place for place in spread(wanted_places, [ROW] * len(parts))]
    shift = max(max(places, default=bottom) - bottom + 14, 0.0) - max(top + 10 - min(places, default=bottom), 0.0)
    return [
        Label(shortened(part.name, 12.0, room), _figures(part.whole, part.wanted), place - shift, middle, fill)
        for part, place, middle, fill in zip(parts, places, middles, fills, strict=True)
    ]


def _figures(whole: float | None, wanted: float | None) -> str:
    had = "nothing used" if whole is None else f"had {100 * whole:.0f} %"
    return had if wanted is None else f"{had}, due {100 * wanted:.0f} %"


def _level(tenth: int, it: AreaPlan) -> list[str]:
    y = it.bottom - (it.bottom - it.top) * tenth / 100
    look: dict[str, str | float] = {"text_anchor": "end", "font_size": 10, "fill": DIM, "class_": "dim"}
    return [
        svg.element("line", x1=it.axis.left, x2=it.axis.right, y1=y, y2=y, stroke=RULE, class_="rule"),
        svg.text(f"{tenth} %", it.axis.left - 6, y + 3.5, **look),
    ]


def _column(it: AreaPlan) -> list[str]:
    parts = []
    middles = [label.middle for label in it.labels]
    edge = it.bottom
    for label, middle in zip(it.labels, middles, strict=True):
        height = 2 * (edge - middle)
        if height > 0:
            look: dict[str, str | float] = {"fill": label.fill, "stroke": PAPER, "stroke_width": 0.6}
            parts.append(svg.element("rect", x=it.column, y=edge - height, width=COLUMN, height=height, **look))
            edge -= height
        x = it.column + COLUMN
        parts.append(
            svg.element(
                "path",
                d=f"M{svg.number(x)} {svg.number(middle)} L{svg.number(x + 12)} {svg.number(label.y)} h4",
                fill="none",
                stroke=DIM,
                class_="edge",
            )
        )
        parts.append(svg.element("rect", x=x + 18, y=label.y - 10, width=3, height=21, fill=label.fill))
        parts.append(svg.text(label.name, x + 25, label.y - 1, font_size=12, fill=INK, class_="ink"))
        parts.append(svg.text(label.figures, x + 25, label.y + 11, font_size=10.5, fill=DIM, class_="dim"))
    middle = it.column + COLUMN / 2
    due: dict[str, str | float] = {"text_anchor": "middle", "font_size": 11, "fill": DIM, "class_": "dim"}
    return [*parts, *([svg.text("due", middle, it.top - 6, **due)] if it.labels else [])]
