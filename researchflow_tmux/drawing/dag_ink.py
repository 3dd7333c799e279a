"""Jobs that need each other, painted."""

from __future__ import annotations

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.dag import DETAIL, NAME, SMALL_NAME, DagPlan, Drawing, Frame, LinkLine, NodeBox, plan
from researchflow_tmux.drawing.looks import ALARM, DIM, INK, PAPER, RULE, face
from researchflow_tmux.drawing.sheet import Key, sheet

STRIP = 9.0
DASHES = {"success": "", "failure": "5 3", "always": "1.5 3"}
WORDS = {"failure": "only after a failure", "always": "after any end"}


def dag(it: Drawing, description: str, *, width: float = 1200.0) -> str:
    """The picture as an SVG document. `description` says in words what is in it."""
    found = plan(it, sheet_width=width, keys=_keys(it))
    # The critical path over all others, and boxes over lines.
    lines = sorted(found.lines, key=lambda line: line.link.critical)
    parts = [*map(_frame, found.frames), *map(_line, lines), *map(_box, found.boxes)]
    return sheet(found.head, description, found.width, found.height, found.kinds, [*parts, *_nothing(found)])


def _keys(it: Drawing) -> list[Key]:
    keys = []
    if any(node.critical for node in it.nodes):
        look: dict[str, str | float] = {"fill": "none", "stroke": ALARM, "stroke_width": 2.5, "class_": "alarm-line"}
        keys.append(Key("critical path", mark=svg.element("rect", x=1, y=1, width=12, height=8, rx=2, **look)))
    if any(node.expected is not None and node.took is not None for node in it.nodes):
        keys.append(Key("time taken, and expected", mark=_length(0, 3, 10, 12)))
    styles = [style for style in WORDS if any(link.style == style for link in it.links)]
    return keys + [Key(WORDS[style], mark=_path("M0 5 H14", critical=False, style=style)) for style in styles]


def _nothing(found: DagPlan) -> list[str]:
    if found.boxes:
        return []
    return [svg.text("no jobs that need each other", 16, found.height - 20, font_size=13, fill=DIM, class_="dim")]


def _frame(frame: Frame) -> str:
    place = {"x": frame.x, "y": frame.y, "width": frame.width, "height": frame.height}
    parts = [svg.element("rect", **place, rx=6, fill="none", stroke=RULE, class_="rule")]
    if frame.title:
        look: dict[str, str | float] = {"font_size": 11, "font_weight": 600, "fill": DIM, "class_": "dim"}
        parts.append(svg.text(frame.title, frame.x + 12, frame.y + 19, **look))
    return svg.element("g", svg.title(frame.whole), *parts) if frame.title != frame.whole else "".join(parts)


def _line(line: LinkLine) -> str:
    """Straight through the layers, bent between them; with an arrow at its end."""
    first, *rest = line.points
    shape = f"M{_at(first)}"
    end = first
    for number, point in enumerate(rest):
        if number % 2:  # within a layer
            shape += f" L{_at(point)}"
        elif line.down:
            half = (end[1] + point[1]) / 2
            shape += f" C{_at((end[0], half))} {_at((point[0], half))} {_at(point)}"
        else:
            half = (end[0] + point[0]) / 2
            shape += f" C{_at((half, end[1]))} {_at((half, point[1]))} {_at(point)}"
        end = point
    head = f"M{_at(end)} " + ("l-3.5 -6 h7 z" if line.down else "l-6 -3.5 v7 z")
    critical = line.link.critical
    arrow = svg.element("path", d=head, fill=ALARM if critical else "#868e96", class_="alarm" if critical else "")
    return _path(shape, critical=critical, style=line.link.style) + arrow


def _path(shape: str, *, critical: bool, style: str) -> str:
    look: dict[str, str | float] = {
        "stroke": ALARM if critical else "#868e96",
        "stroke_width": 2.6 if critical else 1.1,
        "class_": "alarm-line" if critical else "edge",
    }
    if DASHES[style]:
        look["stroke_dasharray"] = DASHES[style]
    return svg.element("path", d=shape, fill="none", **look)


def _box(box: NodeBox) -> str:
    node = box.node
    if node.junction:
        return svg.element("g", svg.tip(node.tip), svg.element("circle", cx=box.x, cy=box.y, r=3, fill="#868e96"))
    parts = [svg.tip(node.tip or (node.name,))]
    outline: dict[str, str | float] = {
        "stroke": ALARM if node.critical else "#868e96",
        "stroke_width": 2.4 if node.critical else 1,
        "class_": "box face" + (" alarm-line" if node.critical else ""),
    }
    behind = (5, 2.5) if node.jobs > 1 else ()
    parts += [_card(box, shift, {**outline, "stroke_width": 1}) for shift in behind]
    parts += [_card(box, 0, outline), *_strip(box)]
    font = SMALL_NAME if box.small else NAME
    x, y = box.x + STRIP + 8, box.y + (box.height / 2 + font * 0.36 if box.small else 18)
    quiet: dict[str, str | float] = {"pointer_events": "none"}
    parts.append(svg.text(box.name, x, y, font_size=font, font_weight=600, fill=INK, class_="ink", **quiet))
    if box.details:
        parts.append(svg.text(box.details, x, box.y + 33, font_size=DETAIL, fill=DIM, class_="dim", **quiet))
    longest = max(node.took or 0.0, node.expected or 0.0)
    if not box.small and node.took is not None and longest > 0:
        scale = (box.width - STRIP - 18) / longest
        expected = None if node.expected is None else node.expected * scale
        parts.append(_length(x, box.y + box.height - 10, node.took * scale, expected))
    return svg.element("g", *parts, class_="hit")


def _card(box: NodeBox, shift: float, look: dict[str, str | float]) -> str:
    return svg.element(
        "rect", x=box.x + shift, y=box.y - shift, width=box.width, height=box.height, rx=4, fill=PAPER, **look
    )


def _strip(box: NodeBox) -> list[str]:
    """The states along the left edge: of several jobs each has its part."""
    total = sum(count for _, count in box.node.parts) or 1
    room, parts = box.height - 4, []
    y = box.y + 2
    for kind, count in box.node.parts:
        height = room * count / total
        parts.append(face(kind, box.x + 2, y, STRIP, height, 2.0 if len(box.node.parts) == 1 else 0.0))
        y += height
    return parts


def _length(x: float, y: float, took: float, expected: float | None) -> str:
    """A bar of what it took, with a mark where it was expected to end."""
    bar = svg.element("rect", x=x, y=y, width=max(took, 1), height=4, fill="#868e96")
    if expected is None:
        return bar
    mark = f"M{svg.number(x + expected)} {svg.number(y - 2)} v8"
    return bar + svg.element("path", d=mark, stroke=INK, stroke_width=1.6, class_="line")


def _at(point: tuple[float, float]) -> str:
    return f"{svg.number(point[0])} {svg.number(point[1])}"
