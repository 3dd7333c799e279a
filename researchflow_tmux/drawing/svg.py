"""SVG as text: elements with escaped attributes, and numbers that are no longer than a pixel needs."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def element(name: str, *inside: str, **attributes: str | float) -> str:
    """`<name attributes>inside</name>`; `inside` is markup already. `stroke_width` is written `stroke-width`."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(given)}"' for key, given in attributes.items())
    return f"<{name}{words}>{''.join(inside)}</{name}>" if inside else f"<{name}{words}/>"


def text(words: str, x: float, y: float, **attributes: str | float) -> str:
    """A line of text."""
    return element("text", escaped(words), x=x, y=y, **attributes)


def title(words: str) -> str:
    """What a browser shows while the pointer rests on the element that this is in."""
    return element("title", escaped(words))


def tip(lines: Iterable[str]) -> str:
    """The same with several lines."""
    return element("title", "\n".join(map(escaped, lines)))


def escaped(words: str) -> str:
    """Markup that shows `words` on one line."""
    return escape(printable(words))


def points(pairs: Iterable[tuple[float, float]]) -> str:
    """Coordinates for a polyline."""
    return " ".join(f"{number(x)},{number(y)}" for x, y in pairs)


def number(value: float) -> str:
    """At most one decimal: `12`, `12.5`."""
    return f"{value:.1f}".removesuffix(".0")


def printable(words: str) -> str:
    """`words` without the characters that XML cannot hold."""
    return words if words.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in words)


def _value(given: str | float) -> str:
    return escape(printable(given)) if isinstance(given, str) else number(given)
