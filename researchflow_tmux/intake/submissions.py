"""From what people leave or type to submissions: configs and commands."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters import environment
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.commands import build_shell_job
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.configs import scan
from researchflow_tmux.domain.errors import Problem, UsageError
from researchflow_tmux.domain.job import CompletionRule, Condition
from researchflow_tmux.domain.resources import ResourceRequest
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


def from_command(
    paths: WorkspacePaths,
    settings: Settings,
    captured: Captured,
    words: Sequence[str],
    *,
    name: str | None = None,
    gpus: int = 1,
    time_limit_s: float | None = None,
    priority: int = 0,
    retries: int | None = None,
    after: Sequence[str] = (),
    when: Condition = "success",
    group: str | None = None,
    held: bool = False,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    completion: CompletionRule = "exit_code",
) -> Draft:
    """Any command as a draft: it runs in the directory in which it was typed. Raises ConfigError."""
    command = build_shell_job(settings, words, captured.variables, paths)
    if name is not None and any(not character.isprintable() for character in name):
        raise UsageError(f"the name {name!r} holds characters that cannot be printed", hint="choose another --name")
    key = uuid.uuid4().hex
    default_retries = settings.max_retries if settings.auto_restart_failed else 0
    draft = JobDraft(
        source="command",
        key=key,
        name=name or _name_of(words, key),
        argv=command.argv,
        shell=command.shell,
        workdir=os.path.abspath(workdir or os.getcwd()),
        env={**settings.env, **(env or {})},
        request=ResourceRequest(gpus=gpus, time_limit_s=time_limit_s),
        completion=completion,
        output_dir=resolve_places(paths, settings).output_dir,
        retries=default_retries if retries is None else retries,
        priority=priority,
        after=tuple(after),
        when=when,
    )
    return Draft(spec=draft.to_spec(captured.digest, group=group), after_names=draft.after, held=held)


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
    )


def _name_of(words: Sequence[str], key: str) -> str:
    """A name for a nameless command: its program (and script), told apart by four digits."""
    parts = " ".join(words).split()
    program = os.path.basename(parts[0]) if parts else "job"
    if program.startswith("python") and len(parts) > 1 and not parts[1].startswith("-"):
        program = os.path.splitext(os.path.basename(parts[1]))[0]
    return f"{program[:60]}-{key[:4]}"
