"""The sheet that a picture is drawn on: its title, what it says about itself, the legend, and the SVG around it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from researchflow_tmux.drawing import svg
from researchflow_tmux.drawing.lettering import fitted, width
from researchflow_tmux.drawing.looks import DIM, FONT, INK, PAPER, STYLE, face, look, patterns

MARGIN = 16.0
TITLE, SMALL = 17.0, 12.0
LINE = 17.0
SWATCH = 14.0


class Key(NamedTuple):
    """An entry of the legend: how something looks, and what it is called."""

    words: str
    kind: str = ""
    """A state, drawn in its look; or empty, and then `mark` is the markup of a swatch at (0, 0), 14 × 10."""
    mark: str = ""


class KeyBox(NamedTuple):
    """An entry of the legend where it stands."""

    key: Key
    x: float
    y: float


class Head(NamedTuple):
    """The upper part of the sheet as it is laid out."""

    title: str
    notes: tuple[str, ...]
    keys: tuple[KeyBox, ...]
    bottom: float


def keys_of(kinds: Sequence[str]) -> list[Key]:
    """The legend of some states, each look once."""
    return list({look(kind).words: Key(look(kind).words, kind) for kind in kinds}.values())


def head(title: str, notes: Sequence[str], keys: Sequence[Key], sheet_width: float) -> Head:
    """Lay out the upper part; every line fits into the width."""
    room = sheet_width - 2 * MARGIN
    lines = tuple(line for note in notes for line in _wrapped(note, SMALL, room))
    y = MARGIN + TITLE + 4 + LINE * len(lines)
    boxes: list[KeyBox] = []
    x, row = MARGIN, y + 8
    for key in keys:
        needed = SWATCH + 6 + width(key.words, SMALL) + 18
        if boxes and x + needed > sheet_width - MARGIN:
            x, row = MARGIN, row + 20
        boxes.append(KeyBox(key, x, row))
        x += needed
    bottom = row + 20 if boxes else y
    return Head(fitted(title, TITLE, room), lines, tuple(boxes), bottom + 6)


def sheet(head: Head, description: str, width: float, height: float, kinds: Sequence[str], parts: Sequence[str]) -> str:
    """The whole document. `description` says in words what the picture shows."""
    inside = [
        svg.title(head.title),
        svg.element("desc", svg.escaped(description)),
        svg.element("style", STYLE),
        patterns(kinds),
        svg.element("rect", width=width, height=height, fill=PAPER, class_="paper"),
        svg.text(head.title, MARGIN, MARGIN + TITLE - 4, font_size=TITLE, font_weight=600, fill=INK, class_="ink"),
        *(
            svg.text(line, MARGIN, MARGIN + TITLE + LINE * (at + 1), font_size=SMALL, fill=DIM, class_="dim")
            for at, line in enumerate(head.notes)
        ),
        *map(_key, head.keys),
        *parts,
    ]
    return svg.element(
        "svg",
        *(f"{part}\n" for part in inside if part),
        xmlns="http://www.w3.org/2000/svg",
        data_made_by="rfsched",
        viewBox=f"0 0 {svg.number(width)} {svg.number(height)}",
        width=width,
        height=height,
        font_family=FONT,
        role="img",
    )


def _key(box: KeyBox) -> str:
    key = box.key
    swatch = (
        face(key.kind, box.x, box.y, SWATCH, 10)
        if key.kind
        else svg.element("g", key.mark, transform=f"translate({svg.number(box.x)} {svg.number(box.y)})")
    )
    return swatch + svg.text(key.words, box.x + SWATCH + 6, box.y + 9, font_size=SMALL, fill=INK, class_="ink")


def _wrapped(text: str, size: float, room: float) -> list[str]:
    """In lines that fit; a word that does not is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(fitted(word, size, room))
    return [line for line in lines if line]
