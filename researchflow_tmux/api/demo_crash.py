"""Trainings of the demo that are killed in the middle, and what their checkpoints saved."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import msgspec

from researchflow_tmux import checkpoints
from researchflow_tmux.adapters.job_environment import PROGRESS_NAME
from researchflow_tmux.api.views import JobView
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.checkpoints import LocalStore
from researchflow_tmux.domain.attempt import Ended, Running
from researchflow_tmux.runner import reap

KILL_AFTER_STEPS = (10, 25)
"""One training for each: it is killed once a checkpoint of that step, or a later one, is there."""
EPOCHS_MORE = 2.0
"""It is let go on for so many epochs after that: they are the work that is lost."""
RETRY_DELAY_S = 0.5


class Killed(msgspec.Struct, kw_only=True):
    """A training that was killed."""

    name: str
    pid: int
    done: float
    """How many epochs it had done."""
    saved_step: int
    """The step of its newest checkpoint."""


class Back(msgspec.Struct, kw_only=True):
    """A killed training that goes on."""

    name: str
    resumed_step: int
    lost_s: float | None
    saved_s: float | None
    """Seconds of training that need not be done again."""


def settings() -> dict[str, str]:
    """What the workspace needs for it."""
    return {"auto_restart_failed": "true", "retry_delay": str(RETRY_DELAY_S)}


def kill_training(workspace: Workspace, job: JobView, least_step: int) -> Killed | None:
    """SIGKILL a job's processes, as the kernel does when memory runs out; None = it is not so far yet, or has ended."""
    attempt = workspace.last_attempt(workspace.job(str(job.id)))
    if attempt is None or attempt.checkpoints is None or not isinstance(attempt.phase, Running):
        return None
    newest = checkpoints.latest(LocalStore(attempt.checkpoints))
    if newest is None or newest.manifest is None or newest.manifest.step < least_step:
        return None
    done = _epochs_done(workspace.paths.attempt_dir(*attempt.key))
    if done < newest.manifest.step + EPOCHS_MORE:
        return None
    with workspace.reader() as reader:
        tag = f"{reader.meta()['workspace_id']}/{attempt.job_id}.{attempt.number}"
    pids = reap.find_by_cookie(tag)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return Killed(name=job.name, pid=pids[-1], done=done, saved_step=newest.manifest.step) if pids else None


def _epochs_done(attempt_dir: str) -> float:
    try:
        with open(os.path.join(attempt_dir, PROGRESS_NAME), "rb") as file:
            return float(msgspec.json.decode(file.read())["done"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return 0.0


def came_back(workspace: Workspace, job: JobView) -> Back | None:
    """What a killed job's second attempt began with; None = it has not begun yet."""
    if job.attempt < 2 or job.started_at is None or job.resumed_step is None:
        return None
    with workspace.reader() as reader:
        first = reader.attempts_of(job.id)[0].phase
    saved_s = None
    if isinstance(first, Ended) and first.started_at is not None and job.lost_s is not None:
        saved_s = (first.ended_at - first.started_at).total_seconds() - job.lost_s
    return Back(name=job.name, resumed_step=job.resumed_step, lost_s=job.lost_s, saved_s=saved_s)
