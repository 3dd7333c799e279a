"""The page around pictures needs nothing else, and shows names as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from researchflow_tmux.drawing.viewer import Figure, Table, viewer


class Tags(HTMLParser):
    """Notes all tags, and what is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "action")]


HOSTILE = '</style></script><script>alert("x")</script><img src=x onerror=y> & \x1b[31m'


def page() -> str:
    table = Table(HOSTILE, [HOSTILE, "n"], [[HOSTILE, "1"], ["sum", "2"]], frozenset({1}), sums=1, note=HOSTILE)
    return viewer(HOSTILE, Figure(HOSTILE, "<svg></svg>", HOSTILE), table, "<svg></svg>", note=HOSTILE)


def test_names_are_text() -> None:
    found = Tags(page())
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert "\x1b" not in page()


def test_nothing_is_loaded_from_anywhere() -> None:
    assert Tags(page()).loads == []
    assert not re.search(r"https?://(?!www\.w3\.org)", page())
    assert "@import" not in page()


def test_numbers_stand_to_the_right_and_sums_are_marked() -> None:
    assert '<td class="n">1</td>' in page()
    assert '<tr class="sum"><td>sum</td>' in page()


def test_without_a_script_the_picture_is_there_and_the_tools_are_not() -> None:
    assert page().count("<svg></svg>") == 2
    assert re.search(r"\.tools \{ display: none", page())
