"""Boxes of jobs that need each other: none over another, all in the picture, names that fit."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.drawing.dag import DagPlan, Drawing, Link, Node, components, plan
from researchflow_tmux.drawing.dag_ink import dag
from researchflow_tmux.drawing.lettering import width

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</title><script>x</script>\x1b"&'


def node(name: str, *, cluster: str = "p", critical: bool = False) -> Node:
    parts = [("succeeded", 1), ("failed", 2)]
    return Node(name, parts, "1.2 h · exp. 1.0 h", (name,), 4320.0, 3600.0, critical, cluster)


def drawing(count: int, pairs: list[tuple[int, int]]) -> Drawing:
    return Drawing("Graph", ["note"], [node(f"job_{at}") for at in range(count)], [Link(*pair) for pair in pairs])


def check(it: DagPlan) -> None:
    for number, box in enumerate(it.boxes):
        assert box.x >= 0
        assert box.x + box.width <= it.width
        assert box.y >= it.head.bottom
        assert box.y + box.height <= it.height
        assert width(box.name, 10.5 if box.small else 12.0) <= box.width
        for other in it.boxes[:number]:
            apart_x = box.x + box.width <= other.x + 1e-6 or other.x + other.width <= box.x + 1e-6
            apart_y = box.y + box.height <= other.y + 1e-6 or other.y + other.height <= box.y + 1e-6
            assert apart_x or apart_y
    for line in it.lines:
        assert all(0 <= x <= it.width and it.head.bottom <= y <= it.height for x, y in line.points)
    for number, frame in enumerate(it.frames):
        for other_frame in it.frames[:number]:
            assert (
                frame.x >= other_frame.x + other_frame.width
                or other_frame.x >= frame.x + frame.width
                or frame.y >= other_frame.y + other_frame.height
                or other_frame.y >= frame.y + frame.height
            )


PAIRS = st.lists(st.tuples(st.integers(0, 18), st.integers(1, 19)), max_size=30)


@settings(max_examples=50)
@given(PAIRS)
def test_no_box_is_over_another_or_outside(pairs: list[tuple[int, int]]) -> None:
    check(plan(drawing(20, sorted({pair for pair in pairs if pair[0] < pair[1]}))))


@pytest.mark.parametrize("count", [0, 1, 2, 120])
def test_any_number_of_boxes(count: int) -> None:
    it = drawing(count, [(at, at + 1) for at in range(count - 1)])
    check(plan(it))
    tree = ElementTree.fromstring(dag(it, "described"))
    assert [each.text for each in tree.iter(f"{SVG}desc")] == ["described"]


def test_a_long_chain_goes_down_and_a_short_one_to_the_right() -> None:
    long, short = plan(drawing(40, [(at, at + 1) for at in range(39)])), plan(drawing(4, [(0, 1), (1, 2), (2, 3)]))
    assert len({box.x for box in long.boxes}) == 1
    assert len({box.y for box in short.boxes}) == 1


def test_a_junction_is_a_point_between_layers() -> None:
    nodes = [node("a"), node("b"), node("c"), node("d"), Node("", (), junction=True, tip=("all",))]
    links = [Link(0, 4), Link(1, 4), Link(4, 2), Link(4, 3)]
    it = plan(Drawing("Graph", [], nodes, links))
    check(it)
    assert [box.width for box in it.boxes if box.node.junction] == [0.0]


def test_names_are_text() -> None:
    it = Drawing(HOSTILE, [HOSTILE], [node(HOSTILE, cluster=HOSTILE)], [])
    assert "<script" not in dag(it, HOSTILE)
    assert "\x1b" not in dag(it, HOSTILE)


def test_the_critical_path_is_marked_by_more_than_a_colour() -> None:
    it = Drawing(
        "g", [], [node("a", critical=True), node("b", critical=True), node("c")], [Link(0, 1, True), Link(0, 2)]
    )
    tree = ElementTree.fromstring(dag(it, "d"))
    widths = {each.attrib.get("stroke-width") for each in tree.iter(f"{SVG}path") if each.attrib.get("fill") == "none"}
    assert {"2.6", "1.1"} <= widths
    assert "critical path" in {each.text for each in tree.iter(f"{SVG}text")}


def test_conditions_are_dashed_and_explained() -> None:
    it = Drawing(
        "g", [], [node("a"), node("b"), node("c")], [Link(0, 1, False, "failure"), Link(0, 2, False, "always")]
    )
    words = {each.text for each in ElementTree.fromstring(dag(it, "d")).iter(f"{SVG}text")}
    assert {"only after a failure", "after any end"} <= words


def test_components_are_what_is_connected_the_largest_first() -> None:
    assert components(6, [(3, 4), (4, 5), (0, 1)]) == [[3, 4, 5], [0, 1], [2]]
