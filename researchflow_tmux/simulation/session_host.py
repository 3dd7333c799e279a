"""Attempts that run in memory, by script and virtual clock, with the faults of the real world on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import (
    Clock,
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
)
from researchflow_tmux.simulation.run import Run
from researchflow_tmux.simulation.script import Script, Scripts

SERVER_PID = 1000
_PIDS_EACH = 100


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


class MemoryHost:
    """The SessionHost in memory. `starts` lists the runners that were started: no attempt may be in it twice."""

    def __init__(self, clock: Clock, workspace_id: str = "sim", scripts: Scripts | None = None) -> None:
        self.scripts = scripts or Scripts()
        self.faults = Faults()
        self.foreign: set[str] = set()
        """Session names of somebody else."""
        self.starts: list[AttemptKey] = []
        self.stop_s = 0.0
        """How long runners give jobs at most to end."""
        self._clock = clock
        self._workspace_id = workspace_id
        self._runs: dict[AttemptKey, Run] = {}
        self._live: set[AttemptKey] = set()
        self._sessions: dict[str, tuple[AttemptKey, datetime]] = {}
        self._next_pid = SERVER_PID + _PIDS_EACH

    # -- the port: what the attempts' directories say and take

    def observe(self, attempt: Attempt) -> Observation:
        """What the attempt's files would say now."""
        if self.faults.unreadable is not None:
            return Unknown(why=self.faults.unreadable)
        run = self._runs.get(attempt.key)
        return NotClaimed() if run is None else run.observe(self._clock.now())

    def prepare(self, attempt: Attempt, job: Job, env: Mapping[str, Any]) -> tuple[Attempt, list[str]]:
        """Note what the attempt will do."""
        if self.faults.disk_full:
            raise StoreError("the attempt's directory cannot be written: No space left on device")
        if job.name in self.faults.vanished:
            raise LaunchError(f"the config {job.spec.key} is gone", hint="put it back and requeue the job")
        run = self._run(attempt)
        if run.claims_at is None:
            run.script = self.scripts.of(job.name, attempt.number)
            self._grant(run, attempt)
        return replace(attempt, log=f"logs/train_logs/{job.slug}_a{attempt.number}.log"), []

    def fence(self, attempt: Attempt) -> bool:
        """Take the claim; False = a runner was faster."""
        run = self._run(attempt)
        if not run.claimed(self._clock.now()):
            run.fenced = True
        return run.fenced

    def stop(self, attempt: Attempt, by: str, reason: str) -> None:
        """End the attempt after its script's stop delay, with outcome Killed(by)."""
        self._run(attempt).stop(by, self._clock.now())

    def grant(self, attempt: Attempt) -> bool:
        """Its runner goes by what is granted now."""
        if self.faults.disk_full:
            return False
        self._grant(self._run(attempt), attempt)
        return True

    def saved_at(self, attempt: Attempt) -> datetime | None:
        """By its script: every so often, since it started."""
        run = self._runs.get(attempt.key)
        return None if run is None else run.saved_at(self._clock.now())

    def destroy(self, attempt: Attempt) -> tuple[int, ...]:
        """Kill it without a record; return what cannot be killed."""
        self.fence(attempt)
        run = self._run(attempt)
        if run.alive(self._clock.now()):
            run.lose(self._clock.now())
        return run.bury()

    # -- the port: sessions

    def snapshot(self) -> Snapshot:
        """All sessions."""
        if self.faults.silent is not None:
            return Unknown(why=self.faults.silent)
        if not self._sessions and not self.foreign:
            return ServerDown()
        ours = {name: self._session(name) for name in self._sessions}
        return Sessions(by_name=ours, foreign_names=frozenset(self.foreign), server_pid=SERVER_PID)

    def launch(self, attempt: Attempt) -> LaunchResult:
        """Start the attempt's script under its session name. Asking twice starts it once."""
        faults = self.faults
        if faults.silent is not None:
            return Unknown(why=faults.silent)
        if faults.refuse_count > 0 and faults.refuse is not None:
            faults.refuse_count -= 1
            return faults.refuse
        owner = self._owner(attempt)
        if owner is not None:
            return NameTaken(owner=owner)
        run = self._run(attempt)
        self._open(attempt.session, run)
        if faults.lost_answers > 0:
            faults.lost_answers -= 1
            return Unknown(why="tmux did not answer in time")
        return Launched(runner_pid=run.pid)

    def close_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        """Close sessions given as (name, tag), each only if it still carries that tag."""
        for name, tag in names:
            for candidate in (name, _old_name(name, tag)):
                if self._tag(candidate) == tag:
                    key, _ = self._sessions.pop(candidate)
                    self._runs[key].kill("session_killed", self._clock.now())

    def rename_session(self, name: str, tag: str, new_name: str) -> None:
        """Rename a session that carries `tag`."""
        if self._tag(name) == tag and new_name not in self._sessions:
            self._sessions[new_name] = self._sessions.pop(name)

    # -- the simulator's own

    def next_end(self) -> datetime | None:
        """When the next attempt ends, by what is known now; None = none that runs ends by itself."""
        ends = (self._runs[key].ends_at for key in self.runners())
        return min((end for end in ends if end is not None), default=None)

    def runners(self) -> list[AttemptKey]:
        """The attempts that run now."""
        now = self._clock.now()
        self._live = {key for key in self._live if self._runs[key].alive(now)}
        return sorted(self._live)

    def run_of(self, key: AttemptKey) -> Run:
        """What is known of an attempt that was prepared or launched. Raises KeyError for any other."""
        return self._runs[key]

    def adopt(self, attempt: Attempt, script: Script) -> None:
        """The attempt runs already, and goes on by this script from now."""
        run = self._run(attempt)
        run.script = script
        self._open(attempt.session, run)

    def lose_runner(self, key: AttemptKey, survivors: int | None = None) -> None:
        """The attempt's runner dies now, with no exit record, and leaves processes behind."""
        self._runs[key].lose(self._clock.now(), survivors)

    def kill_server(self) -> None:
        """The tmux server dies; the attempts run on without sessions."""
        self._sessions.clear()
        self.foreign.clear()

    def reboot(self) -> None:
        """The machine goes down: every attempt that runs dies without a record, every session is gone."""
        for key in self.runners():
            self.lose_runner(key, survivors=0)
        self.kill_server()

    # -- inside

    def _run(self, attempt: Attempt) -> Run:
        run = self._runs.get(attempt.key)
        if run is None:
            tag = f"{self._workspace_id}/{attempt.job_id}.{attempt.number}"
            run = self._runs[attempt.key] = Run(key=attempt.key, tag=tag, script=Script())
        return run

    def _grant(self, run: Run, attempt: Attempt) -> None:
        grant, now = attempt.grant, self._clock.now()
        run.stop_s = self.stop_s
        if grant is None or grant.seconds is None:
            run.grant(None, now)
            return
        until_s = grant.since_s + grant.seconds - self._clock.monotonic()
        run.grant(now + timedelta(seconds=until_s), now)

    def _open(self, name: str, run: Run) -> None:
        if name in self._sessions:
            return  # asked twice
        self._sessions[name] = (run.key, self._clock.now())
        if run.fenced or run.claims_at is not None:
            return  # its runner would find the claim taken, and end
        run.begin(self._next_pid, self._clock.now())
        self._next_pid += _PIDS_EACH
        self._live.add(run.key)
        self.starts.append(run.key)

    def _owner(self, attempt: Attempt) -> str | None:
        """Who has the name, if that is not this attempt; a kept session of an ended attempt makes way."""
        name = attempt.session
        if name in self.foreign:
            return "a session that is not of this workspace"
        if name not in self._sessions:
            return None
        run = self._runs[self._sessions[name][0]]
        if run.key == attempt.key:
            return None
        if run.alive(self._clock.now()):
            return run.tag
        self._sessions[_old_name(name, run.tag)] = self._sessions.pop(name)
        return None

    def _session(self, name: str) -> Session:
        key, opened_at = self._sessions[name]
        run = self._runs[key]
        return Session(
            name=name,
            tag=run.tag,
            pane_pid=run.pid,
            pane_dead=not run.alive(self._clock.now()),
            attached=0,
            created_at=opened_at.timestamp(),
        )

    def _tag(self, name: str) -> str | None:
        """The tag of a session that can be asked for now."""
        found = self._sessions.get(name)
        return None if found is None or self.faults.silent is not None else self._runs[found[0]].tag


def _old_name(name: str, tag: str) -> str:
    return f"{name}_a{tag.rpartition('.')[2]}"
