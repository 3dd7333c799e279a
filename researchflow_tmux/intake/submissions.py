"""From what people leave or type to submissions: configs and commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters import environment
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.configs import scan
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.submitting import Draft

META_WATCH = "watch_configs"
"""Digest of the environment for jobs whose files appear while the scheduler runs; empty = not watching."""


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """The submitting shell's environment as the store keeps it."""

    digest: str
    stored: dict[str, Any]

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables alone."""
        variables: dict[str, str] = self.stored["env"]
        return variables


def capture() -> Captured:
    """The environment, umask, limits, niceness and CPUs of this process."""
    found = environment.capture()
    return Captured(digest=found.digest, stored={"env": found.variables, **msgspec.to_builtins(found.process)})


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs ready to be submitted, and what keeps others from being so."""

    drafts: tuple[Draft, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def from_configs(
    paths: WorkspacePaths,
    settings: Settings,
    digest: str,
    variables: Mapping[str, str],
    names: Sequence[str] | None = None,
    pins: Sequence[str | int | None] = (),
) -> Intake:
    """The configs of the workspace (or those named) as drafts; markers that are there already are noted."""
    looked_at = SystemClock().now()
    found = scan(paths, settings, names, pins, env=variables)
    drafts = tuple(marked(draft, digest, looked_at) for draft in found.drafts)
    return Intake(drafts=drafts, problems=found.problems, warnings=found.warnings)


def marked(draft: JobDraft, digest: str, looked_at: datetime) -> Draft:
    """The draft with what its completion marker says; `looked_at` = a moment before any marker was looked for."""
    written_at = None
    if draft.marker is not None:
        with contextlib.suppress(OSError):
            written_at = datetime.fromtimestamp(os.stat(draft.marker).st_mtime, UTC)
    return Draft(
        spec=draft.to_spec(digest),
        marker_found=written_at is not None,
        marker_at=written_at,
        looked_at=looked_at,
        after_names=draft.after,
        held=draft.held,
        line=draft.line,
    )
