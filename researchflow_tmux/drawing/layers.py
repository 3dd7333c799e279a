"""A graph without circles in layers: every edge goes forward, and as few edges as can be had cross each other.

Layers by the longest path from a source; edges over several layers pass through a bend in each; the order within the
layers by the barycentres of the neighbours (Sugiyama, Tagawa, Toda 1981), of all sweeps the one with fewest crossings.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 12
PASSES = 8

Edge = tuple[int, int]


class Layered(NamedTuple):
    """Where everything stands: nodes are 0 … n - 1, bends come after them."""

    layers: list[list[int]]
    """The points of each layer in their order."""
    layer: list[int]
    """The layer of each point."""
    paths: list[list[int]]
    """For each edge its points, from its begin over its bends to its end."""


def layered(count: int, edges: Sequence[Edge]) -> Layered:
    """Layers and orders for `count` nodes. `edges` have no circle; each is (before, after), given once."""
    layer = _longest(count, edges)
    paths, segments = [], []
    for before, after in edges:
        path = [before]
        for between in range(layer[before] + 1, layer[after]):
            path.append(len(layer))
            layer.append(between)
        path.append(after)
        paths.append(path)
        segments += list(pairwise(path))
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for point in _first_order(len(layer), segments):
        layers[layer[point]].append(point)
    return Layered(_ordered(layers, segments, len(layer)), layer, paths)


def crossings(layers: Sequence[Sequence[int]], segments: Sequence[Edge]) -> int:
    """How many pairs of edges between neighbouring layers cross."""
    place = {point: at for points in layers for at, point in enumerate(points)}
    layer = {point: number for number, points in enumerate(layers) for point in points}
    between: list[list[Edge]] = [[] for _ in layers]
    for before, after in segments:
        between[layer[before]].append((place[before], place[after]))
    count = 0
    for pairs in between:
        seen: list[int] = []
        for _, end in sorted(pairs):
            count += len(seen) - bisect_left(seen, end + 1)
            insort(seen, end)
    return count


def spread(wanted: Sequence[float], room: Sequence[float]) -> list[float]:
    """Places in the order of `wanted`, as near to it as can be, each at least `room[i]` after the one before.

    `room[0]` is ignored. Least squares: neighbours that would come too near share their mean.
    """
    offsets, at = [], 0.0
    for number, each in enumerate(room):
        at += each if number else 0.0
        offsets.append(at)
    blocks: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        mean, size = place - offset, 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def places(it: Layered, room: Sequence[float]) -> list[float]:
    """A coordinate along its layer for each point: near its neighbours, in the order of the layer.

    `room` = how much of the layer each point takes; it is kept free around it.
    """
    neighbours: list[list[list[int]]] = [[[], []] for _ in it.layer]
    for path in it.paths:
        for before, after in pairwise(path):
            neighbours[after][0].append(before)
            neighbours[before][1].append(after)
    at = [0.0] * len(it.layer)
    for points in it.layers:
        for point, place in zip(points, spread([0.0] * len(points), _gaps(points, room)), strict=True):
            at[point] = place
    for number in range(PASSES):
        side = number % 2
        for points in it.layers if not side else reversed(it.layers):
            wanted = []
            for point in points:
                near = neighbours[point][side] or neighbours[point][1 - side]
                wanted.append(sum(at[each] for each in near) / len(near) if near else at[point])
            for point, place in zip(points, spread(wanted, _gaps(points, room)), strict=True):
                at[point] = place
    return at


def _gaps(points: Sequence[int], room: Sequence[float]) -> list[float]:
    return [0.0, *((room[one] + room[other]) / 2 for one, other in pairwise(points))]


def _longest(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each node: one after the last of those before it; what has none, right before what follows."""
    after: list[list[int]] = [[] for _ in range(count)]
    needs = [0] * count
    for one, other in edges:
        after[one].append(other)
        needs[other] += 1
    layer, ready, left = [0] * count, [node for node in range(count) if not needs[node]], list(needs)
    for node in ready:
        for other in after[node]:
            layer[other] = max(layer[other], layer[node] + 1)
            left[other] -= 1
            if not left[other]:
                ready.append(other)
    for node in range(count):
        if not needs[node] and after[node]:
            layer[node] = min(layer[other] for other in after[node]) - 1
    return layer


def _first_order(count: int, segments: Sequence[Edge]) -> list[int]:
    """Depth first: what belongs together stands together."""
    after: list[list[int]] = [[] for _ in range(count)]
    needs = [0] * count
    for one, other in segments:
        after[one].append(other)
        needs[other] += 1
    seen, order = [False] * count, []
    for root in range(count):
        stack = [root] if not needs[root] else []
        while stack:
            point = stack.pop()
            if not seen[point]:
                seen[point] = True
                order.append(point)
                stack += reversed(after[point])
    return order


def _ordered(layers: list[list[int]], segments: Sequence[Edge], count: int) -> list[list[int]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for one, other in segments:
        after[one].append(other)
        before[other].append(one)
    best, fewest = [list(points) for points in layers], crossings(layers, segments)
    for number in range(SWEEPS):
        if not fewest:
            break
        down = number % 2 == 0
        near = before if down else after
        place = {point: at for points in layers for at, point in enumerate(points)}
        for points in layers if down else reversed(layers):
            keys = {
                point: sum(place[each] for each in near[point]) / len(near[point]) if near[point] else place[point]
                for point in points
            }
            points.sort(key=keys.__getitem__)
            place.update((point, at) for at, point in enumerate(points))
        found = crossings(layers, segments)
        if found < fewest:
            best, fewest = [list(points) for points in layers], found
    return best
