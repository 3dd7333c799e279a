"""What an attempt's own directory says about it, in the words of the domain."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from researchflow_tmux.domain.attempt import (
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    Outcome,
    SlotTaken,
    TimedOut,
)
from researchflow_tmux.ports import ClaimFree, ClaimHeld, Fenced, NotClaimed, Observation, Unknown, Unreaped
from researchflow_tmux.runner import claim, kernel, procfs, reap, record

Facts = Mapping[str, Any]


def observe(directory: str, tag: str) -> Observation:
    """Tell where an attempt stands by its files alone.

    A valid exit record is the truth, whatever else there is. "The claim is free" is believed only if no record is
    there *after* the claim was seen free: the runner writes it before it lets go.
    """
    try:
        finished = _finished(directory)
        if finished is not None:
            return finished
        return _by_claim(directory, tag)
    except OSError as error:
        return Unknown(why=f"the attempt's files in {directory} cannot be read: {error.strerror or error}")


def runner_pid(directory: str) -> int | None:
    """Return the pid of the living runner; None when none lives on this machine."""
    probe = claim.probe(directory)
    return _pid(probe.content) if probe.state == claim.HELD and _here(probe.content) else None


def _finished(directory: str) -> Ended | Unreaped | None:
    facts = record.read(directory)
    if facts is None:
        return None
    ended = ended_from(facts)
    pids = tuple(pid for pid in facts.get("unreaped") or () if _still_lives(pid, ended.ended_at))
    return Unreaped(ended=ended, pids=pids) if pids else ended


def _by_claim(directory: str, tag: str) -> Observation:
    probe = claim.probe(directory)
    if probe.state == claim.NONE:
        return _unclaimed(directory, tag)
    if probe.fenced:
        return _refused(directory) or Fenced()
    host = probe.content.get("host")
    if host not in (None, kernel.hostname()):
        return Unknown(why=f"the attempt was claimed on {host}; only that machine can tell whether it lives")
    started_at = _time(probe.content.get("at"))
    pid = _pid(probe.content)
    if probe.state == claim.HELD and _here(probe.content):
        if pid is None or started_at is None:
            return Unknown(why=f"the claim {claim.path(directory)} is held but cannot be read")
        return ClaimHeld(runner_pid=pid, started_at=started_at)
    return _finished(directory) or ClaimFree(survivors=tuple(reap.find_by_cookie(tag)), started_at=started_at)


def _unclaimed(directory: str, tag: str) -> Observation:
    """A runner that ended before its claim left word; believed only once no other runner can claim any more."""
    if record.read_refusal(directory) is None:
        return NotClaimed()
    if claim.fence(directory, tag):
        return _refused(directory) or Fenced()
    return _by_claim(directory, tag)


def _refused(directory: str) -> Ended | None:
    facts = record.read_refusal(directory)
    return None if facts is None else ended_from(facts, host=True)


# The exit record ------------------------------------------------------------------------------------------------------


def ended_from(facts: Facts, *, host: bool = False) -> Ended:
    """Translate the runner's exit record; `host` says whose fault a failed launch is."""
    peak = facts.get("max_rss_kib")
    return Ended(
        outcome=_outcome(facts, host),
        ended_at=_time(facts.get("ended_at")) or datetime.fromtimestamp(0, UTC),
        started_at=_time(facts.get("started_at")),
        peak_rss_mib=peak / 1024 if peak else None,
        cpu_s=facts.get("cpu_s"),
        note=_note(facts),
    )


def _outcome(facts: Facts, host: bool) -> Outcome:
    reason = str(facts.get("reason") or "")
    kind = facts.get("outcome")
    if kind == "exited" or facts.get("succeeded"):  # also one that died of a signal after its marker, if that is enough
        return Exited(
            code=facts.get("exit_code"),
            succeeded=bool(facts.get("succeeded")),
            marker=bool(facts.get("marker")),
            by_marker=facts.get("by") == "marker",
        )
    match kind:
        case "killed":
            return Killed(by=str(facts.get("by") or "signal"), signal=facts.get("signal"))
        case "timed_out":
            return TimedOut()
        case "slot_taken":
            return SlotTaken(reason=reason)
        case "launch_failed":
            return LaunchFailed(reason=reason, host=host)
    return LaunchFailed(reason=f"the exit record has the unknown outcome {kind!r}", host=True)


def _note(facts: Facts) -> str:
    """What the runner had to add to the bare outcome; "exit 1" is said by the outcome already."""
    ran = facts.get("outcome") in ("exited", "killed", "timed_out")
    parts = str(facts.get("reason") or "").split("; ") if ran else []
    if parts and parts[0] == f"exit {facts.get('exit_code')}":
        parts = parts[1:]
    if facts.get("unreaped"):
        parts.append(f"could not kill {', '.join(map(str, facts['unreaped']))}")
    if facts.get("log_dropped_bytes"):
        parts.append(f"{facts['log_dropped_bytes']} bytes of its output are not in the log")
    return "; ".join(filter(None, parts))


# Who lives ------------------------------------------------------------------------------------------------------------


def _here(content: Facts) -> bool:
    """A lock says nothing about an earlier boot (a network file system may still show it as held)."""
    return content.get("boot_id") in (None, "", kernel.boot_id())


def _pid(content: Facts) -> int | None:
    pid = content.get("pid")
    return pid if isinstance(pid, int) else None


def _still_lives(pid: int, ended_at: datetime) -> bool:
    """The record names pids only: one that started after the record was written is somebody else's."""
    started = procfs.start_time(pid)
    if started is None or not procfs.alive(pid, started):
        return False
    return _boot_time() + started / os.sysconf("SC_CLK_TCK") <= ended_at.timestamp() + 1.0


def _boot_time() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))


def _time(epoch: Any) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if isinstance(epoch, int | float) else None


def signal_runner(directory: str, number: int, wait_s: float = 0.0) -> int | None:
    """Send a signal to the living runner, and to nobody who got its pid later.

    Returns the runner's pid if it still lives after `wait_s` seconds, None if there is (now) none.
    """
    try:
        probe = claim.probe(directory)
        pid = _pid(probe.content)
        if probe.state != claim.HELD or pid is None or not _here(probe.content):
            return None
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if procfs.start_time(pid) != probe.content.get("start_time"):
            return None
        signal.pidfd_send_signal(handle, number)
        return None if select.select([handle], [], [], wait_s)[0] else pid
    except ProcessLookupError:
        return None
    finally:
        os.close(handle)
