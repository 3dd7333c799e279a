"""What starts when and where, from now on: the real decisions over the workspace's jobs, each taking a given time.

It is the scheduler's own `Choice` on its own `Workload` and `Capacity`; only time, starts and ends are made up, and
nothing but the workload is changed. Everything succeeds; nothing else comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Exited, Planned, Running, Stopping
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, AttemptStarted, JobChanged
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.by_hand import settle_dependents
from researchflow_tmux.engine.capacity import Capacity
from researchflow_tmux.engine.decide import Start, goes_on
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.workload import Book, Workload

LEAST_S = 0.001
SUCCESS = Exited(code=0, succeeded=True)


class Stay(msgspec.Struct, frozen=True):
    """One job as it would run; what runs already began before now."""

    job_id: int
    gpus: tuple[int, ...]
    """Physical indices; none = a CPU job."""
    start_at: datetime
    end_at: datetime
    running: bool = False
    """It runs now."""


class Foreseen(msgspec.Struct):
    """How it would go on."""

    stays: dict[int, Stay]
    """By job, in the order of their starts."""
    decisions: int
    complete: bool
    """All that could start has started."""
    room: Callable[[datetime], Capacity]
    """What may be used at a time after that."""


def go_on(
    choice: Choice,
    room: Callable[[datetime], Capacity],
    now: datetime,
    *,
    lengths: Callable[[Job], float],
    ends: Mapping[AttemptKey, datetime],
    wanted: Collection[int] | None = None,
    most: int | None = None,
) -> Foreseen:
    """Let time go by until every job of `wanted` (None = all) has started, or nothing more can.

    Args:
        choice: Decides; its workload is used up.
        room: What may be used at a time, by the workload as it then is.
        now: Where it begins.
        lengths: Seconds that a job will take.
        ends: When what runs now will have ended.
        wanted: Ids of the jobs that somebody wants to know about.
        most: It ends when so many have started, whatever is left.
    """
    return _Course(choice, room, now, lengths, ends).run(wanted, most)


class _Course:
    def __init__(
        self,
        choice: Choice,
        room: Callable[[datetime], Capacity],
        now: datetime,
        lengths: Callable[[Job], float],
        ends: Mapping[AttemptKey, datetime],
    ) -> None:
        self._choice, self._room, self._now, self._lengths = choice, room, now, lengths
        self._workload: Workload = choice.workload
        self._ends: list[tuple[datetime, AttemptKey]] = []
        self._stays: dict[int, Stay] = {}
        for attempt in self._workload.attempts.values():
            if not isinstance(attempt.phase, Ended):
                end_at = max(ends.get(attempt.key, now), now)
                heapq.heappush(self._ends, (end_at, attempt.key))
                began = attempt.phase.started_at if isinstance(attempt.phase, Running | Stopping) else None
                stay = Stay(
                    attempt.job_id, attempt.allocation.indices, began or attempt.planned_at, end_at, running=True
                )
                self._stays[attempt.job_id] = stay

    def run(self, wanted: Collection[int] | None, most: int | None) -> Foreseen:
        left = None if wanted is None else set(wanted) - self._stays.keys()
        began = decisions = 0
        while left is None or left:
            if most is not None and began >= most:
                return Foreseen(self._stays, decisions, complete=False, room=self._room)
            started, again = self._decide()
            decisions += 1
            began += len(started)
            if left is not None:
                left -= started
            if not again and not self._pass_time():
                break
        return Foreseen(self._stays, decisions, complete=left is None, room=self._room)

    def _decide(self) -> tuple[set[int], bool]:
        """One decision; the jobs that start by it, and whether to decide again at once."""
        room = self._room(self._now)
        starts = self._choice.decide(room, self._now)
        for start in starts:
            self._start(start)
        self._workload.changes_saved()
        return {start.job.id for start in starts}, bool(starts) and goes_on(starts, room)

    def _start(self, start: Start) -> None:
        job = self._workload.jobs[start.job.id]
        number = job.attempts + 1
        attempt = Attempt(
            job_id=job.id,
            number=number,
            allocation=start.allocation,
            session="",
            log=None,
            planned_at=self._now,
            boot_id="",
            hostname="",
            phase=Planned(at=self._now),
            grant=start.grant,
        )
        self._workload.apply(AttemptPlanned(attempt=attempt), self._now)
        began = AttemptStarted(job_id=job.id, number=number, runner_pid=0, started_at=self._now)
        self._workload.apply(began, self._now)
        end_at = self._now + timedelta(seconds=max(self._lengths(job), LEAST_S))
        heapq.heappush(self._ends, (end_at, attempt.key))
        self._stays[job.id] = Stay(job.id, start.allocation.indices, self._now, end_at)

    def _pass_time(self) -> bool:
        """On to the next thing that happens; False = nothing does."""
        times = [self._ends[0][0]] if self._ends else []
        backoff = self._workload.next_backoff_end(self._now)
        times += [] if backoff is None else [backoff]
        due_s = self._choice.due_s(self._now)
        if times and due_s < float("inf"):
            times.append(self._now + timedelta(seconds=due_s))
        if not times:
            return False
        self._now = max(min(times), self._now)
        while self._ends and self._ends[0][0] <= self._now:
            self._end(heapq.heappop(self._ends)[1])
        return True

    def _end(self, key: AttemptKey) -> None:
        job_id, number = key
        attempt = self._workload.attempts[key]
        began = attempt.phase.started_at if isinstance(attempt.phase, Running | Stopping) else None
        ended = Ended(outcome=SUCCESS, started_at=began, ended_at=self._now)
        self._workload.apply(AttemptEnded(job_id=job_id, number=number, ended=ended), self._now)
        reason = Reason(code=ReasonCode.EXIT_CODE)
        self._workload.apply(JobChanged(job_id=job_id, state=JobState.SUCCEEDED, reason=reason), self._now)
        settle_dependents(Book(self._workload, self._now), job_id)
