"""What an attempt's own directory says about it, in the words of the domain."""

from __future__ import annotations

import os
import select
import signal
import threading
from datetime import datetime

from researchflow_tmux.adapters.exit_facts import Facts, ended_from, time_from
from researchflow_tmux.domain.attempt import Ended
from researchflow_tmux.ports import ClaimFree, ClaimHeld, Fenced, NotClaimed, Observation, Unknown, Unreaped
from researchflow_tmux.runner import claim, kernel, procfs, reap, record


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
    started_at = time_from(probe.content.get("at"))
    pid = _pid(probe.content)
    if probe.state == claim.HELD and _here(probe.content):
        if pid is None or started_at is None:
            return Unknown(why=f"the claim {claim.path(directory)} is held but cannot be read")
        return ClaimHeld(runner_pid=pid, started_at=started_at)
    return _finished(directory) or ClaimFree(
        survivors=tuple(reap.find_by_cookie(tag)), started_at=started_at, rebooted=not _here(probe.content)
    )


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
    return _boottime_from() + started / os.sysconf("SC_CLK_TCK") <= ended_at.timestamp() + 1.0


def _boottime_from() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))


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
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return None if poller.poll(wait_s * 1000) else pid
    except ProcessLookupError:
        return None
    finally:
        os.close(handle)


def end_runner(directory: str, timeout_s: float) -> int | None:
    """Kill the runner for good and wait until its claim is free; return its pid if that did not come about.

    The lock outlives the runner for as long as a process that it forked has not become the job's program yet. Such a
    process has no cookie in its environment, so until then no search proves the tree dead.
    """
    pid = signal_runner(directory, signal.SIGKILL, wait_s=timeout_s)
    pause_s, waited_s, never = 0.001, 0.0, threading.Event()
    while pid is None and (probe := claim.probe(directory)).state == claim.HELD and _here(probe.content):
        if waited_s > timeout_s:
            return _pid(probe.content)
        never.wait(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, 0.05)
    return pid
