"""Bars in lanes over time, painted."""

from __future__ import annotations

from datetime import tzinfo

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.axis_ink import staying, time_labels, time_lines
from researchflow_tmux.drawing.gantt import Box, Chart, FlagBox, LaneBox, Plan, plan
from researchflow_tmux.drawing.looks import ALARM, DIM, INK, ZEBRA, face, look, text_on
from researchflow_tmux.drawing.sheet import Key, sheet


def gantt(chart: Chart, description: str, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """The picture as an SVG document. `description` says in words what is in it."""
    it = plan(chart, sheet_width=width, zone=zone, keys=_keys(chart))
    names = [part for lane in it.lanes for part in _name(lane, it)]
    parts = [
        *(part for number, lane in enumerate(it.lanes) for part in _ground(lane, it, number)),
        *time_lines(it.axis, it.top, it.bottom),
        *(part for lane in it.lanes for part in _content(lane)),
        staying("x", it.bottom, 0, it.left - 4, it.bottom - it.top, names),
        *time_labels(it.axis, it.top, it.bottom, it.now),
        *_thinned(it),
    ]
    return sheet(it.head, description, it.width, it.height, it.kinds, parts)


def _keys(chart: Chart) -> list[Key]:
    bars = [bar for lane in chart.lanes for bar in lane.bars]
    flags = [flag for lane in chart.lanes for flag in lane.flags]
    keys = []
    if any(bar.expected is not None and not bar.going_on for bar in bars):
        keys.append(Key("expected at its start", mark=_expected_line(5, 0, 14)))
    if any(bar.expected is not None and bar.going_on for bar in bars):
        keys.append(Key("expected from now on", mark=_ghost(0, 0, 14, 10, "running")))
    if any(bar.latest is not None for bar in bars):
        keys.append(Key("80 % interval", mark=_whisker(5, 1, 13)))
    if flags:
        keys.append(Key("deadline", mark=_flag_shape(3, 0, 10, missed=False)))
    if any(flag.missed for flag in flags):
        keys.append(Key("deadline missed", mark=_flag_shape(3, 0, 10, missed=True)))
    return keys


def _ground(lane: LaneBox, it: Plan, number: int) -> list[str]:
    if not number % 2:
        return []
    return [svg.element("rect", x=0, y=lane.y, width=it.width, height=lane.height, fill=ZEBRA, class_="zebra")]


def _name(lane: LaneBox, it: Plan) -> list[str]:
    end: dict[str, str | float] = {"text_anchor": "end"}
    middle = lane.y + lane.height / 2 + lane.font * 0.36 - (6 if lane.note else 0)
    name = svg.text(lane.title, it.left - 10, middle, font_size=lane.font, fill=INK, class_="ink", **end)
    parts = [svg.element("g", svg.title(lane.whole), name) if lane.title != lane.whole else name]
    if lane.note:
        parts.append(svg.text(lane.note, it.left - 10, middle + 13, font_size=10, fill=DIM, class_="dim", **end))
    return parts


def _thinned(it: Plan) -> list[str]:
    """How many bars have no box of their own."""
    merged = sum(box.bars for lane in it.lanes for box in lane.boxes if box.bars > 1)
    if not merged:
        return []
    words = f"{merged} bars are too short to be drawn one by one: neighbours are one, in the look of what failed."
    look: dict[str, str | float] = {"font_size": 10, "fill": DIM, "class_": "dim", "text_anchor": "end"}
    return [svg.text(words, it.right, it.height - 5, **look)]


def _content(lane: LaneBox) -> list[str]:
    parts = [_box(box) for box in lane.boxes]
    parts += [_flag(flag) for flag in lane.flags]
    for outline in lane.steps:
        parts.append(
            svg.element("polygon", points=svg.points(outline), fill="#8b95a1", fill_opacity=0.55, stroke="#6b7682")
        )
    return parts


def _box(box: Box) -> str:
    parts = [svg.tip(box.tip)]
    if box.ahead and box.line is not None:
        y, begin, end = box.line
        parts.append(_ghost(begin, y, end - begin, box.height, box.kind, beyond=box.beyond))
    parts.append(face(box.kind, box.x, box.y, box.width, box.height, 2.0 if box.width > 6 else 0.0))
    if box.line is not None and not box.ahead:
        parts.append(_expected_line(box.line[0], box.line[1], box.line[2], beyond=box.beyond))
    if box.spread is not None:
        y = box.y + box.height / 2 if box.ahead or box.line is None else box.line[0]
        parts.append(_whisker(y, *box.spread))
    if box.label:
        size = min(box.height - 2, 11.0)
        parts.append(
            svg.text(
                box.label,
                box.x + 4,
                box.y + box.height / 2 + size * 0.36,
                font_size=size,
                fill=text_on(box.kind),
                pointer_events="none",
                **_halo(box.kind),
            )
        )
    return svg.element("g", *parts, class_="hit")


def _halo(kind: str) -> dict[str, str | float]:
    """Around text that lies on a pattern: without it letters and lines run into each other."""
    it = look(kind)
    if not it.pattern:
        return {}
    return {"stroke": it.fill, "stroke_width": 3, "paint_order": "stroke", "stroke_linejoin": "round"}


def _ghost(x: float, y: float, width: float, height: float, kind: str, *, beyond: bool = False) -> str:
    fill = look(kind).fill
    parts = [
        svg.element(
            "rect",
            x=x,
            y=y + 0.5,
            width=max(width, 1),
            height=height - 1,
            fill=fill,
            fill_opacity=0.12,
            stroke=fill,
            stroke_dasharray="3 2",
        )
    ]
    if beyond:
        parts.append(_arrow(x + width, y + height / 2, fill))
    return "".join(parts)


def _arrow(x: float, y: float, stroke: str) -> str:
    shape = f"M{svg.number(x - 4)} {svg.number(y - 3)} l4 3 l-4 3"
    return svg.element("path", d=shape, fill="none", stroke=stroke, stroke_width=1.5, class_="line")


def _expected_line(y: float, begin: float, end: float, *, beyond: bool = False) -> str:
    shape = f"M{svg.number(begin)} {svg.number(y)} H{svg.number(end)}"
    if not beyond:
        shape += " m0 -2.5 v5"
    line = svg.element("path", d=shape, fill="none", stroke=INK, stroke_width=1.2, class_="line")
    return line + (_arrow(end, y, INK) if beyond else "")


def _whisker(y: float, begin: float, end: float) -> str:
    return svg.element(
        "path",
        d=f"M{svg.number(begin)} {svg.number(y)} m0 -3 v6 m0 -3 H{svg.number(end)} m0 -3 v6",
        fill="none",
        stroke=INK,
        stroke_width=0.9,
        class_="line",
    )


def _flag(box: FlagBox) -> str:
    shape = _flag_shape(box.x, box.y, box.height - 2, missed=box.flag.missed)
    return svg.element("g", svg.tip(box.flag.tip), shape, class_="hit")


def _flag_shape(x: float, y: float, height: float, *, missed: bool) -> str:
    """A pole with a flag: filled when it was missed."""
    fill = ALARM if missed else "#ffffff"
    size = min(height * 0.55, 9.0)
    pole = svg.element(
        "path",
        d=f"M{svg.number(x)} {svg.number(y)} v{svg.number(height)}",
        stroke=ALARM,
        stroke_width=1.5,
        class_="alarm-line",
    )
    cloth = svg.element(
        "path",
        d=f"M{svg.number(x)} {svg.number(y)} h{svg.number(size)} l-2 {svg.number(size / 2)} "
        f"l2 {svg.number(size / 2)} h-{svg.number(size)} z",
        fill=fill,
        stroke=ALARM,
        class_="alarm-line alarm" if missed else "alarm-line hollow",
    )
    return pole + cloth
