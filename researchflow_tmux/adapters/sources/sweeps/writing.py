"""Puts the configs of a sweep's jobs where the jobs look for them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from researchflow_tmux.adapters.environment import current_umask
from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.sources.sweeps.scan import SweepJob


def make_folders(jobs: Iterable[SweepJob]) -> None:
    """Make each job's folder and write its config, if it is not there as it should be. On disk on return."""
    mode = 0o666 & ~current_umask()
    written = False
    for job in jobs:
        assert job.draft.output_dir is not None
        os.makedirs(job.draft.output_dir, exist_ok=True)
        if job.config is not None and job.draft.config_path is not None:
            written |= _write(job.draft.config_path, job.config.encode(), mode)
    if written:
        os.sync()  # once, instead of a wait for the disk with each of thousands of files


def _write(path: str, data: bytes, mode: int) -> bool:
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return False
    except FileNotFoundError:
        pass
    write_atomic(path, data, mode, durable=False)
    return True
