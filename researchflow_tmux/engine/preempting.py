"""Carries out what was decided about making room: tells running jobs to save themselves and to end."""

from __future__ import annotations

from datetime import datetime

from researchflow_tmux.domain.attempt import PREEMPTED
from researchflow_tmux.domain.events import Notice
from researchflow_tmux.engine.by_hand import stop_attempt
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.decide import Capacity
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.planning.making_room import Wave
from researchflow_tmux.engine.workload import Book

MOST_AT_ONCE = 4
"""Urgent jobs that are given room in one tick."""


class Preemptor:
    """Makes room for jobs with a deadline, for one engine. What it applies is saved before anybody is told."""

    def __init__(self, context: Context, choice: Choice) -> None:
        self._it = context
        self._choice = choice

    def make_room(self, room: Capacity, now: datetime) -> bool:
        """Stop whoever has to make room now; whether anybody has to."""
        for number in range(MOST_AT_ONCE):
            wave = self._choice.make_room(room, now, self._it.host.saved_at)
            if wave is None:
                return number > 0
            self._carry_out(wave, now)
        return True

    def _carry_out(self, wave: Wave, now: datetime) -> None:
        book = Book(self._it.workload, now)
        jobs = [book.workload.jobs[job_id] for job_id in wave.victims]
        names = ", ".join(job.name for job in jobs)
        self._it.apply(Notice(text=f"is given room: {names} told to save and to stop", job_id=wave.urgent), now)
        assert self._choice.planner is not None
        save_s = self._choice.planner.rules.preempt.save_s
        for job in jobs:
            stop_attempt(
                book,
                job,
                by=PREEMPTED,
                grace_s=self._it.rules.stop_grace_s,
                save_s=save_s,
                room_for=wave.urgent,
                keeps=wave.keeps,
            )
