"""One simulated attempt: its directory, its runner and its processes in one."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.attempt import PREEMPTED, AttemptKey, Ended, Killed, LaunchFailed, Lost, Outcome
from researchflow_tmux.ports import ClaimFree, ClaimHeld, Fenced, NotClaimed, Observation, Unreaped
from researchflow_tmux.simulation.script import SUCCESS, Script


class Run(msgspec.Struct, kw_only=True):
    """Where it stands. Times that lie ahead are known beforehand: the script says them."""

    key: AttemptKey
    tag: str
    script: Script
    pid: int = 0
    """The runner's; 0 = not launched."""
    fenced: bool = False
    claims_at: datetime | None = None
    """None = not launched."""
    ends_at: datetime | None = None
    """None = not launched, or it runs until it is stopped."""
    outcome: Outcome | None = None
    """None, once it has ended = its runner died and left no record."""
    stop_by: str | None = None
    left: tuple[int, ...] = ()
    """Processes that outlive the runner."""
    stop_s: float = 0.0
    """How long its runner gives a job at most to end."""
    granted_until: datetime | None = None
    """By then it must be over; None = no budget limits it."""
    own_end: tuple[datetime, Outcome] | None = None
    """How it ends unless its budget is used up before; None = not by itself."""

    def claimed(self, now: datetime) -> bool:
        """Whether a runner has the claim, dead or alive."""
        return not self.fenced and self.claims_at is not None and self.claims_at <= now

    def alive(self, now: datetime) -> bool:
        """Whether its runner lives (before its claim, too)."""
        return not self.fenced and self.claims_at is not None and (self.ends_at is None or self.ends_at > now)

    def begin(self, pid: int, now: datetime) -> None:
        """Launch it."""
        self.pid = pid
        self.claims_at = now + timedelta(seconds=self.script.claim_delay_s)
        if self.stop_by is not None:
            self._end(self.claims_at, Killed(by=self.stop_by))
        else:
            if self.script.duration_s is not None:
                self.own_end = (self.claims_at + timedelta(seconds=self.script.duration_s), self.script.outcome)
            self._end_in_budget(now)

    def grant(self, until: datetime | None, now: datetime) -> None:
        """Its budget lets it run until then; one that is ending already goes on ending."""
        self.granted_until = until
        if self.alive(now) and self.stop_by is None and not self._ending_for_budget(now):
            self._end_in_budget(now)

    def stop(self, by: str, now: datetime) -> None:
        """Ask it to end; before its launch, the request waits for it."""
        if self.stop_by is None:
            self.stop_by = by
            self.kill(by, now, self.script.stop_delay_s)

    def kill(self, by: str, now: datetime, delay_s: float = 0.0) -> None:
        """End it, if it lives, so that its runner can still write the record."""
        if self.alive(now) and self.claims_at is not None:
            ends_at = max(now, self.claims_at) + timedelta(seconds=delay_s)
            through = self.ends_at is not None and self.ends_at <= ends_at and self.outcome == SUCCESS
            if by != PREEMPTED or not through:  # one that makes room may be through with its work by then
                self._end(ends_at, Killed(by=by, signal=15))

    def lose(self, now: datetime, survivors: int | None = None) -> None:
        """Its runner dies now."""
        if self.claimed(now):
            self.ends_at, self.outcome = now, None
            self.left = self._pids(self.script.survivors if survivors is None else survivors)
        else:
            self.claims_at = self.ends_at = None

    def saved_at(self, now: datetime) -> datetime | None:
        """When it last saved a checkpoint."""
        every_s = self.script.saves_every_s
        if every_s is None or self.claims_at is None or now < self.claims_at:
            return None
        times = (min(now, self.ends_at or now) - self.claims_at).total_seconds() // every_s
        return self.claims_at + timedelta(seconds=times * every_s) if times >= 1 else None

    def bury(self) -> tuple[int, ...]:
        """Kill the processes it left; return those that cannot be killed."""
        self.left = self.left[: self.script.unkillable]
        return self.left

    def observe(self, now: datetime) -> Observation:
        """What its files say."""
        if self.fenced:
            return Fenced()
        if self.claims_at is None or self.claims_at > now:
            return NotClaimed()
        if self.ends_at is None or self.ends_at > now:
            return ClaimHeld(runner_pid=self.pid, started_at=self.claims_at)
        if self.outcome is None:
            return ClaimFree(survivors=self.left, started_at=self.claims_at)
        return self._ended(self.claims_at, self.ends_at, self.outcome)

    def _ended(self, started_at: datetime, ended_at: datetime, outcome: Outcome) -> Ended | Unreaped:
        ended = Ended(
            outcome=outcome,
            ended_at=ended_at,
            started_at=None if isinstance(outcome, LaunchFailed) else started_at,
            peak_rss_mib=self.script.peak_rss_mib,
            cpu_s=self.script.cpu_s,
            ran_s=None if isinstance(outcome, LaunchFailed) else (ended_at - started_at).total_seconds(),
        )
        return Unreaped(ended=ended, pids=self.left) if self.left else ended

    def _end_in_budget(self, now: datetime) -> None:
        """By itself, or so early that it is over when what was granted is."""
        self.ends_at = self.outcome = None
        own_end = None if self.own_end is None else self.own_end[0]
        if self.own_end is not None:
            self._end(*self.own_end)
        if self.granted_until is None or self.claims_at is None:
            return
        stop_at = max(self.granted_until - timedelta(seconds=self.stop_s), self.claims_at, now)
        if own_end is None or own_end > stop_at:
            ending_s = min(self.script.stop_delay_s, self.stop_s)
            ending_s = 0.0 if stop_at == self.claims_at else ending_s  # nothing was started
            self._end(stop_at + timedelta(seconds=ending_s), Killed(by="budget", signal=15))

    def _ending_for_budget(self, now: datetime) -> bool:
        """Whether it was told to end because what was granted was nearly used up."""
        if self.ends_at is None or not isinstance(self.outcome, Killed) or self.outcome.by != "budget":
            return False
        return now >= self.ends_at - timedelta(seconds=min(self.script.stop_delay_s, self.stop_s))

    def _end(self, when: datetime, outcome: Outcome) -> None:
        lost = isinstance(outcome, Lost)
        self.ends_at, self.outcome = when, None if lost else outcome
        # A living runner reaps what it can before it writes the record; a dead one leaves all.
        self.left = self._pids(self.script.survivors if lost else 0)

    def _pids(self, survivors: int) -> tuple[int, ...]:
        return tuple(self.pid + 1 + number for number in range(max(survivors, self.script.unkillable)))
