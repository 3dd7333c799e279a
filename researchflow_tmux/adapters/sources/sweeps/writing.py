"""Puts the configs of a sweep's jobs where the jobs look for them, each in a folder that no other job has."""

from __future__ import annotations

import os
from collections.abc import Iterable

from researchflow_tmux.adapters.environment import current_umask
from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.sources.sweeps.scan import SweepJob, SweepScan
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import Job


def refuse_taken_folders(found: SweepScan, there: Iterable[Job]) -> None:
    """Two jobs in one folder would write over each other's files. `there` = the jobs of all sweeps.

    Raises ConfigError.
    """
    owners = {job.spec.output_dir: job for job in there}
    for job in found.jobs:
        owner = owners.get(job.draft.output_dir)
        if owner is not None and owner.spec.key != job.draft.key:
            file = owner.spec.key.partition("#")[0]
            message = f"{job.draft.output_dir} is the folder of {owner.name} (job {owner.id}, of {file})"
            raise ConfigError([Problem(message=message, hint="give the sweep another `layout`, or name all in it")])


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
