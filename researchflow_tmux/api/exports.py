"""The four exports: each as data, with the pictures and tables that are made of it."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from researchflow_tmux.api.exporting import Export
from researchflow_tmux.api.hindsight import Past, timeline_of
from researchflow_tmux.drawing.viewer import viewer
from researchflow_tmux.hindsight.pictures.timeline import description, timeline_svg
from researchflow_tmux.hindsight.timeline import By, TimelineBar


def timeline_export(past: Past, by: str, *, waiting: bool = False, width: float = 1200.0) -> Export:
    """What ran when. `by` = gpu, job or project."""
    data = timeline_of(past, cast("By", by), waiting=waiting)

    def svg() -> str:
        return timeline_svg(data, width=width)

    def rows() -> tuple[list[str], list[list[Any]]]:
        fields = msgspec.structs.fields(TimelineBar)
        header = ["lane", *(field.name for field in fields)]
        found = [(lane.title, bar) for lane in data.lanes for bar in lane.bars]
        return header, [[title, *(_cell(getattr(bar, field.name)) for field in fields)] for title, bar in found]

    return Export("timeline", data, description(data), svg, lambda: viewer("Timeline", svg()), rows)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value.isoformat() if hasattr(value, "isoformat") else value
