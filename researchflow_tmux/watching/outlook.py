"""How far each running attempt is, when it should end, and what was predicted of it so far."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.adapters.foreseen_file import Foreseen, ForeseenAttempt, Said
from researchflow_tmux.adapters.job_environment import PROGRESS_NAME
from researchflow_tmux.adapters.job_progress import Followed, begun, look
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Running, Stopping
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.policies.prediction.running import Foresight, Wrong, foresee, moment_of

REMEMBERED = 1000
"""Ended attempts whose predictions wait to be compared with their ends."""


class Target(msgspec.Struct, frozen=True):
    """An attempt that runs: what is needed to foresee its end."""

    key: AttemptKey
    started_at: datetime
    log: str | None
    job: Job


def target(attempt: Attempt, job: Callable[[int], Job]) -> Target | None:
    """What to follow of an attempt; None = it does not run yet."""
    phase = attempt.phase
    if not isinstance(phase, Running | Stopping) or phase.started_at is None:
        return None
    return Target(attempt.key, phase.started_at, attempt.log, job(attempt.job_id))


class Outlook:
    """All running attempts; `before` = what an earlier scheduler knew of them."""

    def __init__(self, paths: WorkspacePaths, before: Foreseen | None = None) -> None:
        self._paths = paths
        self._known: dict[AttemptKey, ForeseenAttempt] = {}
        if before is not None:
            self._known = {each.key: each for each in before.attempts}
        self._said: dict[AttemptKey, tuple[Said, ...]] = {}

    @property
    def attempts(self) -> tuple[ForeseenAttempt, ...]:
        """As last looked at."""
        return tuple(self._known.values())

    def said(self, key: AttemptKey) -> tuple[Said, ...]:
        """What was predicted of an attempt, once it has ended."""
        known = self._known.get(key)
        return self._said.pop(key, ()) if known is None else known.said

    def look(self, targets: Sequence[Target], history: History, wrong: Wrong, now: datetime) -> bool:
        """Look at each once; whether there is anything new to show."""
        found = {each.key: self._look(each, history, wrong, now) for each in targets}
        self._forget(found)
        changed = bool(found) or bool(self._known)
        self._known = found
        return changed

    def _look(self, each: Target, history: History, wrong: Wrong, now: datetime) -> ForeseenAttempt:
        known = self._known.get(each.key)
        followed = known.followed if known is not None and known.followed is not None else begun()
        look(followed, os.path.join(self._paths.attempt_dir(*each.key), PROGRESS_NAME), each.log)
        elapsed_s = max((now - each.started_at).total_seconds(), 0.0)
        found = self._foresee(each, followed, history, wrong, elapsed_s, now)
        said = known.said if known is not None else self._at_start(each, history)
        moment = None if found is None or found.fraction is None else moment_of(found.fraction)
        if found is not None and moment is not None and found.source != "history" and _new(said, moment):
            said = (*said, _said(moment, found, elapsed_s))
        return ForeseenAttempt(
            job_id=each.key[0],
            number=each.key[1],
            started_at=each.started_at,
            foresight=found,
            followed=followed,
            said=said,
        )

    def _foresee(
        self, each: Target, followed: Followed, history: History, wrong: Wrong, elapsed_s: float, now: datetime
    ) -> Foresight | None:
        return foresee(
            followed.track,
            history.predict(each.job),
            elapsed_s,
            now_s=now.timestamp(),
            wrong=wrong,
            limit_s=each.job.spec.request.time_limit_s,
        )

    def _at_start(self, each: Target, history: History) -> tuple[Said, ...]:
        """What is believed as it starts: nothing of it is known by then but its like."""
        known = history.predict(each.job)
        if known is None:
            return ()
        whole = known.limited(each.job.spec.request.time_limit_s)
        said = Said(moment="started", source="history", total_s=whole.p50_s, low_s=whole.low_s, high_s=whole.high_s)
        return (said,)

    def _forget(self, found: Mapping[AttemptKey, ForeseenAttempt]) -> None:
        """What has ended is kept until it is compared with its end."""
        for key, known in self._known.items():
            if key not in found and known.said:
                self._said[key] = known.said
        while len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]


def _new(said: Sequence[Said], moment: str) -> bool:
    return all(each.moment != moment for each in said)


def _said(moment: str, found: Foresight, elapsed_s: float) -> Said:
    return Said(
        moment=moment,
        source=found.source,
        total_s=found.total_s,
        low_s=found.low_s,
        high_s=found.high_s,
        elapsed_s=round(elapsed_s, 3),
    )
