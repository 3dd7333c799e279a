"""Figures over time: gaps stay gaps, means are means, and everything is in the picture."""

from __future__ import annotations

from datetime import UTC
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.drawing.areas import MOST, ROW, Areas, Part, areas
from researchflow_tmux.drawing.areas import plan as areas_plan
from researchflow_tmux.drawing.steps import means, outlines, runs
from researchflow_tmux.drawing.strips import CountStrip, GpuStrip, Strips, plan, strips
from researchflow_tmux.drawing.timeaxis import TimeAxis

T = 1_790_000_000.0
SVG = "{http://www.w3.org/2000/svg}"
AXIS = TimeAxis(0.0, 100.0, 0.0, 1000.0, UTC)
HOSTILE = '</title><script>x</script>\x1b"&'


def gpu(title: str, note: str = "A100") -> GpuStrip:
    util = [(T, 0.5), (T + 20, None), (T + 60, 0.9), (T + 100, None)]
    return GpuStrip(title, note, util, [(T, 0.2), (T + 100, None)], [(T, 0.5), (T + 30, 0.0), (T + 50, 2.0)], (title,))


def picture(count: int) -> Strips:
    waiting = CountStrip("wait", "", [(T, 3.0)], 3.0)
    return Strips("Use", ["note"], [gpu(f"GPU {at}") for at in range(count)], [waiting], T, T + 100, T + 100)


def test_unknown_is_a_gap_and_not_nought() -> None:
    shapes = outlines([(0.0, 2.0), (20.0, None), (60.0, 1.0)], AXIS, 50.0, 10.0)
    assert shapes == [[(0, 50), (0, 30), (200, 30), (200, 50)], [(600, 50), (600, 40), (1000, 40), (1000, 50)]]
    assert means([(0.0, 2.0), (20.0, None), (60.0, 1.0)], AXIS, 5) == [2.0, None, None, 1.0, 1.0]
    assert means([], AXIS, 3) == [None, None, None]


def test_means_go_by_time() -> None:
    assert means([(0.0, 1.0), (30.0, 0.0)], AXIS, 2) == [pytest.approx(0.6), 0.0]


@given(
    st.lists(st.tuples(st.integers(-50, 150), st.one_of(st.none(), st.floats(0, 1))), max_size=12), st.integers(1, 40)
)
def test_means_lie_within_what_was_measured(profile: list[tuple[int, float | None]], count: int) -> None:
    profile = sorted(profile, key=lambda each: each[0])
    known = [value for _, value in profile if value is not None]
    for value in means(profile, AXIS, count):
        assert value is None or min(known) - 1e-9 <= value <= max(known) + 1e-9


def test_runs_are_the_stretches_between_gaps() -> None:
    assert runs([None, 1.0, 2.0, None, 3.0]) == [(1, [1.0, 2.0]), (4, [3.0])]


@pytest.mark.parametrize("count", [0, 1, 12, 13, 64])
def test_any_number_of_gpus(count: int) -> None:
    it = plan(picture(count), zone=UTC)
    assert it.cells == (count > 12)
    assert len(it.boxes) == count + 1
    assert all(one.y + one.height <= other.y + 1e-6 for one, other in pairwise(it.boxes))
    tree = ElementTree.fromstring(strips(picture(count), "described", zone=UTC))
    for rect in tree.iter(f"{SVG}rect"):
        assert float(rect.attrib.get("x", 0)) + float(rect.attrib["width"]) <= it.width + 1e-6
    for line in tree.iter(f"{SVG}polyline"):
        places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        assert all(it.left - 0.1 <= x <= it.right + 0.1 and it.top <= y <= it.bottom for x, y in places)


def test_names_are_text() -> None:
    it = Strips(HOSTILE, [HOSTILE], [gpu(HOSTILE, HOSTILE)], [], T, T + 100)
    shares = Areas(HOSTILE, [HOSTILE], [Part(HOSTILE, [1.0], 1.0, 1.0)], T, T + 100)
    for made in (strips(it, HOSTILE, zone=UTC), areas(shares, HOSTILE, zone=UTC)):
        assert "<script" not in made
        assert "\x1b" not in made


def test_where_nothing_was_measured_there_is_a_dotted_line() -> None:
    tree = ElementTree.fromstring(strips(picture(1), "d", zone=UTC))
    dotted = [line for line in tree.iter(f"{SVG}line") if line.attrib.get("stroke-dasharray") == "1 3"]
    assert len(dotted) == 1


def parts(count: int) -> list[Part]:
    return [Part(f"project {at}", [1 / count, None, 1 / count], 1 / count, 1 / count) for at in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 8, 30])
def test_areas_fill_the_whole_but_for_gaps_and_their_names_do_not_touch(count: int) -> None:
    it = areas_plan(Areas("Shares", [], parts(count), T, T + 99), zone=UTC)
    assert len(it.shapes) == min(count, MOST)
    if count:
        highest = min(y for _, _, shapes in it.shapes for shape in shapes for _, y in shape)
        assert highest == pytest.approx(it.top, abs=0.01)
        assert all(len(shapes) == 2 for _, _, shapes in it.shapes)
    for one, other in pairwise(it.labels):
        assert one.y - other.y >= ROW - 1e-6
    assert all(it.top <= label.y <= it.bottom + 14 for label in it.labels)
    ElementTree.fromstring(areas(Areas("Shares", [], parts(count), T, T + 99), "d", zone=UTC))


def test_those_without_a_share_are_named_too() -> None:
    both = [Part("a", [1.0], 1.0, 0.5), Part("b", [0.0], 0.0, 0.5)]
    labels = areas_plan(Areas("Shares", [], both, T, T + 9), zone=UTC).labels
    assert [(each.name, each.figures) for each in labels] == [("a", "had 100 %, due 50 %"), ("b", "had 0 %, due 50 %")]
