"""A page that holds one or several pictures: to zoom, drag and search with a little script, to read without it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from researchflow_tmux.drawing.svg import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #212529; --dim: #5c636a; --paper: #fff; --rule: #dee2e6; --hover: #f1f3f5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --dim: #a3adb8; --paper: #14181d; --rule: #323a43; --hover: #1f262e; }
}
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", "Noto Sans", sans-serif;
       color: var(--ink); background: var(--paper); margin: 1rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, footer { color: var(--dim); margin: .3rem 0 1rem; } footer { font-size: 12px; }
.picture { position: relative; border: 1px solid var(--rule); border-radius: 6px; overflow: auto; max-height: 85vh; }
.picture svg { display: block; width: 100%; height: auto; min-width: 45rem; }
.picture.live { overflow: hidden; touch-action: none; } .picture.live svg { cursor: grab; }
.picture.live svg.dragged { cursor: grabbing; } .hit.faint { opacity: .15; } .hit.found .face { stroke-width: 2; }
.tools { display: none; gap: .4rem; margin: .3rem 0; align-items: center; } .scripted .tools { display: flex; }
.tools button, .tools input { font: inherit; font-size: 13px; color: var(--ink); background: var(--paper);
       border: 1px solid var(--rule); border-radius: 4px; padding: .15rem .55rem; }
.tools input { width: 16rem; } .tools span { color: var(--dim); font-size: 13px; }
#tip { position: fixed; display: none; pointer-events: none; white-space: pre-line; max-width: 28rem; z-index: 9;
       background: var(--paper); color: var(--ink); border: 1px solid var(--dim); border-radius: 4px;
       padding: .3rem .55rem; font-size: 13px; box-shadow: 0 2px 8px #0004; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; min-width: 40rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; }
tr.sum td { font-weight: 600; } tbody tr:hover { background: var(--hover); }
"""

_SCRIPT = """
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);
  for (const picture of document.querySelectorAll(".picture")) {
    const svg = picture.querySelector("svg");
    if (!svg) continue;
    const whole = svg.viewBox.baseVal, full = [whole.x, whole.y, whole.width, whole.height];
    let box = full.slice(), from = null;
    const hits = [...svg.querySelectorAll(".hit")];
    for (const hit of hits) {
      const title = hit.querySelector(":scope > title");
      hit.words = title ? title.textContent : "";
      if (title) title.remove();
    }
    picture.classList.add("live");
    // A long picture keeps the size of its letters: it is seen through a window of its own width.
    const tall = Math.min(svg.clientWidth * full[3] / full[2], window.innerHeight * 0.85);
    svg.style.height = tall + "px";
    const shape = () => svg.clientHeight / svg.clientWidth;
    const start = () => [full[0], full[1], full[2], full[2] * shape()];
    const stays = [...svg.querySelectorAll(".stay-x, .stay-y")];
    const show = () => {
      svg.setAttribute("viewBox", box.join(" "));
      for (const part of stays) {
        const down = part.classList.contains("stay-y");
        const moved = Math.max(box[down ? 1 : 0] - Number(part.dataset.at), 0);
        part.setAttribute("transform", down ? `translate(0 ${moved})` : `translate(${moved} 0)`);
        part.querySelector(".shade").setAttribute("opacity", moved ? 0.97 : 0);
      }
    };
    const keep = () => {
      box[2] = Math.min(Math.max(box[2], full[2] / 400), full[2] * 2);
      box[3] = box[2] * shape();
      box[0] = Math.min(Math.max(box[0], full[0] - box[2] * 0.5), full[0] + full[2] - box[2] * 0.5);
      box[1] = Math.min(Math.max(box[1], full[1] - box[3] * 0.5), full[1] + full[3] - box[3] * 0.5);
      show();
    };
    const at = (event) => {
      const area = svg.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    };
    const zoom = (factor, x, y) => {
      const wide = Math.min(Math.max(box[2] * factor, full[2] / 400), full[2] * 2);
      box[0] += (box[2] - wide) * x;
      box[1] += (box[3] - wide * shape()) * y;
      box[2] = wide;
      keep();
    };
    box = start();
    show();
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey || full[3] <= full[2] * shape() * 1.01) {
        zoom(Math.exp(Math.min(Math.max(event.deltaY, -200), 200) / 400), ...at(event));
      } else {
        const scale = box[2] / svg.clientWidth;
        box[0] += event.deltaX * scale;
        box[1] += event.deltaY * scale;
        keep();
      }
    }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      svg.setPointerCapture(event.pointerId);
      svg.classList.add("dragged");
    });
    svg.addEventListener("pointerup", () => { from = null; svg.classList.remove("dragged"); });
    svg.addEventListener("pointercancel", () => { from = null; svg.classList.remove("dragged"); });
    svg.addEventListener("pointermove", (event) => {
      if (from) {
        const scale = box[2] / svg.clientWidth;
        box[0] -= (event.clientX - from[0]) * scale;
        box[1] -= (event.clientY - from[1]) * scale;
        from = [event.clientX, event.clientY];
        keep();
        return;
      }
      const hit = event.target.closest(".hit");
      tip.style.display = hit && hit.words ? "block" : "none";
      if (!hit || !hit.words) return;
      tip.textContent = hit.words;
      tip.style.left = Math.max(Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8), 4) + "px";
      const below = event.clientY + 16;
      tip.style.top = (below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below) + "px";
    });
    svg.addEventListener("pointerleave", () => { tip.style.display = "none"; });
    const tools = picture.previousElementSibling, said = tools.querySelector("span");
    const actions = {
      nearer: () => zoom(1 / 1.5, 0.5, 0.5),
      farther: () => zoom(1.5, 0.5, 0.5),
      all: () => {
        box = start();
        if (full[3] > box[3]) zoom(full[3] / box[3], 0, 0);
        box[1] = full[1];
        keep();
      },
    };
    for (const button of tools.querySelectorAll("button")) {
      button.addEventListener("click", actions[button.dataset.does]);
    }
    const input = tools.querySelector("input");
    const search = (go) => {
      const wanted = input.value.trim().toLowerCase();
      const found = wanted ? hits.filter((hit) => hit.words.toLowerCase().includes(wanted)) : [];
      for (const hit of hits) {
        hit.classList.toggle("faint", wanted !== "" && !found.includes(hit));
        hit.classList.toggle("found", found.includes(hit));
      }
      said.textContent = wanted ? found.length + " found" : "";
      if (go && found.length) {
        const place = found[(search.next = ((search.next ?? -1) + 1) % found.length)].getBBox();
        box[2] = Math.min(box[2], full[2], Math.max(svg.clientWidth, 600));
        box[3] = box[2] * shape();
        box[0] = place.x + place.width / 2 - box[2] / 2;
        box[1] = place.y + place.height / 2 - box[3] / 2;
        keep();
      }
    };
    input.addEventListener("input", () => { search.next = -1; search(false); });
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") search(true); });
    addEventListener("resize", keep);
  }
})();
"""
_TOOLS = (
    '<div class="tools"><button type="button" data-does="nearer" title="zoom in">+</button>'
    '<button type="button" data-does="farther" title="zoom out">−</button>'
    '<button type="button" data-does="all">all</button>'
    '<input type="search" placeholder="search; Enter goes to the next" aria-label="search"><span></span></div>\n'
)


class Table(NamedTuple):
    """Rows under a header; cells that are numbers stand to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Columns of numbers."""
    sums: int = 0
    """So many rows at the end are sums."""
    note: str = ""


class Figure(NamedTuple):
    """A picture under a title."""

    title: str
    svg: str
    note: str = ""


def viewer(title: str, *parts: Figure | Table | str, note: str = "") -> str:
    """An HTML document that needs nothing else. A text among `parts` is SVG markup; all else is escaped.

    A single picture has its title in itself; above several there are `title` and `note`.
    """
    body = "\n".join(_part(part) for part in parts)
    if len(parts) > 1:
        body = f"<h1>{_text(title)}</h1>\n<p>{_text(note)}</p>\n{body}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="generator" content="rfsched">\n'
        f'<meta name="viewport" content="width=device-width"><title>{_text(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n<footer>Made by rfsched.</footer>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _part(part: Figure | Table | str) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, str):
        return f'{_TOOLS}<div class="picture">{part}</div>'
    note = f"<p>{_text(part.note)}</p>\n" if part.note else ""
    return f'<h2>{_text(part.title)}</h2>\n{note}{_TOOLS}<div class="picture">{part.svg}</div>'


def _table(table: Table) -> str:
    head = "".join(f"<th{_align(at, table)}>{_text(cell)}</th>" for at, cell in enumerate(table.header))
    rows = []
    for number, row in enumerate(table.rows):
        kind = ' class="sum"' if number >= len(table.rows) - table.sums else ""
        cells = "".join(f"<td{_align(at, table)}>{_text(cell)}</td>" for at, cell in enumerate(row))
        rows.append(f"<tr{kind}>{cells}</tr>")
    note = f"<p>{_text(table.note)}</p>\n" if table.note else ""
    body = "\n".join(rows)
    return (
        f"<h2>{_text(table.title)}</h2>\n{note}"
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _align(column: int, table: Table) -> str:
    return ' class="n"' if column in table.numbers else ""


def _text(words: str) -> str:
    return escape(printable(words))
