"""Jobs that need each other, laid out: boxes in layers, each group of connected ones in a frame of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from researchflow_tmux.drawing.layers import Edge, layered, places
from researchflow_tmux.drawing.lettering import shortened
from researchflow_tmux.drawing.sheet import MARGIN, Head, Key, head, keys_of

SMALL_ABOVE = 90
"""With more boxes than these only names are in them."""
ACROSS_ABOVE = 14
"""More layers than these go down, not to the right: a page is scrolled down."""
WIDEN = 2.5
PADDING, TITLE_ROOM = 12.0, 20.0
BETWEEN = 14.0
NAME, SMALL_NAME, DETAIL = 12.0, 10.5, 10.5


class Size(NamedTuple):
    """How large boxes are, and how far apart."""

    width: float
    height: float
    beside: float
    """Between boxes of a layer."""
    between: float
    """Between layers."""


LARGE, SMALL = Size(190.0, 50.0, 14.0, 52.0), Size(112.0, 22.0, 7.0, 38.0)


class Node(NamedTuple):
    """A job, or several that are drawn as one."""

    name: str
    parts: Sequence[tuple[str, int]]
    """(state, how many jobs): one for a single job."""
    details: str = ""
    tip: tuple[str, ...] = ()
    took: float | None = None
    """Seconds so far."""
    expected: float | None = None
    critical: bool = False
    cluster: str = ""
    junction: bool = False
    """No job but a point at which links meet: all that lead to it are needed by all that leave it."""

    @property
    def jobs(self) -> int:
        """Jobs in it."""
        return sum(count for _, count in self.parts)


class Link(NamedTuple):
    """One comes after another."""

    before: int
    after: int
    critical: bool = False
    style: str = "success"
    """`success`, `failure` or `always`: on what it waits."""


class Drawing(NamedTuple):
    """All there is to draw."""

    title: str
    notes: Sequence[str]
    nodes: Sequence[Node]
    links: Sequence[Link]


class NodeBox(NamedTuple):
    """A node where it stands."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    name: str
    details: str
    small: bool


class LinkLine(NamedTuple):
    """A link where it runs."""

    link: Link
    points: list[tuple[float, float]]
    down: bool


class Frame(NamedTuple):
    """Around nodes that belong together."""

    title: str
    whole: str
    x: float
    y: float
    width: float
    height: float


class DagPlan(NamedTuple):
    """The picture as it is laid out."""

    head: Head
    width: float
    height: float
    boxes: list[NodeBox]
    lines: list[LinkLine]
    frames: list[Frame]
    kinds: list[str]


class _Part(NamedTuple):
    """One group of connected nodes, with its upper left corner at (0, 0)."""

    frame: Frame
    boxes: list[NodeBox]
    lines: list[LinkLine]


def plan(it: Drawing, *, sheet_width: float = 1200.0, keys: Sequence[Key] = ()) -> DagPlan:
    """Lay it out. It may become wider than `sheet_width` where a single group is."""
    size = SMALL if sum(not node.junction for node in it.nodes) > SMALL_ABOVE else LARGE
    parts = [_part(it, nodes, size) for nodes in components(len(it.nodes), [link[:2] for link in it.links])]
    area = sum((part.frame.width + BETWEEN) * (part.frame.height + BETWEEN) for part in parts)
    # Many parts side by side rather than in one long column.
    wide = min(max(sheet_width, (area * 1.5) ** 0.5), sheet_width * WIDEN)
    width = max([wide, *(part.frame.width + 2 * MARGIN for part in parts)])
    kinds = list(dict.fromkeys(kind for node in it.nodes for kind, _ in node.parts))
    top = head(it.title, it.notes, [*keys_of(kinds), *keys], sheet_width)
    boxes: list[NodeBox] = []
    lines: list[LinkLine] = []
    frames: list[Frame] = []
    x, y, row = MARGIN, top.bottom + 6, 0.0 if parts else 30.0
    for part in parts:
        if x > MARGIN and x + part.frame.width > width - MARGIN:
            x, y, row = MARGIN, y + row + BETWEEN, 0.0
        boxes += [box._replace(x=box.x + x, y=box.y + y) for box in part.boxes]
        lines += [line._replace(points=[(px + x, py + y) for px, py in line.points]) for line in part.lines]
        frames.append(part.frame._replace(x=x, y=y))
        x, row = x + part.frame.width + BETWEEN, max(row, part.frame.height)
    right = max([sheet_width, *(frame.x + frame.width + MARGIN for frame in frames)])
    return DagPlan(top, right, y + row + MARGIN, boxes, lines, frames, kinds)


def components(count: int, edges: Iterable[Edge]) -> list[list[int]]:
    """Nodes that are connected, in whatever direction; the largest first, each in its own order."""
    root = list(range(count))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for one, other in edges:
        root[find(one)] = find(other)
    found: dict[int, list[int]] = {}
    for node in range(count):
        found.setdefault(find(node), []).append(node)
    return sorted(found.values(), key=lambda nodes: (-len(nodes), nodes[0]))


def _part(it: Drawing, nodes: Sequence[int], size: Size) -> _Part:
    local = {node: at for at, node in enumerate(nodes)}
    links = [link for link in it.links if link.before in local]
    order = layered(len(nodes), [(local[link.before], local[link.after]) for link in links])
    down = len(order.layers) > ACROSS_ABOVE
    along, across = (size.height, size.width) if down else (size.width, size.height)
    is_box = [not it.nodes[node].junction for node in nodes] + [False] * (len(order.layer) - len(nodes))
    places_at = places(order, [across + size.beside if box else size.beside * 1.4 for box in is_box])
    lowest = min(place - across / 2 * box for place, box in zip(places_at, is_box, strict=True))
    starts = _starts(order.layers, is_box, along, size.between)
    clusters = {it.nodes[node].cluster for node in nodes if not it.nodes[node].junction}
    title = clusters.pop() if len(clusters) == 1 else ""
    top = PADDING + (TITLE_ROOM if title else 0.0)

    def corner(point: int) -> tuple[float, float]:
        forward, beside = starts[order.layer[point]][0], places_at[point] - lowest
        return (beside + PADDING, forward + top) if down else (forward + PADDING, beside + top)

    boxes = []
    for node, at in local.items():
        x, y = corner(at)
        if it.nodes[node].junction:
            middle = starts[order.layer[at]][1] / 2
            point = (x, y + middle) if down else (x + middle, y)
            boxes.append(NodeBox(it.nodes[node], *point, 0.0, 0.0, "", "", small=True))
            continue
        x, y = (x - size.width / 2, y) if down else (x, y - size.height / 2)
        boxes.append(_box(it.nodes[node], x, y, size))
    lines = [
        LinkLine(link, _through([(*corner(point), starts[order.layer[point]][1]) for point in path], down), down)
        for link, path in zip(links, order.paths, strict=True)
    ]
    points = [point for line in lines for point in line.points]
    right = max([box.x + box.width for box in boxes] + [x for x, _ in points])
    bottom = max([box.y + box.height for box in boxes] + [y for _, y in points])
    frame = Frame(shortened(title, SMALL_NAME, right - PADDING), title, 0.0, 0.0, right + PADDING, bottom + PADDING)
    return _Part(frame, boxes, lines)


def _starts(
    layers: Sequence[Sequence[int]], is_box: Sequence[bool], along: float, between: float
) -> list[tuple[float, float]]:
    """Where each layer begins, and how long it is: one without boxes is a point."""
    found, at = [], 0.0
    for points in layers:
        length = along if any(is_box[point] for point in points) else 0.0
        found.append((at, length))
        at += length + (between if length else between * 0.6)
    return found


def _through(corners: Sequence[tuple[float, float, float]], down: bool) -> list[tuple[float, float]]:
    """The points of a line: out of the box it begins at, in and out of each bend, into the box it ends at."""
    points = []
    for number, (x, y, along) in enumerate(corners):
        inner, outer = ((x, y), (x, y + along)) if down else ((x, y), (x + along, y))
        if number:
            points.append(inner)
        if number < len(corners) - 1:
            points.append(outer)
    return points


def _box(node: Node, x: float, y: float, size: Size) -> NodeBox:
    small = size is SMALL
    count = f" ×{node.jobs}" if node.jobs > 1 else ""
    font = SMALL_NAME if small else NAME
    name = shortened(node.name, font, size.width - 22 - 7 * len(count)) + count
    details = "" if small else shortened(node.details, DETAIL, size.width - 22)
    return NodeBox(node, x, y, size.width, size.height, name, details, small)
