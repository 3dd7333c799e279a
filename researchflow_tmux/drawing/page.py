"""One page that holds all it needs: a picture, and a table below it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from researchflow_tmux.drawing.svg import printable

_STYLE = """
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #212529;
       background: #fff; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin-top: 1rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e9ecef; white-space: nowrap; }
th { color: #5c636a; font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
footer { color: #5c636a; font-size: 12px; margin-top: 1.5rem; }
"""


def page(title: str, picture: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """An HTML document. `picture` is SVG markup; all else is text."""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{_text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        f'<div class="wide">{picture}</div>\n'
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'
        f"<footer>{_text(note)}</footer>\n</body>\n</html>\n"
    )


def _cell(words: str) -> str:
    return f'<td class="n">{_text(words)}</td>' if _is_number(words) else f"<td>{_text(words)}</td>"


def _is_number(words: str) -> bool:
    try:
        float(words)
    except ValueError:
        return False
    return True


def _text(words: str) -> str:
    return escape(printable(words))
