"""The axis of time and the line of now, painted: the same in every picture over time."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.lettering import width
from researchflow_tmux.drawing.looks import ALARM, DIM, PAPER, RULE
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


def time_lines(axis: TimeAxis, top: float, bottom: float) -> list[str]:
    """Lines from top to bottom at round moments: behind everything."""
    places = [axis.place(mark.at) for mark in axis.marks()]
    return [svg.element("line", x1=x, x2=x, y1=top, y2=bottom, stroke=RULE, class_="rule") for x in places]


def time_labels(axis: TimeAxis, top: float, bottom: float, now: float | None) -> list[str]:
    """What the moments are called, and where now is. Those at the top stay in sight where one may scroll."""
    parts = [] if now is None else [_now_line(axis, top, bottom, now)]
    marks = readable_marks(axis, now)
    for number, y in enumerate(ends(top, bottom)):
        labels = [*(label for mark in marks for label in _label(mark, axis, y)), *_now_label(axis, y, now)]
        parts += labels if number else [staying("y", top - AXIS, 0, axis.right + MARGIN, AXIS - 2, labels)]
    return parts


def staying(way: str, at: float, x: float, width: float, height: float, inside: Sequence[str]) -> str:
    """Parts that a script keeps in sight when what is around them is scrolled: along `y` or `x`, from `at` on."""
    y = at if way == "y" else at - height
    shade: dict[str, str | float] = {"fill": PAPER, "opacity": 0, "class_": "paper shade"}
    back = svg.element("rect", x=x, y=y, width=width, height=height, **shade)
    return svg.element("g", back, *inside, class_=f"stay-{way}", data_at=at if way == "y" else x)


def _label(mark: Moment, axis: TimeAxis, y: float) -> list[str]:
    look: dict[str, str | float] = {"font_size": FONT, "fill": DIM, "class_": "dim", "text_anchor": "middle"}
    where = max(axis.place(mark.at), axis.left - 6 + width(mark.label, FONT) / 2)
    parts = [svg.text(mark.label, where, y + 14, **look)] if mark.label else []
    return [*parts, *([svg.text(mark.context, where, y, font_weight=600, **look)] if mark.context else [])]


def _now_line(axis: TimeAxis, top: float, bottom: float, now: float) -> str:
    x = axis.place(now)
    dashes: dict[str, str | float] = {"stroke": ALARM, "stroke_dasharray": "4 3", "class_": "alarm-line"}
    return svg.element("line", x1=x, x2=x, y1=top - 3, y2=bottom + 3, **dashes)


def _now_label(axis: TimeAxis, y: float, now: float | None) -> list[str]:
    if now is None:
        return []
    look: dict[str, str | float] = {"text_anchor": "middle", "font_size": FONT, "fill": ALARM, "class_": "alarm"}
    return [svg.text("now", min(axis.place(now), axis.right), y + 14, **look)]


def ends(top: float, bottom: float) -> list[float]:
    """Where labels stand."""
    return [top - 20] if bottom - top < LONG else [top - 20, bottom + 14]


def _readable(mark: Moment, axis: TimeAxis, now: float | None) -> Moment:
    x, edge = axis.place(mark.at), axis.right + MARGIN
    near = now is not None and abs(x - now) < NOW_ROOM
    label = "" if near or x + width(mark.label, FONT) / 2 > edge else mark.label
    return Moment(mark.at, label, "" if x + width(mark.context, FONT) / 2 > edge else mark.context)
