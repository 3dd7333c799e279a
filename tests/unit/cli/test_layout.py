"""Text in columns: widths, cuts, colours and what must never reach a terminal."""

from __future__ import annotations

import pytest

from researchflow_tmux.cli.layout import Cell, Line, Table, bar, cell_width, cut, line, printable, render


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("größe", 5), ("実験", 4), ("e\u0301", 1), ("a\u200bb", 2), ("한글x", 5)],
)
def test_width_is_what_a_terminal_shows(text: str, width: int) -> None:
    assert cell_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("abcd", 1, "…"),
        ("abcd", 0, ""),
        ("実験実験", 5, "実験…"),
        ("実験実験", 4, "実…"),
        ("実験", 4, "実験"),
    ],
)
def test_cut(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [(0, "░░░░"), (1, "████"), (0.5, "██░░"), (2, "████"), (-1, "░░░░"), (0.53125, "██▏░")],
)
def test_bar(part: float, expected: str) -> None:
    assert bar(part, 4) == expected


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\nb", "a\x07b", "a\udc80b", "a\u202eb"])
def test_nothing_that_moves_the_cursor_gets_through(text: str) -> None:
    assert printable(text).isprintable()
    shown = render([line(text), Table([(Cell(text), Cell("x"))])], width=None, colour=False)
    assert all(each.isprintable() for each in shown)


def test_columns_stand_below_each_other() -> None:
    rows = [(Cell("実験"), Cell("1"), Cell("x")), (Cell("a"), Cell("22"), Cell("y"))]
    assert render([Table(rows)], width=None, colour=False) == ["実験  1   x", "a     22  y"]
    assert render([Table(rows, right=frozenset({1}))], width=None, colour=False) == ["実験   1  x", "a     22  y"]


@pytest.mark.parametrize("width", [5, 20, 30, 40, 60, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [(Cell("n" * 50, "bold"), Cell("12"), Cell("reason " * 20, "red"))]
    shown = render([Table(rows, give=(2, 0)), Line((Cell("x" * 90), Cell("y" * 90)))], width=width, colour=False)
    assert max(map(cell_width, shown)) <= width


def test_columns_give_way_in_the_given_order() -> None:
    rows = [(Cell("name" * 5), Cell("why" * 20))]
    [shown] = render([Table(rows, give=(1, 0))], width=40, colour=False)
    assert shown.startswith("name" * 5 + "  whywhy")
    assert shown.endswith("…")


def test_nothing_is_cut_where_output_is_piped() -> None:
    [shown] = render([Table([(Cell("n" * 500), Cell("w" * 500))], give=(0, 1))], width=None, colour=False)
    assert shown == "n" * 500 + "  " + "w" * 500


def test_colours_end_where_the_text_ends() -> None:
    rows = [(Cell("a", "bold red"), Cell("b")), (Cell("long"), Cell("c"))]
    assert render([Table(rows)], width=None, colour=True)[0] == "\x1b[1;31ma\x1b[m     b"
    assert "\x1b" not in "".join(render([Table(rows)], width=None, colour=False))
