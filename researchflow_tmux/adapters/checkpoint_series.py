"""Where a job keeps its checkpoints, and which one its next attempt goes on from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.adapters.one_call import Call, Worker
from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.names import short_hash
from researchflow_tmux.job import choosing, local_store
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import Manifest
from researchflow_tmux.runner import record

LOOK_S = 5.0
"""A file system that takes longer to show a job's checkpoints holds up nobody else."""
_ATTEMPTS_BACK = 8

Found = tuple[Attempt, list[str]]


class Series:
    """Gives attempts their place for checkpoints and the newest sound one that is there."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._worker = Worker("checkpoints")
        self._under_way: Call[Found] | None = None

    def close(self) -> None:
        """Give back the thread."""
        self._worker.close()

    def continued(self, attempt: Attempt, job: Job) -> Found:
        """Return the attempt with its place and its checkpoint, and warnings. Never raises, never takes long.

        Where nobody can look (a URL, a file system that hangs), the job's own Python finds its newest checkpoint.
        """
        place = place_of(self._bench, job)
        placed = replace(attempt, checkpoints=place)
        if "://" in place:
            return placed, []
        if self._under_way is not None and not self._under_way.wait(0):
            return placed, [f"{place} is not looked at: the file system of the checkpoints still hangs"]
        call = self._under_way = self._worker.submit(lambda: _look(self._bench, placed, job))
        if not call.wait(LOOK_S):
            return placed, [f"the checkpoints in {place} cannot be seen within {LOOK_S:g} s: the job looks by itself"]
        if isinstance(call.result, tuple):
            return call.result
        return placed, [f"the checkpoints in {place} cannot be used: {call.result}"]


def place_of(bench: Bench, job: Job) -> str:
    """Path (or URL) of a job's checkpoints: another one once its work was finished, so that a rerun begins afresh.

    A directory outside the workspace may be shared with other workspaces: then the name carries this one's hash.
    """
    root, directory = bench.paths.root, bench.settings.checkpoint_dir
    name = job.slug + (f"_after_a{job.succeeded_attempt}" if job.succeeded_attempt else "")
    shared = f"{name}_{short_hash(bench.workspace_id)}"
    if "://" in directory:
        return f"{directory.rstrip('/')}/{shared}"
    directory = absolute(root, directory)
    outside = os.path.commonpath([root, directory]) != os.path.normpath(root)
    return os.path.join(directory, shared if outside else name)


def _look(bench: Bench, attempt: Attempt, job: Job) -> Found:
    place, warnings = attempt.checkpoints or "", list[str]()
    own = f"{place}_job{job.id}"
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
