"""The four exports: each as data, with the pictures and tables that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from researchflow_tmux.api.exporting import Export
from researchflow_tmux.api.hindsight import Past, graph_of, report_of, timeline_of, utilisation_of
from researchflow_tmux.drawing.viewer import Figure, viewer
from researchflow_tmux.hindsight.ahead import Planned
from researchflow_tmux.hindsight.graph import GraphNode, Stack
from researchflow_tmux.hindsight.pictures import graph as graphs
from researchflow_tmux.hindsight.pictures import utilisation as uses
from researchflow_tmux.hindsight.pictures.graph import graph_svg
from researchflow_tmux.hindsight.pictures.report import heading, report_tables
from researchflow_tmux.hindsight.pictures.timeline import description, timeline_svg
from researchflow_tmux.hindsight.pictures.utilisation import shares_svg, utilisation_svg
from researchflow_tmux.hindsight.pictures.vega import vega_lite
from researchflow_tmux.hindsight.report import Tally
from researchflow_tmux.hindsight.timeline import By, TimelineBar


def timeline_export(
    past: Past, by: str, *, waiting: bool = False, planned: Sequence[Planned] = (), width: float = 1200.0
) -> Export:
    """What ran when, and what is planned. `by` = gpu, job or project."""
    data = timeline_of(past, cast("By", by), waiting=waiting, planned=planned)

    def svg() -> str:
        return timeline_svg(data, width=width)

    def rows() -> tuple[list[str], list[list[Any]]]:
        fields = msgspec.structs.fields(TimelineBar)
        header = ["lane", *(field.name for field in fields)]
        found = [(lane.title, bar) for lane in data.lanes for bar in lane.bars]
        return header, [[title, *(_cell(getattr(bar, field.name)) for field in fields)] for title, bar in found]

    said = description(data)
    return Export("timeline", data, said, svg, lambda: viewer("Timeline", svg()), lambda: vega_lite(data), rows)


def graph_export(past: Past, *, stack: str = "auto", width: float = 1200.0) -> Export:
    """What needs what. `stack` = auto, always or never: whether jobs that are alike are one node."""
    data = graph_of(past, cast("Stack", stack))

    def svg() -> str:
        return graph_svg(data, width=width)

    def rows() -> tuple[list[str], list[list[Any]]]:
        needs: dict[int, list[int]] = {}
        for link in data.links:
            needs.setdefault(link.after, []).append(link.before)
        fields = [field.name for field in msgspec.structs.fields(GraphNode) if field.name != "states"]
        return [*fields, "needs"], [
            [*(_cell(getattr(node, name)) for name in fields), _cell(needs.get(node.id, []))] for node in data.nodes
        ]

    return Export("graph", data, graphs.description(data), svg, lambda: viewer("What needs what", svg()), rows=rows)


def utilisation_export(past: Past, *, width: float = 1200.0) -> Export:
    """How busy GPUs were."""
    data = utilisation_of(past)

    def svg() -> str:
        return utilisation_svg(data, width=width)

    def rows() -> tuple[list[str], list[list[Any]]]:
        return ["gpu", "uuid", "at", "util_pct", "used_mib"], [
            [gpu.index, gpu.uuid, *map(_cell, row)]
            for gpu in data.gpus
            for row in zip(gpu.at, gpu.util_pct, gpu.used_mib, strict=True)
        ]

    said = uses.description(data)
    return Export("utilisation", data, said, svg, lambda: viewer("How GPUs were used", svg()), rows=rows)


def shares_export(past: Past, *, width: float = 1200.0) -> Export:
    """Who had how much of the GPUs, beside what the weights say."""
    data = report_of(past).shares

    def svg() -> str:
        return shares_svg(data, width=width)

    def rows() -> tuple[list[str], list[list[Any]]]:
        return ["project", "at", "gpu_hours", "part", "due"], [
            [each.project, _cell(at), hours, _cell(part), _cell(each.due)]
            for each in data.projects
            for at, hours, part in zip(data.at, each.gpu_hours, each.part, strict=True)
        ]

    return Export("shares", data, uses.shares_said(data), svg, lambda: viewer("Shares of projects", svg()), rows=rows)


def report_export(past: Past, *, width: float = 1200.0) -> Export:
    """Statistics, and all pictures in one page."""
    data = report_of(past)

    def html() -> str:
        graph, several = graph_of(past), len(data.shares.projects) > 1
        figures = [
            Figure("What ran when", timeline_svg(timeline_of(past, "gpu", waiting=True), width=width)),
            Figure("How GPUs were used", utilisation_svg(utilisation_of(past), width=width)),
            *([Figure("Shares of projects", shares_svg(data.shares, width=width))] if several else []),
            *([Figure("What needs what", graph_svg(graph, width=width))] if graph.links else []),
        ]
        tables = report_tables(data)
        return viewer(f"Report on {past.workspace}", *tables[:1], *figures, *tables[1:], note=heading(data))

    def rows() -> tuple[list[str], list[list[Any]]]:
        fields = [field.name for field in msgspec.structs.fields(Tally)]
        groups = {
            "all": [data.total],
            "project": data.projects,
            "user": data.users,
            "gpu": data.gpus,
            "day": data.days,
        }
        return ["by", *fields], [
            [by, *(_cell(getattr(tally, name)) for name in fields)] for by, found in groups.items() for tally in found
        ]

    return Export("report", data, heading(data), html=html, rows=rows, tables=lambda: report_tables(data))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value.isoformat() if hasattr(value, "isoformat") else value
