"""Pictures are well-formed, self-contained, and say what they show."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from researchflow_tmux.drawing.chart import Curve, curve, line_chart
from researchflow_tmux.drawing.colours import colours
from researchflow_tmux.drawing.page import page
from researchflow_tmux.drawing.thinning import thinned

SVG = "{http://www.w3.org/2000/svg}"


def curves(count: int, points: int = 50) -> list[Curve]:
    steps = [float(step) for step in range(points)]
    return [Curve(f"exp{n}", steps, [math.exp(-step / 10) + n for step in steps]) for n in range(count)]


def lines(picture: str) -> list[list[tuple[float, float]]]:
    found = []
    for each in ElementTree.fromstring(picture).iter(f"{SVG}polyline"):
        pairs = (pair.split(",") for pair in each.attrib["points"].split())
        found.append([(float(x), float(y)) for x, y in pairs])
    return found


def texts(picture: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("count", [1, 3, 8, 9, 50, 61, 150])
def test_one_line_and_one_name_for_each_run(count: int) -> None:
    picture = line_chart(curves(count), title="loss")
    assert len(lines(picture)) == count
    assert {f"exp{n}" for n in range(count)} <= set(texts(picture))
    box = [float(part) for part in ElementTree.fromstring(picture).attrib["viewBox"].split()]
    for each in ElementTree.fromstring(picture).iter(f"{SVG}text"):
        assert 0 <= float(each.attrib["x"]) <= box[2]
        assert 0 <= float(each.attrib["y"]) <= box[3]
    for x, y in (point for each in lines(picture) for point in each):
        assert 0 <= x <= box[2]
        assert 0 <= y <= box[3]


def test_the_legend_of_very_many_runs_has_an_end() -> None:
    picture = line_chart(curves(1000, 3), title="loss")
    assert len(lines(picture)) == 1000
    assert "and 820 more runs" in texts(picture)


def test_the_legend_has_the_order_in_which_lines_end() -> None:
    shown = [text for text in texts(line_chart(curves(4), title="loss")) if text.startswith("exp")]
    assert shown == ["exp3", "exp2", "exp1", "exp0"]


def test_many_points_make_no_large_file() -> None:
    many = [Curve(f"e{n}", list(range(20_000)), [float(step % 100) for step in range(20_000)]) for n in range(50)]
    assert len(line_chart(many, title="loss")) < 400_000


@pytest.mark.parametrize("values", [[0.0], [5.0], [3.0, 3.0], [-1e300, 1e300], [1e-12, 2e-12], [1e16, 1e16 + 2]])
def test_odd_values_can_be_drawn(values: list[float]) -> None:
    picture = line_chart([Curve("a", [float(n) for n in range(len(values))], values)], title="t")
    assert all(math.isfinite(number) for each in lines(picture) for point in each for number in point)
    assert "nan" not in picture


def test_names_are_escaped() -> None:
    name = '<script>&"\x00\x1b'
    picture = line_chart([Curve(name, [0.0, 1.0], [1.0, 2.0])], title=name, x_label=name)
    assert "<script" not in picture
    assert any(text.startswith("<script>&") for text in texts(picture))
    whole = page(name, picture, [name], [[name, "1.5"]], name)
    assert "<script" not in whole


def test_nothing_is_loaded_from_elsewhere() -> None:
    whole = page("loss", line_chart(curves(3), title="loss"), ["run"], [["exp1"]])
    for word in ("src=", "href=", "@import", "url(", "<script"):
        assert word not in whole


def test_a_logarithmic_axis_takes_what_is_above_zero() -> None:
    mixed = [Curve("a", [0.0, 1.0, 2.0], [0.0, 0.1, 10.0]), Curve("b", [0.0], [-1.0])]
    assert [len(each) for each in lines(line_chart(mixed, title="t", log_y=True))] == [2]
    with pytest.raises(ValueError, match="above zero"):
        line_chart(mixed[1:], title="t", log_y=True)
    with pytest.raises(ValueError, match="no values"):
        line_chart([], title="t")


def test_colours_differ() -> None:
    for count in (1, 8, 9, 50):
        assert len(set(colours(count))) == count


@pytest.mark.parametrize("most", [4, 10, 101])
def test_fewer_points_keep_the_ends_and_the_spikes(most: int) -> None:
    ys = [0.0] * 1000
    ys[500], ys[501] = 9.0, -9.0
    kept = thinned([float(n) for n in range(1000)], ys, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == ((0.0, 0.0), (999.0, 0.0))
    assert {(500.0, 9.0), (501.0, -9.0)} <= set(kept)
    assert kept == sorted(kept)


def test_few_points_stay_as_they_are() -> None:
    assert thinned([1, 2], [6, 5], 10) == [(1, 6), (2, 5)]


def test_a_curve_goes_by_its_steps() -> None:
    made = curve("a", [2.0, 1.0, 2.0], [5.0, 6.0, 7.0])
    assert (made.xs, made.ys, made.last) == ([1.0, 2.0, 2.0], [6.0, 5.0, 7.0], 7.0)
