"""Layers: every link goes forward, nothing overlaps, and fewer links cross than in any old order."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.drawing.layers import Layered, crossings, layered, places, spread


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(0, 14))
    if count < 2:
        return count, []
    pairs = st.tuples(st.integers(0, count - 2), st.integers(1, count - 1))
    chosen = draw(st.lists(pairs, max_size=25))
    return count, sorted({(before, after) for before, after in chosen if before < after})


def segments(it: Layered) -> list[tuple[int, int]]:
    return [pair for path in it.paths for pair in pairwise(path)]


@settings(max_examples=80)
@given(graphs())
def test_every_step_of_a_link_goes_to_the_next_layer(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    it = layered(count, edges)
    assert [(path[0], path[-1]) for path in it.paths] == edges
    assert all(it.layer[after] == it.layer[before] + 1 for before, after in segments(it))
    assert sorted(point for points in it.layers for point in points) == list(range(len(it.layer)))
    assert all(it.layer[point] == number for number, points in enumerate(it.layers) for point in points)


@settings(max_examples=80)
@given(graphs())
def test_points_of_a_layer_keep_their_room_and_order(graph: tuple[int, list[tuple[int, int]]]) -> None:
    it = layered(*graph)
    room = [10.0 if point < graph[0] else 3.0 for point in range(len(it.layer))]
    at = places(it, room)
    for points in it.layers:
        for one, other in pairwise(points):
            assert at[other] - at[one] >= (room[one] + room[other]) / 2 - 1e-6


def brute_crossings(layers: list[list[int]], pairs: list[tuple[int, int]]) -> int:
    place = {point: (number, at) for number, points in enumerate(layers) for at, point in enumerate(points)}
    found = 0
    for number, (a, b) in enumerate(pairs):
        for c, d in pairs[:number]:
            if place[a][0] == place[c][0]:
                found += (place[a][1] - place[c][1]) * (place[b][1] - place[d][1]) < 0
    return found


@settings(max_examples=60)
@given(graphs())
def test_crossings_are_counted_right(graph: tuple[int, list[tuple[int, int]]]) -> None:
    it = layered(*graph)
    assert crossings(it.layers, segments(it)) == brute_crossings(it.layers, segments(it))


def test_what_can_be_untangled_is() -> None:
    edges = [(0, 5), (1, 4), (2, 3)]
    it = layered(6, edges)
    assert crossings(it.layers, segments(it)) == 0
    best = min(brute_crossings([[0, 1, 2], list(order)], edges) for order in permutations([3, 4, 5]))
    assert best == 0


def test_a_source_stands_right_before_what_needs_it() -> None:
    it = layered(4, [(0, 1), (1, 2), (3, 2)])
    assert it.layer == [0, 1, 2, 1]


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 50)), max_size=12))
def test_spread_keeps_distances_and_leaves_alone_what_is_apart(given_ones: list[tuple[float, float]]) -> None:
    wanted, room = [each[0] for each in given_ones], [each[1] for each in given_ones]
    found = spread(wanted, room)
    for place in range(1, len(found)):
        assert found[place] - found[place - 1] >= room[place] - 1e-6
    if all(b - a >= gap for a, b, gap in zip(wanted, wanted[1:], room[1:], strict=False)):
        assert found == pytest.approx(wanted)
    if found:  # least squares with a common shift left free: their mean is kept
        assert sum(found) == pytest.approx(sum(wanted), abs=1e-6)
