"""SVG to PNG, with the library of the extra `png`; it is imported only when somebody wants one."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.drawing.looks import FONT
from researchflow_tmux.drawing.svg import element, text

MAGIC = b"\x89PNG\r\n\x1a\n"
MADE_BY = b"Software\0rfsched"
"""A note in the file: such a file may be replaced by a newer picture."""
MOST_PIXELS = 100_000_000
_TINY = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": "0 0 16 16"}
DENSITY = 2
"""Pixels to each unit of the SVG, so that small letters can be read."""


def png_of(svg: str) -> bytes:
    """The picture with two pixels to each unit of length, fewer if it is very large.

    Raises UsageError when the library or any font is missing, or it cannot be drawn.
    """
    try:
        import resvg_py
    except ImportError:
        raise UsageError(
            "PNG needs the library resvg-py, which is not installed",
            hint="pip install 'researchflow_tmux[png]' (or: uv pip install resvg-py); SVG and HTML need nothing",
        ) from None
    _check_fonts(resvg_py.svg_to_bytes)
    width, height = _size(svg)
    density = min(DENSITY, (MOST_PIXELS / max(width * height, 1.0)) ** 0.5)
    try:
        made = resvg_py.svg_to_bytes(svg_string=svg, width=max(round(width * density), 1))
    except Exception as error:
        raise UsageError(f"the picture cannot be made a PNG: {error}", hint="export it as SVG or HTML") from error
    return signed(bytes(made))


def _check_fonts(render: Callable[..., Sequence[int]]) -> None:
    """Without any font all text would be left out, silently."""
    with_text, without = (
        bytes(render(svg_string=element("svg", inside, **_TINY)))
        for inside in (text("M", 1, 12, font_family=FONT), " ")
    )
    if with_text == without:
        raise UsageError(
            "none of the usual fonts is on this machine: a PNG would have no text",
            hint="install one (such as the package fonts-dejavu-core), or export SVG or HTML",
        )


def _size(svg: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    return (float(found[1]), float(found[2])) if found else (1200.0, 800.0)


def signed(png: bytes) -> bytes:
    """The same picture with a note by whom it was made, right after its header."""
    chunk = b"tEXt" + MADE_BY
    note = struct.pack(">I", len(MADE_BY)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    header = len(MAGIC) + 25
    return png[:header] + note + png[header:]
