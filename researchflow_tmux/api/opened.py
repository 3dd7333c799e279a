"""The workspaces that this process has open: a handle finds its own again by the path alone."""

from __future__ import annotations

import functools

from researchflow_tmux.api.workspace import Workspace


@functools.lru_cache(maxsize=64)
def opened(root: str, config: str) -> Workspace:
    """The workspace at `root` with this scheduler config. Raises UsageError when it is none (any more)."""
    return Workspace(root, config)
