"""Text that is said to fit fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.drawing.lettering import fitted, shortened, width


@given(st.text(max_size=60), st.floats(6, 20), st.floats(0, 400))
def test_what_is_cut_fits(text: str, size: float, room: float) -> None:
    for cut in (fitted(text, size, room), shortened(text, size, room)):
        assert cut == text or width(cut, size) <= room + 1e-6


def test_the_middle_goes_first() -> None:
    assert fitted("ablation_without_augmentation_lr37", 11, 120).endswith("…")
    short = shortened("ablation_without_augmentation_lr37", 11, 120)
    assert short.startswith("abl")
    assert short.endswith("37")
    assert "…" in short


def test_a_few_letters_say_nothing() -> None:
    assert fitted("something", 11, 18) == ""
    assert shortened("something", 11, 12) == ""
    assert fitted("a", 11, 12) == "a"


@pytest.mark.parametrize(("wide", "narrow"), [("WWWW", "llll"), ("漢字", "ab"), ("MMMM", "aaaa")])
def test_wide_letters_count_more(wide: str, narrow: str) -> None:
    assert width(wide, 12) > width(narrow, 12)
