"""What thousands of jobs have in common is kept once: the directory, the environment's digest, the words of a command.

Each job comes out of a row or a request as a world of its own, with every text in it a fresh object. Two thirds of that
are the same for all jobs of a sweep.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from msgspec.structs import force_setattr

from researchflow_tmux.domain.job import Job

MOST = 20_000
"""Different values that are remembered. What comes later is likely another for every job, and would only take room."""

_ALIKE = (
    *("source", "workdir", "env_digest", "output_dir", "group", "request", "array", "completion", "when", "success"),
    *("user", "project", "deadline"),
)
"""Fields that many jobs have in common."""
_MAPPINGS = ("env", "digests", "labels", "variables")


class Sharing:
    """Replaces parts of jobs by equal ones that are there already. Nobody can tell: jobs are never changed in place."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def share(self, job: Job) -> None:
        """Let `job` use what earlier ones brought along."""
        spec = job.spec
        for name in _ALIKE:
            value = getattr(spec, name)
            if value is not None:
                force_setattr(spec, name, self._one(value, value))
        for name in _MAPPINGS:
            mapping = getattr(spec, name)
            force_setattr(spec, name, self._one((name, repr(mapping) if mapping else None), mapping))
        if spec.argv:
            force_setattr(spec, "argv", tuple([self._one(word, word) for word in spec.argv]))
        if job.slug == spec.name:
            force_setattr(job, "slug", spec.name)
        force_setattr(job, "queued_at", self._one(job.queued_at, job.queued_at))

    def _one(self, key: Hashable, value: Any) -> Any:
        found = self._known.get(key)
        if found is not None:
            return found
        if len(self._known) < MOST:
            self._known[key] = value
        return value
