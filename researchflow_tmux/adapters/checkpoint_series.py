"""Where a job keeps its checkpoints, and the look into that place before each attempt."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from msgspec.structs import replace

from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.adapters.one_call import Call, Worker
from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.names import short_hash

GLANCE_S = 0.2
"""It is only for the choice of whom to stop: whoever cannot be looked at counts as having saved nothing."""
LOOK_S = 5.0
"""A file system that takes longer to show a job's checkpoints holds up nobody else."""

Found = tuple[Attempt, list[str]]


class Series:
    """Gives attempts their place for checkpoints and the newest sound one that is there."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._worker = Worker("checkpoints")
        self._under_way: Call[Found] | None = None
        self._asked: Call[float | None] | None = None

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

    def saved_at(self, attempt: Attempt) -> datetime | None:
        """When the newest checkpoint in the attempt's place was saved; None = nobody can tell. Never takes long."""
        place = attempt.checkpoints
        if not place or "://" in place or (self._asked is not None and not self._asked.wait(0)):
            return None
        call = self._asked = self._worker.submit(lambda: _saved_s(place))
        if not call.wait(GLANCE_S) or not isinstance(call.result, float):
            return None
        return datetime.fromtimestamp(call.result, UTC)


def _saved_s(place: str) -> float | None:
    """Time of the newest checkpoint in a directory."""
    from researchflow_tmux.job import names  # on demand, as below

    try:
        found = names.newest_first(os.listdir(place))
        return os.stat(os.path.join(place, found[0])).st_mtime if found else None
    except OSError:
        return None


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
    place = attempt.checkpoints or ""
    own = f"{place}_job{job.id}"
    if not os.path.isdir(place) and not os.path.isdir(own):
        return attempt, []
    # On demand: whoever has no checkpoints has no use for the library of those who do.
    from researchflow_tmux.adapters.newest_checkpoint import continued

    return continued(bench, attempt, job, own=own)
