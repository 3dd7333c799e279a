"""Where the settings' paths point: absolute, with `${task_name}` and `~` filled in."""

from __future__ import annotations

import os

import msgspec

from researchflow_tmux.domain.workspace import Settings, WorkspacePaths


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The directories and the script that the settings name; all absolute."""

    work_dir: str
    config_dir: str
    job_dir: str
    processed_dir: str
    script: str
    output_dir: str
    log_dir: str


def resolve_places(paths: WorkspacePaths, settings: Settings) -> Places:
    """Relative paths are relative to the workspace."""
    name = settings.task_name
    return Places(
        work_dir=absolute(paths.root, settings.work_dir),
        config_dir=absolute(paths.root, settings.config_dir.replace("${task_name}", name)),
        job_dir=absolute(paths.root, settings.job_dir.replace("${task_name}", name)),
        processed_dir=absolute(paths.root, settings.processed_dir),
        script=absolute(paths.root, settings.script_path.replace("${task_name}", name)),
        output_dir=absolute(paths.root, settings.output_dir),
        log_dir=absolute(paths.root, settings.log_dir),
    )


def absolute(root: str, path: str) -> str:
    """`path` made absolute against `root`; symbolic links stay as they are."""
    return os.path.normpath(os.path.join(root, os.path.expanduser(path)))
