"""Figures over time in strips below each other: how busy each GPU was, how many jobs ran and waited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import NamedTuple

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.axis_ink import AXIS, time_labels, time_lines
from researchflow_tmux.drawing.lettering import shortened, width
from researchflow_tmux.drawing.looks import DIM, INK, RULE, ZEBRA
from researchflow_tmux.drawing.sheet import MARGIN, Head, Key, head, sheet
from researchflow_tmux.drawing.steps import Profile, means, outlines, runs
from researchflow_tmux.drawing.timeaxis import TimeAxis

CURVES_UP_TO = 12
"""With more GPUs than these, each is a line of cells whose colour says how busy it was."""
CURVE, CELLS, COUNT = 62.0, 15.0, 48.0
CELL_PX = 2.0
UTIL, MEMORY, SLOTS = "#2f78b7", "#b3478f", "#0b8f6a"
HEAT = ("#eef4fa", "#cfe1f0", "#aecde6", "#86b4d8", "#5b97c6", "#3a7bb3", "#215f99", "#10457b", "#062e5c")
"""From idle to busy: darker is more, also without colour."""


class GpuStrip(NamedTuple):
    """One GPU: all in parts from 0 to 1; None = unknown."""

    title: str
    note: str
    util: Profile
    memory: Profile
    slots: Profile
    """How much of it was given to jobs; unlimited sharing may be more than 1."""
    tip: tuple[str, ...]


class CountStrip(NamedTuple):
    """A number over time."""

    title: str
    note: str
    values: Profile
    most: float


class Strips(NamedTuple):
    """All there is to draw."""

    title: str
    notes: Sequence[str]
    gpus: Sequence[GpuStrip]
    counts: Sequence[CountStrip]
    begin: float
    end: float
    now: float | None = None


class StripBox(NamedTuple):
    """A strip where it stands."""

    strip: GpuStrip | CountStrip
    title: str
    note: str
    y: float
    height: float


class StripPlan(NamedTuple):
    """The picture as it is laid out."""

    head: Head
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    axis: TimeAxis
    boxes: list[StripBox]
    cells: bool
    """GPUs are lines of cells."""


def plan(it: Strips, *, sheet_width: float = 1200.0, zone: tzinfo | None = None) -> StripPlan:
    """Lay it out."""
    cells = len(it.gpus) > CURVES_UP_TO
    top_part = head(it.title, it.notes, _keys(it, cells), sheet_width)
    strips: list[GpuStrip | CountStrip] = [*it.gpus, *it.counts]
    widest = max((max(width(each.title, 12.0), 0 if cells else width(each.note, 10.0)) for each in strips), default=0.0)
    gutter = min(widest, 230.0, sheet_width * 0.3)
    left, right = MARGIN + gutter + 34, sheet_width - MARGIN - 4
    y, boxes = top_part.bottom + AXIS, []
    for each in strips:
        height = COUNT if isinstance(each, CountStrip) else CELLS if cells else CURVE
        title = shortened(each.title, 11.0 if height < 20 else 12.0, gutter)
        note = "" if height < 30 else shortened(each.note, 10.0, gutter)
        boxes.append(StripBox(each, title, note, y, height))
        y += height
    end = max(it.end, it.begin + 1e-3)
    axis = TimeAxis(it.begin, end, left, right, zone)
    top = top_part.bottom + AXIS
    return StripPlan(top_part, sheet_width, y + AXIS, left, right, top, y, axis, boxes, cells)


def strips(it: Strips, description: str, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """The picture as an SVG document. `description` says in words what is in it."""
    found = plan(it, sheet_width=width, zone=zone)
    now = it.now if it.now is not None and it.begin <= it.now <= it.end else None
    parts = [part for number, box in enumerate(found.boxes) for part in _ground(box, found, number)]
    parts += time_lines(found.axis, found.top, found.bottom)
    parts += [part for box in found.boxes for part in _content(box, found)]
    parts += time_labels(found.axis, found.top, found.bottom, now)
    return sheet(found.head, description, found.width, found.height, (), parts)


def _keys(it: Strips, cells: bool) -> list[Key]:
    if not it.gpus:
        return []
    slots = Key("given to jobs", mark=svg.element("rect", y=6, width=14, height=3, fill=SLOTS))
    if cells:
        shades = [svg.element("rect", x=at * 1.6, width=1.7, height=10, fill=fill) for at, fill in enumerate(HEAT)]
        return [Key("utilisation: idle to busy", mark="".join(shades)), slots, _gap_key()]
    area = svg.element("rect", y=1, width=14, height=8, fill=UTIL, fill_opacity=0.35, stroke=UTIL)
    line = svg.element("path", d="M0 5 H14", stroke=MEMORY, stroke_width=2, stroke_dasharray="4 2")
    return [Key("utilisation", mark=area), Key("memory in use", mark=line), slots, _gap_key()]


def _gap_key() -> Key:
    dots: dict[str, str | float] = {"stroke": "#868e96", "stroke_dasharray": "1 3"}
    return Key("not measured", mark=svg.element("path", d="M0 9 H14", **dots))


def _ground(box: StripBox, it: StripPlan, number: int) -> list[str]:
    parts = []
    if number % 2:
        parts.append(svg.element("rect", x=0, y=box.y, width=it.width, height=box.height, fill=ZEBRA, class_="zebra"))
    size = 11.0 if box.height < 20 else 12.0
    y = box.y + box.height / 2 + size * 0.36 - (6 if box.note else 0)
    end: dict[str, str | float] = {"text_anchor": "end"}
    parts.append(svg.text(box.title, it.left - 34, y, font_size=size, fill=INK, class_="ink", **end))
    if box.note:
        parts.append(svg.text(box.note, it.left - 34, y + 13, font_size=10, fill=DIM, class_="dim", **end))
    if box.height > 20:
        most = "100 %" if isinstance(box.strip, GpuStrip) else f"{box.strip.most:g}"
        for words, level in ((most, box.y + 8), ("0", box.y + box.height - 8)):
            parts.append(svg.text(words, it.left - 5, level + 3, font_size=9, fill=DIM, class_="dim", **end))
            parts.append(svg.element("line", x1=it.left, x2=it.right, y1=level, y2=level, stroke=RULE, class_="rule"))
    return parts


def _content(box: StripBox, it: StripPlan) -> list[str]:
    strip = box.strip
    if isinstance(strip, CountStrip):
        scale = (box.height - 16) / (strip.most or 1.0)
        shapes = outlines(strip.values, it.axis, box.y + box.height - 8, scale)
        look: dict[str, str | float] = {"fill": "#8b95a1", "fill_opacity": 0.55, "stroke": "#6b7682"}
        return [svg.element("polygon", points=svg.points(shape), **look) for shape in shapes]
    inside = _cells(box, strip, it) if it.cells else _curves(box, strip, it)
    area = svg.element(
        "rect", x=it.left, y=box.y, width=it.right - it.left, height=box.height, fill="#000000", fill_opacity=0
    )
    return [svg.element("g", svg.tip(strip.tip), *inside, area, class_="hit")]


def _curves(box: StripBox, strip: GpuStrip, it: StripPlan) -> list[str]:
    ground, room = box.y + box.height - 8, box.height - 16
    count = max(int((it.right - it.left) / CELL_PX), 1)
    parts = []
    util = means(strip.util, it.axis, count)
    for first, values in runs(util):
        line = _line(first, values, it, ground, room)
        shape = [(line[0][0], ground), *line, (line[-1][0], ground)]
        parts.append(svg.element("polygon", points=svg.points(shape), fill=UTIL, fill_opacity=0.3))
        parts.append(svg.element("polyline", points=svg.points(line), fill="none", stroke=UTIL, stroke_width=1.2))
    for first, values in runs(means(strip.memory, it.axis, count)):
        line = _line(first, values, it, ground, room)
        look: dict[str, str | float] = {"stroke": MEMORY, "stroke_width": 1.6, "stroke_dasharray": "5 2"}
        parts.append(svg.element("polyline", points=svg.points(line), fill="none", **look))
    return [*parts, *_unknown(util, it, ground), *_slots(strip, it, ground + 2, 3.0)]


def _cells(box: StripBox, strip: GpuStrip, it: StripPlan) -> list[str]:
    count = max(int((it.right - it.left) / CELL_PX), 1)
    size = (it.right - it.left) / count
    util = means(strip.util, it.axis, count)
    parts = []
    for first, values in runs(util):
        shades = [min(int(max(value, 0.0) * len(HEAT)), len(HEAT) - 1) for value in values]
        start = 0
        for place in range(1, len(shades) + 1):
            if place == len(shades) or shades[place] != shades[start]:
                x = it.left + (first + start) * size
                look: dict[str, str | float] = {"y": box.y + 1, "height": box.height - 5, "fill": HEAT[shades[start]]}
                parts.append(svg.element("rect", x=x, width=(place - start) * size, **look))
                start = place
    return [*parts, *_unknown(util, it, box.y + box.height / 2), *_slots(strip, it, box.y + box.height - 3.5, 2.5)]


def _line(first: int, values: Sequence[float], it: StripPlan, ground: float, room: float) -> list[tuple[float, float]]:
    count = max(int((it.right - it.left) / CELL_PX), 1)
    size = (it.right - it.left) / count
    points = [
        (it.left + (first + at + 0.5) * size, ground - min(max(value, 0.0), 1.0) * room)
        for at, value in enumerate(values)
    ]
    # A single value is a short line: a point would not be seen.
    return (
        points
        if len(points) > 1
        else [(points[0][0] - size / 2, points[0][1]), (points[0][0] + size / 2, points[0][1])]
    )


def _unknown(values: Sequence[float | None], it: StripPlan, y: float) -> list[str]:
    """A dotted line where nothing was measured."""
    size = (it.right - it.left) / len(values)
    gaps = runs([None if value is not None else 1.0 for value in values])
    look: dict[str, str | float] = {"stroke": "#868e96", "stroke_dasharray": "1 3", "class_": "edge"}
    return [
        svg.element("line", x1=it.left + first * size, x2=it.left + (first + len(part)) * size, y1=y, y2=y, **look)
        for first, part in gaps
    ]


def _slots(strip: GpuStrip, it: StripPlan, y: float, height: float) -> list[str]:
    """A band that is there where jobs had the GPU: the stronger, the more of it."""
    parts = []
    untils = [*(at for at, _ in strip.slots[1:]), it.axis.end]
    last = it.left
    for (at, value), until in zip(strip.slots, untils, strict=False):
        begin, end = max(it.axis.place(at), last), it.axis.place(until)
        if value and end - begin >= 0.4:
            look: dict[str, str | float] = {"fill": SLOTS, "fill_opacity": 0.35 + 0.65 * min(value, 1.0)}
            parts.append(svg.element("rect", x=begin, y=y, width=end - begin, height=height, **look))
            last = end
    return parts
