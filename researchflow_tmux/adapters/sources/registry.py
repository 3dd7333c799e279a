"""The kinds of job sources there are. A new one is a module with a `JobSource` and a line here."""

from __future__ import annotations

import os
from importlib import import_module

import msgspec

from researchflow_tmux.adapters.sources.port import JobSource, SourceContext
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

SOURCES: dict[str, str] = {
    # kind: module and class; imported when a scheduler starts
    "config": "researchflow_tmux.adapters.sources.config_files:ConfigFiles",
    "jobfile": "researchflow_tmux.adapters.sources.jobfiles.source:JobFiles",
    "sweep": "researchflow_tmux.adapters.sources.sweep_files:SweepFiles",
    "pipeline": "researchflow_tmux.adapters.sources.pipeline_files:PipelineFiles",
    "table": "researchflow_tmux.adapters.sources.tables.source:Tables",
}


def make_sources(paths: WorkspacePaths, settings: Settings, variables: dict[str, str]) -> list[JobSource]:
    """One of each kind, for one workspace."""
    context = SourceContext(paths=paths, settings=settings, variables=variables, state_dir="")
    return [_make(kind, place, context) for kind, place in SOURCES.items()]


def _make(kind: str, place: str, context: SourceContext) -> JobSource:
    module, _, name = place.partition(":")
    state_dir = os.path.join(context.paths.state, "sources", kind)
    source: JobSource = getattr(import_module(module), name)(msgspec.structs.replace(context, state_dir=state_dir))
    assert source.kind == kind
    return source
