"""Keeping files that a program in any language wrote: what `rfsched checkpoint commit` does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from researchflow_tmux.job import choosing, snapshot
from researchflow_tmux.job.errors import CheckpointError
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import step_number
from researchflow_tmux.job.opening import open_store
from researchflow_tmux.job.store import CheckpointStore, Saved


def commit(
    path: str | os.PathLike[str],
    *,
    step: int,
    metrics: Mapping[str, float] | None = None,
    keep: choosing.Keep | None = None,
    store: CheckpointStore | None = None,
    variables: Mapping[str, str] | None = None,
) -> Saved:
    """Keep a copy of the file or directory `path` as a checkpoint of `step`, then remove what `keep` does not.

    The files are at the root of the checkpoint under the names they have below `path`, so the next attempt finds
    `path/model.bin` at `$RFSCHED_RESUME_FROM/model.bin`. Returns when all is durable. `store` is by default the one of
    the job whose environment `variables` (this process's) is; `keep` the last 3.

    `StateError` for a path without files or with something that is none; `CheckpointError` if the store refuses (what
    was saved before is untouched) or there is no job and no store.
    """
    told = os.environ if variables is None else variables
    target = store or _of_job(told)
    source = os.path.realpath(path)
    if isinstance(target, LocalStore) and (os.path.realpath(target.root) + "/").startswith(source + "/"):
        raise CheckpointError(f"{source} contains the checkpoints in {target.root}: commit a directory beside them")
    parts = snapshot.Snapshot(Path(path)).parts()
    attempt = told.get("RFSCHED_ATTEMPT", "")
    saved = target.write(parts, step=step_number(step), metrics=metrics, attempt=attempt)
    choosing.prune(target, keep or choosing.Keep())
    return saved


def _of_job(variables: Mapping[str, str]) -> CheckpointStore:
    place = variables.get("RFSCHED_CHECKPOINT_DIR")
    if not place:
        raise CheckpointError("RFSCHED_CHECKPOINT_DIR is not set: name the place of the checkpoints, or run in a job")
    return open_store(place, variables.get("RFSCHED_CHECKPOINT_STORE") or None)
