"""Bars stay in the picture, never cover each other, and carry labels that fit, whatever they are called."""

from __future__ import annotations

import re
from datetime import UTC
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from researchflow_tmux.drawing.gantt import Bar, Box, Chart, Flag, Lane, Plan, plan
from researchflow_tmux.drawing.gantt_ink import gantt
from researchflow_tmux.drawing.lettering import width
from researchflow_tmux.drawing.looks import LOOKS

SVG = "{http://www.w3.org/2000/svg}"
T = 1_790_000_000.0
KINDS = st.sampled_from([*LOOKS, "something new"])


def chart(*lanes: Lane, span: float = 100.0, now: float | None = None) -> Chart:
    return Chart("Timeline", ["a note"], lanes, T, T + span, now)


def bar(begin: float, end: float, kind: str = "succeeded", label: str = "job", **more: float | bool | None) -> Bar:
    return Bar(T + begin, T + end, 0, kind, label, (label,), **more)  # type: ignore[arg-type]


def boxes(it: Plan) -> list[Box]:
    return [box for lane in it.lanes for box in lane.boxes]


STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from([0.0, 0.001, 3.0]),
    st.sampled_from([0.0, 0.0005, 0.3, 9.0]),
    KINDS,
    st.sampled_from(["", "a", "train_lr_0.1", "漢字" * 9, "W" * 40, "a\nb"]),
    st.sampled_from([None, 5.0, -2.0]),
)


@st.composite
def rows(draw: st.DrawFn) -> list[Bar]:
    """Bars of two rows, one after another, some of them very short."""
    at = [draw(st.sampled_from([-10.0, 0.0, 50.0])) for _ in range(2)]
    bars = []
    for row, gap, length, kind, label, late in draw(st.lists(STEPS, max_size=20)):
        begin = at[row] + gap
        at[row] = begin + length
        expected = None if late is None else T + max(at[row] + late, begin)
        bars.append(Bar(T + begin, T + at[row], row, kind, label, (label,), expected))
    return bars


@settings(max_examples=60)
@given(rows(), st.integers(400, 3000))
def test_no_bar_leaves_the_picture_or_covers_another(bars: list[Bar], sheet_width: int) -> None:
    it = plan(chart(Lane("GPU 0", bars)), sheet_width=sheet_width, zone=UTC)
    shown = boxes(it)
    assert len(shown) <= len(bars)
    for box in shown:
        assert it.left <= box.x
        assert box.x + box.width <= it.right + 1e-6
        assert it.top <= box.y
        assert box.y + box.height <= it.bottom
        assert box.label == "" or width(box.label, min(box.height - 2, 11.0)) <= box.width
        assert box.line is None or (it.left <= box.line[1] <= box.line[2] <= it.right)
    for row in {box.y for box in shown}:
        own = sorted((box for box in shown if box.y == row), key=lambda box: box.x)
        assert all(one.x + one.width <= other.x + 1e-6 for one, other in pairwise(own))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_names_are_shown_and_never_become_markup(names: list[str]) -> None:
    bars = [bar(10 * at, 10 * at + 9, label=name) for at, name in enumerate(names)]
    flag = Flag(T + 5, tuple(names), missed=True)
    lanes = [Lane(each.label, [each], [flag], each.label) for each in bars]
    tree = ElementTree.fromstring(gantt(chart(*lanes), names[0], zone=UTC))
    allowed = "svg title desc style defs pattern circle rect text g line path polygon"
    assert {each.tag.removeprefix(SVG) for each in tree.iter()} <= set(allowed.split())


def test_markup_in_names_is_text() -> None:
    hostile = '</title><script>alert("x")</script> & \x1b[31m\n\u202e'
    picture = gantt(chart(Lane(hostile, [bar(0, 90, label=hostile)])), hostile, zone=UTC)
    assert "<script" not in picture
    assert "\x1b" not in picture
    assert "\u202e" not in picture


def test_it_needs_nothing_from_anywhere() -> None:
    picture = gantt(chart(Lane("a", [bar(0, 50, "failed"), bar(60, 70, "lost")])), "d", zone=UTC)
    tree = ElementTree.fromstring(picture)
    assert not any(name.endswith("href") for each in tree.iter() for name in each.attrib)
    assert all(part.startswith("#rf-") for part in re.findall(r"url\(([^)]*)\)", picture))
    assert set(re.findall(r"https?://[^\"]+", picture)) == {"http://www.w3.org/2000/svg"}
    defined = {each.attrib["id"] for each in tree.iter(f"{SVG}pattern")}
    assert set(re.findall(r"url\(#([^)]*)\)", picture)) <= defined


def test_short_bars_are_one_and_a_failure_among_them_is_seen() -> None:
    short = [bar(at / 1000, at / 1000 + 0.0005, "failed" if at == 7 else "succeeded", f"n{at}") for at in range(20)]
    (box,) = boxes(plan(chart(Lane("GPU 0", short)), zone=UTC))
    assert box.kind == "failed"
    assert box.tip[0] == "20 attempts: 19 succeeded, 1 failed"
    assert box.tip[-1] == "and 12 more"


def test_very_many_bars_are_thinned_until_they_can_be_drawn() -> None:
    lanes = [
        Lane(f"GPU {lane}", [bar(at / 10, at / 10 + 0.09, label=f"{at}") for at in range(1000)]) for lane in range(40)
    ]
    assert len(boxes(plan(chart(*lanes), sheet_width=4000, zone=UTC))) <= 8_000


def test_what_goes_on_has_a_ghost_up_to_what_is_expected_and_an_arrow_beyond_the_edge() -> None:
    ends, beyond = plan(
        chart(
            Lane("a", [bar(0, 50, "running", expected=T + 70, going_on=True, earliest=T + 60, latest=T + 80)]),
            Lane("b", [bar(0, 50, "running", expected=T + 500, going_on=True)]),
            now=T + 50,
        ),
        zone=UTC,
    ).lanes
    box = ends.boxes[0]
    assert box.ahead
    assert box.line is not None
    assert box.line[1] == pytest.approx(box.x + box.width)
    assert box.spread is not None
    assert box.spread[0] > box.line[1]
    assert not box.beyond
    assert beyond.boxes[0].beyond


def test_everything_that_can_be_in_it_is_painted_and_explained() -> None:
    bars = [
        bar(0, 20, "timed_out", "first", expected=T + 30, earliest=T + 10, latest=T + 28),
        bar(30, 50, "running", "last", expected=T + 70, going_on=True, earliest=T + 60, latest=T + 500),
    ]
    profile = [(T, 1.0), (T + 20, None)]
    flags = [Flag(T + 10, ("due",), missed=True), Flag(T + 90, ("later",), missed=False)]
    lanes = [Lane("GPU 0", bars, flags, "A100"), Lane("waiting", (), profile=profile), Lane("x" * 90, bars[1:])]
    tree = ElementTree.fromstring(gantt(chart(*lanes, now=T + 50), "described", zone=UTC))
    words = [each.text for each in tree.iter(f"{SVG}text")]
    legend = {"timed out", "running", "expected at its start", "expected from now on", "80 % interval", "deadline"}
    assert legend | {"deadline missed", "now", "first", "last", "A100"} <= set(words)
    assert [each.text for each in tree.iter(f"{SVG}desc")] == ["described"]
    assert {"x" * 90, "first", "due"} <= {each.text for each in tree.iter(f"{SVG}title")}


def test_names_and_times_can_be_kept_in_sight_and_hide_nothing_at_rest() -> None:
    tree = ElementTree.fromstring(gantt(chart(Lane("GPU 0", [bar(0, 50)])), "d", zone=UTC))
    groups = [each for each in tree.iter(f"{SVG}g") if each.attrib.get("class", "").startswith("stay-")]
    assert {each.attrib["class"] for each in groups} == {"stay-x", "stay-y"}
    for each in groups:
        (shade,) = [part for part in each if part.attrib.get("class") == "paper shade"]
        assert shade.attrib["opacity"] == "0"
        float(each.attrib["data-at"])


def test_that_bars_are_drawn_together_is_said() -> None:
    short = [bar(at / 1000, at / 1000 + 0.0005, label=f"n{at}") for at in range(20)]
    assert "20 bars are too short" in gantt(chart(Lane("GPU 0", short)), "d", zone=UTC)
    assert "too short" not in gantt(chart(Lane("GPU 0", [bar(0, 50)])), "d", zone=UTC)


def test_what_was_expected_does_not_run_into_the_next_bar() -> None:
    it = plan(chart(Lane("a", [bar(0, 20, expected=T + 60), bar(30, 50)])), zone=UTC)
    first, second = boxes(it)
    assert first.line is not None
    assert first.line[2] <= second.x + 1e-6
    assert first.beyond


def test_a_profile_has_gaps_where_nothing_is_known() -> None:
    profile = [(T, 1.0), (T + 10, 3.0), (T + 20, None), (T + 60, 2.0), (T + 90, None)]
    (lane,) = plan(chart(Lane("waiting", (), profile=profile)), zone=UTC).lanes
    assert len(lane.steps) == 2
    assert lane.top == 3.0
    assert lane.steps[0][-1][0] < lane.steps[1][0][0]


def test_flags_that_would_cover_each_other_are_one() -> None:
    flags = [Flag(T + 50 + at / 100, (f"job {at}", "due"), missed=at == 3) for at in range(5)]
    (lane,) = plan(chart(Lane("deadlines", (), [*flags, Flag(T + 90, ("late",), missed=False)])), zone=UTC).lanes
    assert [box.flag.missed for box in lane.flags] == [True, False]
    assert lane.flags[0].flag.tip[0] == "5 deadlines"


@pytest.mark.parametrize("count", [0, 1, 70, 200, 700])
def test_any_number_of_lanes_keeps_its_titles_in_their_lines(count: int) -> None:
    it = plan(chart(*(Lane(f"job_{'x' * 60}_{at}", [bar(0, 50)]) for at in range(count))), zone=UTC)
    for lane in it.lanes:
        assert lane.font <= lane.height
        assert width(lane.title, lane.font) <= it.left
    assert it.height > it.bottom
    ElementTree.fromstring(gantt(chart(*(Lane(f"{at}", [bar(0, 50)]) for at in range(count))), "d", zone=UTC))


def test_now_is_marked_and_no_label_of_the_axis_runs_into_it() -> None:
    it = plan(chart(Lane("a", [bar(0, 80)]), now=T + 80), zone=UTC)
    assert it.now is not None
    assert all(not mark.label for mark in it.marks if abs(it.axis.place(mark.at) - it.axis.place(it.now)) < 30)
    assert plan(chart(Lane("a", [bar(0, 80)]), now=T + 800), zone=UTC).now is None


def test_the_legend_has_what_is_drawn_and_nothing_else() -> None:
    picture = gantt(chart(Lane("a", [bar(0, 20, "failed", expected=T + 10), bar(30, 40, "lost")])), "d", zone=UTC)
    words = {each.text for each in ElementTree.fromstring(picture).iter(f"{SVG}text")}
    assert {"failed", "lost", "expected at its start"} <= words
    assert not {"succeeded", "deadline", "80 % interval"} & words
