"""Whose state is this? A workspace that was copied with its state directory must not pass for the original.

Sessions and processes are known by the workspace's id. So the state says in which directory the id was given out: found
elsewhere, it was moved (the original is gone: keep the id) or copied (the original is there: take a new one).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.workspace import WorkspacePaths

META_WORKSPACE = "workspace_id"
META_ROOT = "root"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a workspace is."""

    workspace_id: str
    news: dict[str, str] = {}
    """What the state does not say yet."""
    original: str | None = None
    """The workspace of which this one is a copy that has just been recognised."""


def identify(paths: WorkspacePaths, meta: Mapping[str, str]) -> Identity:
    """Tell from the state's `meta`. Hold the workspace lock, and save `news` together with what follows from it."""
    known, root = meta[META_WORKSPACE], meta.get(META_ROOT)
    if root == paths.root:
        return Identity(workspace_id=known)
    if root is None or not _still_there(root, known, paths):
        return Identity(workspace_id=known, news={META_ROOT: paths.root})
    fresh = os.urandom(4).hex()
    return Identity(workspace_id=fresh, news={META_WORKSPACE: fresh, META_ROOT: paths.root}, original=root)


def _still_there(root: str, workspace_id: str, paths: WorkspacePaths) -> bool:
    """Whether the workspace at `root` is another directory than ours with the same id; when in doubt it is."""
    other = WorkspacePaths(root=root, config="")
    if not os.path.exists(other.database):
        return False
    try:
        if os.path.samefile(other.state, paths.state):  # another name of the same place
            return False
        with SqliteReader(other.database) as reader:
            return reader.meta().get(META_WORKSPACE) == workspace_id
    except (OSError, RfschedError):
        return True
