"""What all attempts of a workspace have in common, and where each one's files are."""

from __future__ import annotations

import os

import msgspec

from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.names import short_hash
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What all attempts of a workspace have in common."""

    workspace_id: str
    paths: WorkspacePaths
    settings: Settings
    lease_dir: str | None = None
    """None = no machine-wide leases (simulated or logical GPUs)."""
    leased: frozenset[str] = frozenset()
    """UUIDs of the GPUs that need one."""
    totals: dict[str, int] = {}
    """Memory in MiB by UUID, as far as it is known."""

    def tag(self, attempt: Attempt) -> str:
        """What marks the attempt's session, ticket and processes."""
        return f"{self.workspace_id}/{attempt.job_id}.{attempt.number}"

    def directory(self, attempt: Attempt) -> str:
        """Where the attempt's files are."""
        return self.paths.attempt_dir(attempt.job_id, attempt.number)


def log_paths(bench: Bench, slug: str, number: int) -> tuple[str, str]:
    """Return the log of one attempt and the link to the job's latest.

    A log_dir outside the workspace may be shared with other workspaces: then the names carry this one's hash.
    """
    root = bench.paths.root
    log_dir = absolute(root, bench.settings.log_dir)
    outside = os.path.commonpath([root, log_dir]) != os.path.normpath(root)
    stem = os.path.join(log_dir, "train_logs", f"{slug}_{short_hash(bench.workspace_id)}" if outside else slug)
    return f"{stem}_a{number}.log", f"{stem}.log"
