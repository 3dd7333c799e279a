"""The axis of time and the line of now, painted: the same in every picture over time."""

from __future__ import annotations

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.lettering import width
from researchflow_tmux.drawing.looks import ALARM, DIM, RULE
from researchflow_tmux.drawing.sheet import MARGIN
from researchflow_tmux.drawing.timeaxis import Moment, TimeAxis

AXIS = 36.0
"""Pixels that it takes above (and in a long picture also below) what it belongs to."""
FONT = 11.0
NOW_ROOM = 34.0
"""No mark has a label so near to that of now."""
LONG = 400.0
"""A picture of more pixels has its marks at both ends."""


def readable_marks(axis: TimeAxis, now: float | None) -> list[Moment]:
    """The marks, without labels that would leave the picture or run into that of now (a moment)."""
    return [_readable(mark, axis, None if now is None else axis.place(now)) for mark in axis.marks()]


def time_marks(axis: TimeAxis, top: float, bottom: float, now: float | None) -> list[str]:
    """Lines from top to bottom at round moments, with their labels."""
    parts = []
    for mark in readable_marks(axis, now):
        x = axis.place(mark.at)
        parts.append(svg.element("line", x1=x, x2=x, y1=top, y2=bottom, stroke=RULE, class_="rule"))
        look: dict[str, str | float] = {"font_size": FONT, "fill": DIM, "class_": "dim", "text_anchor": "middle"}
        where = max(x, axis.left - 6 + width(mark.label, FONT) / 2)
        for y in ends(top, bottom):
            if mark.label:
                parts.append(svg.text(mark.label, where, y + 14, **look))
            if mark.context:
                parts.append(svg.text(mark.context, where, y, font_weight=600, **look))
    return parts


def now_line(axis: TimeAxis, top: float, bottom: float, now: float) -> list[str]:
    """Where now is."""
    x = axis.place(now)
    dashes: dict[str, str | float] = {"stroke": ALARM, "stroke_dasharray": "4 3", "class_": "alarm-line"}
    look: dict[str, str | float] = {"text_anchor": "middle", "font_size": FONT, "fill": ALARM, "class_": "alarm"}
    line = svg.element("line", x1=x, x2=x, y1=top - 3, y2=bottom + 3, **dashes)
    return [line, *(svg.text("now", min(x, axis.right), y + 14, **look) for y in ends(top, bottom))]


def ends(top: float, bottom: float) -> list[float]:
    """Where labels stand."""
    return [top - 20] if bottom - top < LONG else [top - 20, bottom + 14]


def _readable(mark: Moment, axis: TimeAxis, now: float | None) -> Moment:
    x, edge = axis.place(mark.at), axis.right + MARGIN
    near = now is not None and abs(x - now) < NOW_ROOM
    label = "" if near or x + width(mark.label, FONT) / 2 > edge else mark.label
    return Moment(mark.at, label, "" if x + width(mark.context, FONT) / 2 > edge else mark.context)
