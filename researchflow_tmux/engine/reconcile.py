"""From what was observed of one attempt to what follows. Pure; crash recovery is this same path.

An attempt leaves this table only in two ways: by its exit record, or after its runner *and* its process tree are
proven dead. What cannot be interpreted changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import (
    Attempt,
    Ended,
    Killed,
    LaunchFailed,
    Launching,
    Lost,
    Planned,
    Running,
    Stopping,
)
from researchflow_tmux.domain.events import AttemptEnded, AttemptStarted, Payload
from researchflow_tmux.policies import retry
from researchflow_tmux.ports import (
    ClaimFree,
    ClaimHeld,
    Fenced,
    NotClaimed,
    Observation,
    ServerDown,
    Sessions,
    Snapshot,
    Unknown,
    Unreaped,
)

CLAIM_DEADLINE = timedelta(seconds=60)
"""A runner in a living session that has not claimed by then never will: Python starts in 20 ms."""
ON_ITS_WAY = timedelta(seconds=1)
"""A launch this young is not even asked about."""
SETTLE = timedelta(seconds=5)
"""How long a launch without a session may be on its way (a tmux call that was given up on may still arrive)."""


class Relaunch(msgspec.Struct, frozen=True):
    """Ask tmux for this attempt (again): its claim lets only one runner go."""

    attempt: Attempt


class Fence(msgspec.Struct, frozen=True):
    """Make sure that no runner can ever start it, then end it as a failed launch."""

    attempt: Attempt
    why: str


class Destroy(msgspec.Struct, frozen=True):
    """Kill what is left of it by its cookie."""

    attempt: Attempt
    why: str


class NeedSnapshot(msgspec.Struct, frozen=True):
    """Only the list of sessions can tell."""

    attempt: Attempt


Verdict = Payload | Relaunch | Fence | Destroy | NeedSnapshot | None


def reconcile(attempt: Attempt, seen: Observation, snapshot: Snapshot | None, now: datetime) -> Verdict:
    """What follows from one observation; None = nothing (yet). `snapshot` None = tmux was not asked."""
    match seen:
        case Ended():
            return AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=seen)
        case Unreaped(ended=ended, pids=pids):
            return AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=ended, quarantined=pids)
        case ClaimHeld():
            return _alive(attempt, seen, snapshot, now)
        case ClaimFree():  # the list of survivors may miss one in the middle of an exec: only killing proves it
            return Destroy(attempt, "its runner died")
        case Fenced():
            return fenced(attempt, "its launch was given up", now)
        case NotClaimed():
            return _unclaimed(attempt, snapshot, now)
        case Unknown():
            return None


def _end(attempt: Attempt, outcome: LaunchFailed | Lost | Killed, now: datetime) -> AttemptEnded:
    started = attempt.phase.started_at if isinstance(attempt.phase, Running | Stopping) else None
    ended = Ended(outcome=outcome, ended_at=now, started_at=started)
    return AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=ended)


def _alive(attempt: Attempt, seen: ClaimHeld, snapshot: Snapshot | None, now: datetime) -> Verdict:
    phase = attempt.phase
    if isinstance(phase, Stopping):
        overdue = abs(now - phase.since) >= phase.kill_at - phase.since  # also by a clock that was set back
        return Destroy(attempt, "it did not end in time") if overdue else None
    headless = phase.headless if isinstance(phase, Running) else False
    match snapshot:
        case Sessions(by_name=by_name):
            headless = attempt.session not in by_name
        case ServerDown():
            headless = True
    if isinstance(phase, Running) and phase.headless == headless:
        return None
    return AttemptStarted(
        job_id=attempt.job_id,
        number=attempt.number,
        runner_pid=seen.runner_pid,
        started_at=seen.started_at,
        headless=headless,
    )


def lost(attempt: Attempt, seen: ClaimFree, now: datetime) -> AttemptEnded:
    """The end of an attempt whose runner died without a record, after its processes were killed."""
    phase = attempt.phase
    if isinstance(phase, Stopping):
        end = _end(attempt, Killed(by=phase.by), now)
        if end.ended.started_at is None:  # told to stop before it was seen running: its claim says since when it ran
            end = replace(end, ended=replace(end.ended, started_at=seen.started_at))
        return end
    last_seen = phase.started_at if isinstance(phase, Running) else seen.started_at
    cause = "the machine was restarted while it ran" if seen.rebooted else "its runner was killed"
    end = _end(attempt, Lost(last_seen_at=last_seen, why=f"{cause}; there is no exit record"), now)
    return end if end.ended.started_at is not None else replace(end, ended=replace(end.ended, started_at=last_seen))


def disowned(attempt: Attempt, why: str, now: datetime) -> AttemptEnded:
    """The end of an attempt that is not this workspace's: nothing of it may be touched."""
    return _end(attempt, Lost(why=why), now)


def _unclaimed(attempt: Attempt, snapshot: Snapshot | None, now: datetime) -> Verdict:
    """No runner yet: on its way, never asked for, or it died before it could claim."""
    phase = attempt.phase
    if isinstance(phase, Launching) and abs(now - phase.at) < ON_ITS_WAY:
        return None
    if snapshot is None:
        return NeedSnapshot(attempt)
    if isinstance(snapshot, Unknown):
        return None
    session = snapshot.by_name.get(attempt.session) if isinstance(snapshot, Sessions) else None
    match attempt.phase:
        case Stopping():
            return Fence(attempt, "stopped before it started")
        case Planned():
            ended = session is not None and session.pane_dead
            return Fence(attempt, "its session ended before it began") if ended else Relaunch(attempt)
        case Launching(at=at):
            age = abs(now - at)  # a clock that was set back must not keep it for ever; to fence is always safe
            if session is None:
                return Fence(attempt, "its session vanished before it started") if age > SETTLE else None
            if session.pane_dead:
                return Fence(attempt, f"its runner ended at once: tmux attach -t {attempt.session}")
            return Fence(attempt, "its runner did not start") if age > CLAIM_DEADLINE else None
        case Running() | Ended():
            # A claim that was seen and is gone: somebody removed the attempt's directory. Nothing can be told from it.
            return None


def fenced(attempt: Attempt, why: str, now: datetime) -> AttemptEnded:
    """The end of an attempt whose claim a scheduler took: it ran nothing, and never will."""
    if isinstance(attempt.phase, Stopping):
        return _end(attempt, Killed(by=attempt.phase.by), now)
    return _end(attempt, LaunchFailed(reason=why, host=True), now)


def is_success(payload: AttemptEnded) -> bool:
    """Whether the attempt ended well."""
    return retry.is_success(payload.ended.outcome)
