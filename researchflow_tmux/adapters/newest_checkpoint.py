"""The checkpoint with which a job's next attempt goes on, and the work that it does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.job import choosing, local_store
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import Manifest
from researchflow_tmux.runner import record

_ATTEMPTS_BACK = 8


def continued(bench: Bench, attempt: Attempt, job: Job, *, own: str) -> tuple[Attempt, list[str]]:
    """Return the attempt with the checkpoint to go on from, if there is one, and warnings.

    `own` is the place to use instead of the attempt's if the checkpoints there are another job's. Raises
    `CheckpointError` if there are checkpoints and none is sound.
    """
    place, warnings = attempt.checkpoints or "", list[str]()
    if os.path.isdir(own):
        place = own
    elif _of_another_job(LocalStore(place), f"{bench.workspace_id}/{job.id}."):
        warnings.append(f"the checkpoints in {place} are those of another job: this one keeps its own in {own}")
        place = own
    attempt = replace(attempt, checkpoints=place)
    found, damaged = choosing.newest(LocalStore(place), lambda name: (name, _sound(LocalStore(place), name)))
    warnings += (f"checkpoint {name} in {place} is damaged and passed over: {why}" for name, why in damaged.items())
    if found is None:
        return attempt, warnings
    name, manifest = found
    lost_s = _lost_s(bench, attempt, job, datetime.fromisoformat(manifest.created_at).timestamp())
    path = os.path.join(place, name)
    return replace(attempt, resumed_step=manifest.step, resumed_from=path, lost_s=lost_s), warnings


def _of_another_job(store: LocalStore, mine: str) -> bool:
    """Whether the newest checkpoint was saved by another job (one of this name that was removed), not by hand."""
    manifests = (choosing.manifest_or_none(store, name) for name in store.names())
    newest: Manifest | None = next(filter(None, manifests), None)
    return newest is not None and bool(newest.attempt) and not newest.attempt.startswith(mine)


def _sound(store: LocalStore, name: str) -> Manifest:
    manifest = store.manifest(name)
    local_store.verify(store.fetch(name), manifest, contents=False)
    return manifest


def _lost_s(bench: Bench, attempt: Attempt, job: Job, saved_at: float) -> float | None:
    """Seconds that the latest attempt which ran went on after the checkpoint (or after it began with it)."""
    for facts in _records_back(bench, attempt, job):
        if facts is None:
            return None
        started_at, ended_at = facts.get("started_at"), facts.get("ended_at")
        if isinstance(started_at, int | float) and isinstance(ended_at, int | float):
            return max(0.0, round(ended_at - max(saved_at, started_at), 3))
    return None


def _records_back(bench: Bench, attempt: Attempt, job: Job) -> Iterator[dict[str, Any] | None]:
    oldest = max(job.succeeded_attempt, attempt.number - 1 - _ATTEMPTS_BACK)
    for number in range(attempt.number - 1, oldest, -1):
        yield record.read(bench.paths.attempt_dir(job.id, number))
