"""The runner's exit record in the words of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from researchflow_tmux.domain.attempt import (
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    Outcome,
    OutOfMemory,
    SlotTaken,
    TimedOut,
    UpToDate,
)
from researchflow_tmux.policies.retry import BUDGET

Facts = Mapping[str, Any]


def ended_from(facts: Facts, *, host: bool = False) -> Ended:
    """Translate the runner's exit record; `host` says whose fault a failed launch is."""
    peak = facts.get("max_rss_kib")
    return Ended(
        outcome=_outcome(facts, host),
        ended_at=time_from(facts.get("ended_at")) or datetime.fromtimestamp(0, UTC),
        started_at=time_from(facts.get("started_at")),
        peak_rss_mib=peak / 1024 if peak else None,
        cpu_s=facts.get("cpu_s"),
        ran_s=facts.get("duration_s"),
        note=_note(facts),
    )


def _outcome(facts: Facts, host: bool) -> Outcome:
    reason = str(facts.get("reason") or "")
    kind = facts.get("outcome")
    if kind == "up_to_date":
        return UpToDate()
    if kind == "exited" or facts.get("succeeded"):  # also one that died of a signal after its marker, if that is enough
        return Exited(
            code=facts.get("exit_code"),
            succeeded=bool(facts.get("succeeded")),
            marker=bool(facts.get("marker")),
            by_marker=facts.get("by") == "marker",
            verified=facts.get("verified"),
            verify=str(facts.get("verify") or ""),
            unmade=tuple(map(str, facts.get("unmade") or ())),
        )
    match kind:
        case "killed":
            return Killed(by=str(facts.get("by") or "signal"), signal=facts.get("signal"))
        case "out_of_memory":
            return _out_of_memory(facts)
        case "timed_out":
            return TimedOut()
        case "slot_taken":
            return SlotTaken(reason=reason)
        case "launch_failed":
            return LaunchFailed(reason=reason, host=host)
    return LaunchFailed(reason=f"the exit record has the unknown outcome {kind!r}", host=True)


def _out_of_memory(facts: Facts) -> OutOfMemory:
    oom = facts.get("oom") or {}
    return OutOfMemory(
        where="ram" if oom.get("where") == "ram" else "gpu",
        line=str(oom.get("line") or ""),
        evidence=str(oom.get("evidence") or ""),
        code=facts.get("exit_code"),
        signal=facts.get("signal"),
    )


def _note(facts: Facts) -> str:
    """What the runner had to add to the bare outcome; "exit 1" is said by the outcome already."""
    ran = facts.get("outcome") in ("exited", "killed", "timed_out", "out_of_memory")
    reason = str(facts.get("reason") or "") if ran and facts.get("by") != BUDGET else ""  # the outcome says it
    line = (facts.get("oom") or {}).get("line") if facts.get("outcome") == "out_of_memory" else None
    if line:  # the outcome says it, and it may hold anything
        reason = reason.partition(line)[2]
    parts = reason.split("; ")
    if parts and parts[0] == f"exit {facts.get('exit_code')}":
        parts = parts[1:]
    if facts.get("unreaped"):
        parts.append(f"could not kill {', '.join(map(str, facts['unreaped']))}")
    if facts.get("log_dropped_bytes"):
        parts.append(f"{facts['log_dropped_bytes']} bytes of its output are not in the log")
    return "; ".join(filter(None, parts))


def time_from(epoch: Any) -> datetime | None:
    """Return the time that a file of the runner gives as seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC) if isinstance(epoch, int | float) else None
