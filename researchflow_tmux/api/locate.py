"""Finding the workspace a person means."""

from __future__ import annotations

import os

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.workspace import CONFIG_NAME, WorkspacePaths


def find_workspace(directory: str | None = None, config: str | None = None) -> WorkspacePaths:
    """The workspace at or above `directory` (default: here), or the one of a given scheduler config.

    Raises UsageError when there is none, naming what was looked for and what to do.
    """
    if config is not None:
        path = os.path.abspath(config)
        if not os.path.isfile(path):
            raise UsageError(f"{config}: no such file", hint="-f takes the path of a scheduler_config.yml")
        root = os.path.abspath(directory) if directory else os.path.dirname(path)
        return WorkspacePaths(root=os.path.realpath(root), config=path)
    if directory is not None:
        return _explicit(directory)
    start = os.getcwd()
    here = start
    while True:
        if os.path.isfile(os.path.join(here, CONFIG_NAME)):
            return _paths(here)
        parent = os.path.dirname(here)
        if parent == here:
            break
        here = parent
    raise UsageError(
        f"no {CONFIG_NAME} in {start} or above it: this is not a workspace",
        hint="make one with `rfsched setup DIRECTORY`, or name one with `rfsched -w DIRECTORY …`",
    )


def _explicit(directory: str) -> WorkspacePaths:
    if not os.path.isfile(os.path.join(directory, CONFIG_NAME)):
        raise UsageError(
            f"{directory} has no {CONFIG_NAME}: it is not a workspace",
            hint=f"make it one with `rfsched setup {directory}`",
        )
    return _paths(directory)


def _paths(directory: str) -> WorkspacePaths:
    root = os.path.realpath(directory)
    return WorkspacePaths(root=root, config=os.path.join(root, CONFIG_NAME))
