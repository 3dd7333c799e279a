"""Attempts that run in memory, by script and virtual clock, with the faults of the real world on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Killed, LaunchFailed, Lost, Outcome
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import (
    ClaimFree,
    ClaimHeld,
    Clock,
    Fenced,
    Launched,
    LaunchRefused,
    LaunchResult,
    NameTaken,
    NotClaimed,
    Observation,
    ServerDown,
    Session,
    Sessions,
    Snapshot,
    Unknown,
    Unreaped,
)
from researchflow_tmux.simulation.script import Script, Scripts

SERVER_PID = 1000


class Faults(msgspec.Struct, kw_only=True):
    """What goes wrong now; change it at any time, `None` and 0 mean nothing does."""

    silent: str | None = None
    """tmux answers Unknown to everything, with this reason."""
    unreadable: str | None = None
    """The attempts' files cannot be read, for this reason."""
    refuse: LaunchRefused | None = None
    """The next `refuse_count` launches are refused so."""
    refuse_count: int = 0
    lost_answers: int = 0
    """The next launches happen, but their answer is Unknown."""
    disk_full: bool = False
    vanished: set[str] = msgspec.field(default_factory=set)
    """Names of jobs whose config is gone."""


class Run(msgspec.Struct, kw_only=True):
    """One prepared attempt: the simulator's attempt directory, runner and processes in one."""

    key: AttemptKey
    script: Script
    tag: str
    launched_at: datetime | None = None
    claimed_at: datetime | None = None
    fenced: bool = False
    ends_at: datetime | None = None
    outcome: Outcome | None = None
    killed: bool = False
    """The runner died at `ends_at` and left no record."""
    stop_by: str | None = None
    pid: int = 0
    left: tuple[int, ...] = ()


class MemoryHost:
    """The SessionHost in memory. `starts` lists every start of a runner: an attempt must never be in it twice."""

    def __init__(self, clock: Clock, workspace_id: str = "sim", scripts: Scripts | None = None) -> None:
        self.scripts = scripts or Scripts()
        self.faults = Faults()
        self.foreign: set[str] = set()
        """Session names of somebody else."""
        self.starts: list[AttemptKey] = []
        self._clock = clock
        self._workspace_id = workspace_id
        self._runs: dict[AttemptKey, Run] = {}
        self._live: set[AttemptKey] = set()
        self._sessions: dict[str, tuple[AttemptKey, datetime]] = {}
        self._next_pid = SERVER_PID + 1

    # -- the port

    def snapshot(self) -> Snapshot:
        """All sessions."""
        if self.faults.silent is not None:
            return Unknown(why=self.faults.silent)
        if not self._sessions and not self.foreign:
            return ServerDown()
        ours = {name: self._session(name, key, at) for name, (key, at) in self._sessions.items()}
        return Sessions(by_name=ours, foreign_names=frozenset(self.foreign), server_pid=SERVER_PID)

    def observe(self, attempt: Attempt) -> Observation:
        """What the attempt's files would say now."""
        if self.faults.unreadable is not None:
            return Unknown(why=self.faults.unreadable)
        run = self._runs.get(attempt.key)
        if run is None:
            return NotClaimed()
        self._settle(run)
        if run.fenced:
            return Fenced()
        if run.claimed_at is None:
            return NotClaimed()
        if run.ends_at is None or run.ends_at > self._clock.now():
            return ClaimHeld(runner_pid=run.pid, started_at=run.claimed_at)
        return self._ended(run)

    def prepare(self, attempt: Attempt, job: Job, env: Mapping[str, Any]) -> tuple[Attempt, list[str]]:
        """Note what the attempt will do."""
        if self.faults.disk_full:
            raise StoreError("the attempt's directory cannot be written: No space left on device")
        if job.name in self.faults.vanished:
            raise LaunchError(f"the config {job.spec.key} is gone", hint="put it back and requeue the job")
        script = self.scripts.of(job.name, attempt.number)
        known = self._runs.get(attempt.key)
        if known is None:
            tag = f"{self._workspace_id}/{attempt.job_id}.{attempt.number}"
            self._runs[attempt.key] = Run(key=attempt.key, script=script, tag=tag)
        elif known.launched_at is None:
            known.script = script
        return replace(attempt, log=f"logs/train_logs/{job.slug}_a{attempt.number}.log"), []

    def launch(self, attempt: Attempt) -> LaunchResult:
        """Start the attempt's script under its session name. Asking twice starts it once."""
        faults = self.faults
        if faults.silent is not None:
            return Unknown(why=faults.silent)
        if faults.refuse_count > 0 and faults.refuse is not None:
            faults.refuse_count -= 1
            return faults.refuse
        run = self._runs.get(attempt.key)
        if run is None:
            return LaunchRefused(why="the attempt was not prepared", host=False)
        owner = self._owner(attempt)
        if owner is not None:
            return NameTaken(owner=owner)
        self._open(attempt.session, run)
        if faults.lost_answers > 0:
            faults.lost_answers -= 1
            return Unknown(why="tmux did not answer in time")
        return Launched(runner_pid=run.pid)

    def fence(self, attempt: Attempt) -> bool:
        """Take the claim; False = a runner was faster."""
        tag = f"{self._workspace_id}/{attempt.job_id}.{attempt.number}"
        run = self._runs.setdefault(attempt.key, Run(key=attempt.key, script=Script(), tag=tag))
        self._settle(run)
        if run.claimed_at is None:
            run.fenced = True
            self._live.discard(run.key)
        return run.fenced

    def stop(self, attempt: Attempt, by: str, reason: str) -> None:
        """End the attempt after its script's stop delay, with outcome Killed(by)."""
        run = self._runs.get(attempt.key)
        if run is None or run.fenced or run.stop_by is not None:
            return
        run.stop_by = by
        if run.launched_at is not None and self._alive(run):
            claimed = run.launched_at + timedelta(seconds=run.script.claim_delay_s)
            when = max(self._clock.now(), claimed) + timedelta(seconds=run.script.stop_delay_s)
            self._end_at(run, when, Killed(by=by, signal=15))

    def destroy(self, attempt: Attempt) -> tuple[int, ...]:
        """Kill it without a record; return what cannot be killed."""
        self.fence(attempt)
        run = self._runs[attempt.key]
        if self._alive(run):
            self.lose_runner(attempt.key)
        run.left = run.left[: run.script.unkillable]
        return run.left

    def close_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        """Close sessions given as (name, tag), each only if it still carries that tag."""
        if self.faults.silent is not None:
            return
        for name, tag in names:
            for candidate in (name, _old_name(name, tag)):
                if self._tag(candidate) == tag:
                    self._hang_up(candidate)

    def rename_session(self, name: str, tag: str, new_name: str) -> None:
        """Rename a session that carries `tag`."""
        if self.faults.silent is None and self._tag(name) == tag and new_name not in self._sessions:
            self._sessions[new_name] = self._sessions.pop(name)

    # -- the simulator's own

    def next_end(self) -> datetime | None:
        """When the next attempt ends, by what is known now."""
        ends = [run.ends_at for run in map(self._runs.__getitem__, self._live) if run.ends_at is not None]
        return min(ends, default=None)

    def lose_runner(self, key: AttemptKey, survivors: int | None = None) -> None:
        """The attempt's runner dies now, with no exit record, and leaves processes behind."""
        run = self._runs[key]
        self._settle(run)
        run.ends_at, run.killed = self._clock.now(), True
        self._live.discard(key)
        count = max(run.script.survivors if survivors is None else survivors, run.script.unkillable)
        run.left = tuple(run.pid + 1 + number for number in range(count))

    def kill_server(self) -> None:
        """The tmux server dies; the attempts run on without sessions."""
        self._sessions.clear()
        self.foreign.clear()

    def reboot(self) -> None:
        """The machine goes down: every attempt that runs dies without a record, every session is gone."""
        for key in list(self._live):
            self.lose_runner(key, survivors=0)
        self.kill_server()

    def runners(self) -> list[AttemptKey]:
        """The attempts that run now."""
        return [key for key in sorted(self._live) if self._alive(self._runs[key])]

    # -- one attempt

    def _open(self, name: str, run: Run) -> None:
        if name in self._sessions:
            return  # asked twice
        now = self._clock.now()
        self._sessions[name] = (run.key, now)
        if run.fenced or run.claimed_at is not None:
            return  # the runner finds the claim taken and ends
        run.pid = self._next_pid
        self._next_pid += 100
        run.launched_at = run.launched_at or now
        self._live.add(run.key)
        if run.stop_by is not None:
            self._end_at(run, now, Killed(by=run.stop_by))
        elif run.script.duration_s is not None:
            delay = timedelta(seconds=run.script.claim_delay_s + run.script.duration_s)
            self._end_at(run, now + delay, run.script.outcome)
        self._settle(run)

    def _end_at(self, run: Run, when: datetime, outcome: Outcome) -> None:
        run.ends_at, run.outcome, run.killed = when, outcome, isinstance(outcome, Lost)
        run.left = tuple(run.pid + 1 + number for number in range(max(run.script.survivors, run.script.unkillable)))

    def _settle(self, run: Run) -> None:
        """Bring the claim up to the present."""
        now = self._clock.now()
        if run.claimed_at is None and run.launched_at is not None and not run.fenced:
            due = run.launched_at + timedelta(seconds=run.script.claim_delay_s)
            if now >= due:
                run.claimed_at = due
                self.starts.append(run.key)
        if run.ends_at is not None and run.ends_at <= now:
            self._live.discard(run.key)

    def _alive(self, run: Run) -> bool:
        self._settle(run)
        return run.key in self._live

    def _ended(self, run: Run) -> Observation:
        assert run.ends_at is not None
        if run.killed or run.outcome is None:
            return ClaimFree(survivors=run.left, started_at=run.claimed_at)
        ran = not isinstance(run.outcome, LaunchFailed)
        ended = Ended(
            outcome=run.outcome,
            ended_at=run.ends_at,
            started_at=run.claimed_at if ran else None,
            peak_rss_mib=run.script.peak_rss_mib,
            cpu_s=run.script.cpu_s,
        )
        stuck = run.left[: run.script.unkillable]  # a living runner reaps the others before it writes the record
        return Unreaped(ended=ended, pids=stuck) if stuck else ended

    # -- sessions

    def _owner(self, attempt: Attempt) -> str | None:
        """Who has the name, if that is not this attempt; a kept session of an ended attempt makes way."""
        name = attempt.session
        if name in self.foreign:
            return "a session that is not of this workspace"
        if name not in self._sessions:
            return None
        key, _ = self._sessions[name]
        if key == attempt.key:
            return None
        holder = self._runs[key]
        if self._alive(holder):
            return holder.tag
        self._sessions[_old_name(name, holder.tag)] = self._sessions.pop(name)
        return None

    def _session(self, name: str, key: AttemptKey, at: datetime) -> Session:
        run = self._runs[key]
        dead = not self._alive(run)
        return Session(name=name, tag=run.tag, pane_pid=run.pid, pane_dead=dead, attached=0, created_at=at.timestamp())

    def _tag(self, name: str) -> str | None:
        found = self._sessions.get(name)
        return None if found is None else self._runs[found[0]].tag

    def _hang_up(self, name: str) -> None:
        key, _ = self._sessions.pop(name)
        run = self._runs[key]
        if self._alive(run):
            self._end_at(run, self._clock.now(), Killed(by="session_killed"))


def _old_name(name: str, tag: str) -> str:
    return f"{name}_a{tag.rpartition('.')[2]}"
