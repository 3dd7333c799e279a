"""Curves in one picture: axes with round marks, one line each, a legend in the order in which the lines end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.colours import FEW, colours
from researchflow_tmux.drawing.thinning import in_order, thinned
from researchflow_tmux.drawing.ticks import Axis, axis

PLOT_WIDTH, PLOT_HEIGHT = 720.0, 420.0
TOP, BOTTOM = 44.0, 52.0
LETTER = 6.7
"""Width of a letter of the size 12, about."""
ROW, SMALL_ROW = 18.0, 14.0
LEGEND_ROWS, LEGEND_COLUMNS = 60, 3
"""More names than these cannot be told apart by their colours; a line's own shows under the pointer."""
LONGEST_LABEL = 30
MOST_POINTS = 12_000
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
INK, GREY, GRID = "#212529", "#5c636a", "#e9ecef"


class Curve(NamedTuple):
    """One line: finite values over steps, at least one, by step."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]

    @property
    def last(self) -> float:
        """The value at the last step."""
        return self.ys[-1]


def curve(label: str, xs: Sequence[float], ys: Sequence[float]) -> Curve:
    """A curve of points in any order."""
    return Curve(label, *in_order(xs, ys))


class Frame(NamedTuple):
    """Where things are."""

    x: Axis
    y: Axis
    left: float
    right: float
    bottom: float
    width: float
    height: float
    column: float
    """Width of a column of the legend."""


def line_chart(curves: Sequence[Curve], *, title: str, x_label: str = "step", log_y: bool = False) -> str:
    """The picture as an SVG document. With `log_y` values up to zero are left out.

    Raises ValueError without anything to draw.
    """
    drawn = [curve for curve in map(_positive, curves) if curve.xs] if log_y else list(curves)
    if not drawn:
        raise ValueError("no values to draw" + (": a logarithmic axis needs some above zero" if log_y else ""))
    drawn = sorted(drawn, key=lambda curve: -curve.last)
    frame = _frame(drawn, log_y)
    paints = colours(len(drawn))
    parts = [
        svg.title(title),
        svg.element("style", _STYLE),
        svg.element("rect", width=frame.width, height=frame.height, fill="#ffffff"),
        svg.text(title, frame.left, 24, font_size=15, font_weight=600, fill=INK),
        *_axes(drawn, frame, x_label),
        *(_line(curve, paint, frame, len(drawn)) for curve, paint in zip(drawn, paints, strict=True)),
        *_legend(drawn, paints, frame),
    ]
    size = f"0 0 {svg.number(frame.width)} {svg.number(frame.height)}"
    return svg.element(
        "svg",
        *(f"{part}\n" for part in parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=size,
        width=frame.width,
        height=frame.height,
        font_family=FONT,
        role="img",
    )


_STYLE = (
    ".run:hover polyline{stroke-width:3.5;opacity:1}.run:hover text{font-weight:700}"
    "@media print{.run polyline{opacity:1}}"
)


def _positive(whole: Curve) -> Curve:
    pairs = [(x, y) for x, y in zip(whole.xs, whole.ys, strict=True) if y > 0]
    return Curve(whole.label, [x for x, _ in pairs], [y for _, y in pairs])


def _frame(curves: Sequence[Curve], log_y: bool) -> Frame:
    height = max(PLOT_HEIGHT, min(len(curves), LEGEND_ROWS) * _row(curves) + 8)
    bottom = TOP + height
    ys = [y for curve in curves for y in (min(curve.ys), max(curve.ys))]
    y = axis(ys, bottom, TOP, margin=0.04, log=log_y)
    left = 28 + LETTER * max(len(tick.label) for tick in y.ticks(7))
    right = left + PLOT_WIDTH
    xs = [x for curve in curves for x in (min(curve.xs), max(curve.xs))]
    x = Axis(xs[0] - 1, xs[0] + 1, left, right) if min(xs) == max(xs) else axis(xs, left, right)
    columns, column = min(math.ceil(len(curves) / LEGEND_ROWS), LEGEND_COLUMNS), _column(curves)
    return Frame(x, y, left, right, bottom, right + columns * column + 12, bottom + BOTTOM, column)


def _row(curves: Sequence[Curve]) -> float:
    return ROW if len(curves) <= 20 else SMALL_ROW


def _column(curves: Sequence[Curve]) -> float:
    longest = max(len(_legend_label(curve)) + len(_figure(curve)) for curve in curves)
    return 52 + LETTER * (longest + 1)


def _axes(curves: Sequence[Curve], frame: Frame, x_label: str) -> list[str]:
    parts = []
    for tick in frame.y.ticks(7):
        y = frame.y.place(tick.value)
        parts.append(svg.element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, stroke=GRID))
        parts.append(svg.text(tick.label, frame.left - 8, y + 4, text_anchor="end", font_size=12, fill=GREY))
    for tick in frame.x.ticks(8, least_step=_least_step(curves)):
        x = frame.x.place(tick.value)
        parts.append(svg.element("line", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 5, stroke=GREY))
        parts.append(svg.text(tick.label, x, frame.bottom + 20, text_anchor="middle", font_size=12, fill=GREY))
    parts.append(svg.element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, stroke=GREY))
    middle = (frame.left + frame.right) / 2
    parts.append(svg.text(x_label, middle, frame.bottom + 40, text_anchor="middle", font_size=12, fill=GREY))
    return parts


def _least_step(curves: Sequence[Curve]) -> float:
    """Steps are counted: no marks between whole numbers."""
    return 1.0 if all(float(x).is_integer() for curve in curves for x in curve.xs[:100]) else 0.0


def _line(curve: Curve, paint: str, frame: Frame, count: int) -> str:
    most = min(max(MOST_POINTS // count, 120), 800)
    places = [(frame.x.place(x), frame.y.place(y)) for x, y in thinned(curve.xs, curve.ys, most)]
    few = count <= len(FEW)
    look: dict[str, str | float] = {"stroke_width": 2 if few else 1.4, "opacity": 1 if few else 0.85}
    tip = svg.title(f"{curve.label}  {_figure(curve)}")
    shapes = [
        svg.element("polyline", points=svg.points(places), fill="none", stroke=paint, stroke_linejoin="round", **look)
    ]
    if len(places) == 1 or (few and len(places) <= 12):
        shapes += [svg.element("circle", cx=x, cy=y, r=3, fill=paint) for x, y in places]
    return svg.element("g", tip, *shapes, class_="run")


def _legend(curves: Sequence[Curve], paints: Sequence[str], frame: Frame) -> list[str]:
    parts, row = [], _row(curves)
    size = 12 if row == ROW else 11
    named = list(zip(curves, paints, strict=True))[: LEGEND_ROWS * LEGEND_COLUMNS]
    for number, (curve, paint) in enumerate(named):
        column, place = divmod(number, LEGEND_ROWS)
        x, y = frame.right + 18 + column * frame.column, TOP + 12 + place * row
        end = frame.right + (column + 1) * frame.column
        parts.append(
            svg.element(
                "g",
                svg.title(curve.label),
                svg.element("line", x1=x, x2=x + 16, y1=y - 4, y2=y - 4, stroke=paint, stroke_width=3),
                svg.text(_legend_label(curve), x + 22, y, font_size=size, fill=INK),
                svg.text(_figure(curve), end, y, text_anchor="end", font_size=size, fill=GREY),
                class_="run",
            )
        )
    if len(curves) > len(named):
        rest = f"and {len(curves) - len(named)} more runs"
        parts.append(svg.text(rest, frame.right + 18, frame.bottom + 20, font_size=12, fill=GREY))
    return parts


def _legend_label(curve: Curve) -> str:
    return curve.label if len(curve.label) <= LONGEST_LABEL else curve.label[: LONGEST_LABEL - 1] + "…"


def _figure(curve: Curve) -> str:
    """The last value, in four digits."""
    return f"{curve.last:.4g}"
