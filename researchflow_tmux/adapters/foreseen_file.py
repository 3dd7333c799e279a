"""The file `.rfsched/foreseen.json`: how far running jobs are, and when they should end, as the scheduler last found.

A view like usage.json; it stays when the scheduler ends, so that the next one goes on from there.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.job_progress import Followed
from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.policies.prediction.running import Foresight

SCHEMA = "rfsched.foreseen/1"


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One prediction that was made of an attempt, to be compared with its end."""

    moment: str
    source: str
    total_s: float
    low_s: float
    high_s: float
    elapsed_s: float = 0.0


class ForeseenAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt that runs."""

    job_id: int
    number: int
    started_at: datetime
    foresight: Foresight | None = None
    """None = nothing is known."""
    followed: Followed | None = None
    said: tuple[Said, ...] = ()

    @property
    def key(self) -> AttemptKey:
        """(job id, number)."""
        return (self.job_id, self.number)


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts that run."""

    schema: str = SCHEMA
    at: datetime
    attempts: tuple[ForeseenAttempt, ...] = ()


def write(path: str, foreseen: Foreseen) -> None:
    """Replace the file. Raises OSError."""
    write_atomic(path, msgspec.json.encode(foreseen), durable=False)


def read(path: str) -> Foreseen | None:
    """What was last written; None = nothing, or nothing this version understands."""
    try:
        with open(path, "rb") as file:
            foreseen = msgspec.json.decode(file.read(), type=Foreseen)
    except (OSError, msgspec.MsgspecError):
        return None
    return foreseen if foreseen.schema == SCHEMA else None


def by_key(foreseen: Foreseen | None) -> dict[AttemptKey, ForeseenAttempt]:
    """What is known of running attempts."""
    return {} if foreseen is None else {each.key: each for each in foreseen.attempts}
