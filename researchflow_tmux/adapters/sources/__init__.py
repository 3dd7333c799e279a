"""Job sources: where jobs come from. Each yields drafts; submitting one fills in what only the workspace knows."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.procs import user_name
from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import CompletionRule, Condition, JobFiles, JobSpec, SuccessRule
from researchflow_tmux.domain.resources import ResourceRequest


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A `JobSpec` without the stored environment, and with upstream jobs by name. See there for the fields."""

    source: str
    key: str
    name: str
    argv: tuple[str, ...] = ()
    shell: str | None = None
    workdir: str
    env: dict[str, str] = {}
    request: ResourceRequest = ResourceRequest()
    completion: CompletionRule = "exit_code"
    success: SuccessRule | None = None
    verify: str | None = None
    verify_timeout_s: float | None = None
    variables: dict[str, Any] = {}
    marker: str | None = None
    output_dir: str | None = None
    config_path: str | None = None
    digests: dict[str, str] = {}
    retries: int = 0
    priority: int = 0
    project: str | None = None
    deadline: datetime | None = None
    preemptible: bool = False
    after: tuple[str, ...] = ()
    """Names of the jobs it needs."""
    when: Condition = "success"
    files: JobFiles | None = None
    group: str | None = None
    held: bool = False
    """Queued held: somebody must release it."""
    line: int | None = None
    """Where it stands in its file, 1-based; for words."""
    labels: dict[str, str] = {}
    array: Array | None = None
    array_index: int | None = None

    def to_spec(self, env_digest: str, after: tuple[int, ...] = (), group: str | None = None) -> JobSpec:
        """The spec, once the environment is stored and the upstream jobs are found; `group` = instead of its own."""
        own = {name: getattr(self, name) for name in _IN_SPEC}
        user = user_name(os.getuid())
        return JobSpec(**own, env_digest=env_digest, after=after, group=group or self.group, user=user)


_IN_SPEC = tuple(name for name in JobDraft.__struct_fields__ if name not in ("after", "group", "held", "line"))


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has: good jobs, and what keeps the others from being jobs."""

    drafts: tuple[JobDraft, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
