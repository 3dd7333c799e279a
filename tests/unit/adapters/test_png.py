"""A PNG of a picture: by the library if it is there, in clear words if it is not."""

from __future__ import annotations

import sys
import zlib
from typing import Any

import pytest

from researchflow_tmux.adapters.png import MADE_BY, MAGIC, png_of, signed
from researchflow_tmux.domain.errors import UsageError

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20" width="30" height="20"><rect width="30" height="20"/>'
    '<text x="2" y="12">a</text></svg>'
)


def chunks(png: bytes) -> dict[bytes, bytes]:
    found, at = {}, len(MAGIC)
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert int.from_bytes(png[at + 8 + size : at + 12 + size], "big") == zlib.crc32(kind + data)
        found[kind], at = data, at + 12 + size
    return found


def test_it_is_a_png_of_twice_the_size_that_says_who_made_it() -> None:
    png = png_of(SVG)
    assert png.startswith(MAGIC)
    found = chunks(png)
    assert int.from_bytes(found[b"IHDR"][:4], "big") == 60
    assert int.from_bytes(found[b"IHDR"][4:8], "big") == 40
    assert found[b"tEXt"] == MADE_BY
    assert signed(png) != png


def test_without_the_library_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError, match=r"researchflow_tmux\[png\]"):
        png_of(SVG)


def test_without_a_font_one_is_told_instead_of_getting_a_picture_without_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resvg_py

    drawn = resvg_py.svg_to_bytes

    def without_fonts(**given: Any) -> Any:
        return drawn(skip_system_fonts=True, **given)

    monkeypatch.setattr(resvg_py, "svg_to_bytes", without_fonts)
    with pytest.raises(UsageError, match="none of the usual fonts"):
        png_of(SVG)


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(UsageError, match="cannot be made a PNG"):
        png_of("no picture at all")
