"""What things look like: a colour, a pattern and a word for each state, in light and in dark surroundings.

The colours can be told apart with any of the common colour vision deficiencies (after the palette of Okabe and Ito),
and no state is told by its colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from researchflow_tmux.drawing import svg

FONT = (
    "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', 'Noto Sans', 'Liberation Sans', Ubuntu, Cantarell, "
    "'Open Sans', Roboto, Arial, Helvetica, sans-serif"
)
"""By name too: some renderers know no generic family."""
INK, DIM, RULE, PAPER, ZEBRA = "#212529", "#5c636a", "#dee2e6", "#ffffff", "#f6f7f9"
ALARM = "#c2410c"

STYLE = (
    ".hit:hover .face{stroke:#212529;stroke-width:1.5}"
    "@media (prefers-color-scheme:dark){.paper{fill:#14181d}.ink{fill:#e6e9ec}.dim{fill:#a3adb8}.rule{stroke:#323a43}"
    ".zebra{fill:#1a2027}.line{stroke:#d5dae0}.edge{stroke:#7d8894}.box{fill:#1c2229;stroke:#7d8894}"
    ".k-lost{fill:#8288b4}.k-waiting,.k-queued,.k-held{fill:#3a434d}.k-planned{fill:#1d3a55}.k-skipped{fill:#2a3139}.alarm{fill:#ff8a5c}"
    ".hollow{fill:#14181d}.alarm-line{stroke:#ff8a5c}.hit:hover .face{stroke:#fff}}"
)


class Look(NamedTuple):
    """How one state is drawn."""

    words: str
    fill: str
    pattern: str = ""
    """Name of what lies over the colour; empty = nothing."""
    dark_text: bool = False
    """Text on it is dark."""
    alarm: bool = False
    """Of several that fall together this one is shown."""


LOOKS: dict[str, Look] = {
    "succeeded": Look("succeeded", "#0b8f6a"),
    "up_to_date": Look("was up to date", "#8fd3bd", dark_text=True),
    "running": Look("running", "#2f78b7"),
    "stopping": Look("stopping", "#2f78b7", "down"),
    "failed": Look("failed", "#d1491b", "up", alarm=True),
    "out_of_memory": Look("out of memory", "#b3478f", "cross", alarm=True),
    "timed_out": Look("timed out", "#e0a008", "bars", dark_text=True, alarm=True),
    "lost": Look("lost", "#41466b", "down", alarm=True),
    "launch_failed": Look("not launched", "#7a3b2e", "dots", alarm=True),
    "slot_taken": Look("slot was taken", "#b9a58f", "dots", dark_text=True),
    "preempted": Look("preempted", "#7cc0ea", "level", dark_text=True),
    "over_budget": Look("budget used up", "#c7b45a", "level", dark_text=True),
    "killed": Look("stopped", "#8b95a1", "dots", dark_text=True),
    "cancelled": Look("cancelled", "#8b95a1", "dots", dark_text=True),
    "waiting": Look("waiting", "#dfe4e9", "faint", dark_text=True),
    "planned": Look("planned", "#d6e6f5", "faint", dark_text=True),
    "queued": Look("queued", "#d3d9df", dark_text=True),
    "held": Look("held", "#d3d9df", "bars", dark_text=True),
    "skipped": Look("skipped", "#eceff2", "level", dark_text=True),
}
OTHER = Look("other", "#b0b7be", dark_text=True)

_LINES = {
    "up": "M-1 7 L7 -1 M-1 1 L1 -1 M5 7 L7 5",
    "faint": "M-1 7 L7 -1 M-1 1 L1 -1 M5 7 L7 5",
    "down": "M-1 -1 L7 7 M5 -1 L7 1 M-1 5 L1 7",
    "cross": "M0 0 L6 6 M6 0 L0 6",
    "bars": "M3 0 V6",
    "level": "M0 3 H6",
}


def look(kind: str) -> Look:
    """Of a state; an unknown one looks like nothing else."""
    return LOOKS.get(kind, OTHER)


def text_on(kind: str) -> str:
    """The colour of text on it."""
    return INK if look(kind).dark_text else "#ffffff"


def patterns(kinds: Iterable[str]) -> str:
    """Definitions of the patterns that these states need."""
    wanted = sorted({(look(kind).pattern, look(kind).dark_text) for kind in kinds if look(kind).pattern})
    return svg.element("defs", *(_pattern(name, dark) for name, dark in wanted)) if wanted else ""


def face(kind: str, x: float, y: float, width: float, height: float, radius: float = 2.0) -> str:
    """A box in the look of a state."""
    it = look(kind)
    parts = [
        svg.element(
            "rect", x=x, y=y, width=width, height=height, rx=radius, fill=it.fill, class_=f"face k-{kind_class(kind)}"
        )
    ]
    if it.pattern and width >= 3:
        over = f"url(#{_name(it.pattern, it.dark_text)})"
        parts.append(svg.element("rect", x=x, y=y, width=width, height=height, rx=radius, fill=over))
    return "".join(parts)


def kind_class(kind: str) -> str:
    """A word that may stand in a class attribute."""
    return kind if kind in LOOKS else "other"


def _name(pattern: str, dark: bool) -> str:
    return f"rf-{pattern}-{'d' if dark else 'l'}"


def _pattern(name: str, dark: bool) -> str:
    stroke = "#000000" if dark else "#ffffff"
    if name == "dots":
        inside = svg.element("circle", cx=3, cy=3, r=1.2, fill=stroke, fill_opacity=0.5)
    else:
        strength = 0.22 if name == "faint" else 0.5
        inside = svg.element(
            "path", d=_LINES[name], stroke=stroke, stroke_opacity=strength, stroke_width=1.4, fill="none"
        )
    return svg.element("pattern", inside, id=_name(name, dark), width=6, height=6, patternUnits="userSpaceOnUse")
