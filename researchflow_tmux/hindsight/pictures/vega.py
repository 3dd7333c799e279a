"""The timeline as a Vega-Lite specification: for notebooks, dashboards and whoever wants to draw it otherwise."""

from __future__ import annotations

from typing import Any

from researchflow_tmux.drawing.looks import LOOKS, look
from researchflow_tmux.hindsight.timeline import Timeline

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
TOLD = ("name", "state", "attempt", "begin", "end", "project", "user", "reason")


def vega_lite(data: Timeline) -> dict[str, Any]:
    """A specification that holds its data: bars over time by lane, in our colours, with tips."""
    rows = [
        {
            "lane": lane.title,
            "row": bar.row,
            "job": bar.job,
            "name": bar.name,
            "attempt": bar.attempt,
            "state": look(bar.state).words,
            "begin": bar.begin.isoformat(),
            "end": bar.end.isoformat(),
            "project": bar.project,
            "user": bar.user,
            "reason": bar.reason,
        }
        for lane in data.lanes
        for bar in lane.bars
    ]
    seen = {row["state"] for row in rows}
    looks = {each.words: each.fill for each in LOOKS.values() if each.words in seen}
    return {
        "$schema": SCHEMA,
        "description": f"What ran when in {data.workspace}; made by rfsched.",
        "usermeta": {"madeBy": "rfsched", "schema": data.schema_name},
        "width": 900,
        "data": {"values": rows},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": {"field": "begin", "type": "temporal", "title": None},
            "x2": {"field": "end"},
            "y": {"field": "lane", "type": "nominal", "title": None, "sort": [lane.title for lane in data.lanes]},
            "yOffset": {"field": "row", "type": "ordinal"},
            "color": {"field": "state", "scale": {"domain": list(looks), "range": list(looks.values())}},
            "tooltip": [{"field": field, "type": "nominal"} for field in TOLD],
        },
    }
