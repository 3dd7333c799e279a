"""Judging how an attempt ended: from the facts to the exit record. No I/O here."""

from __future__ import annotations

import os

from researchflow_tmux.runner import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from researchflow_tmux.runner.oom import OutOfMemory
    from researchflow_tmux.runner.oom_kills import OomKills

EXITED = "exited"
KILLED = "killed"
TIMED_OUT = "timed_out"
LAUNCH_FAILED = "launch_failed"
SLOT_TAKEN = "slot_taken"
UP_TO_DATE = "up_to_date"
OUT_OF_MEMORY = "out_of_memory"
ASKING = ("no_error_and_verify", "verify_only")
"""What counts as a success only with the word of the command that verifies."""

_CAUSES = {"stop": KILLED, "memory": KILLED, "budget": KILLED, "limit": TIMED_OUT, "marker": EXITED}


class Facts:
    """What is known at the end of an attempt.

    `cause` is why the runner ended the job: "stop", "limit", "memory", "budget", "marker", or "" when it ended by
    itself.
    `status` is that of waitpid for the job's main process, None if it was never collected.
    """

    def __init__(self) -> None:
        self.outcome = ""  # set for an attempt whose job never ran
        self.cause = ""
        self.by: str | None = None
        self.reason = ""
        self.status: int | None = None
        self.kills: OomKills | None = None  # the kernel's kills since it began
        self.memory_limit_mib: int | None = None  # one that the kernel holds
        self.memory: OutOfMemory | None = None  # recognised after the job has failed
        self.success = "no_error_only"
        self.verified: bool | None = None  # None: nobody was asked
        self.verify = ""  # why not
        self.asked: tuple[str, str] | None = None  # who wanted it stopped when it was ending already, and why
        self.marker = False
        self.unmade: list[str] = []  # outputs that are not there although all else says success
        self.leftovers = 0
        self.unreaped: list[int] = []
        self.notes: list[str] = []


def judge(facts: Facts, rule: str, *, verified: bool | None = None) -> dict[str, Any]:
    """Return outcome, succeeded, exit_code, signal, by and reason of the exit record.

    A request, a limit and a marker decide before the exit status does: a job that answers SIGTERM with exit 0 was
    still killed. After that the rule decides: `exit_code` wants exit 0 (or the marker, if the job then had to be
    ended), `marker` a new marker whatever the status, `marker_and_exit` both, so a job that has to be ended after its
    marker succeeds only if it answers with exit 0. That is "no error"; `facts.success` says whether it is what counts,
    whether the word of the command that verifies does (`verified`, by default that of the facts), or both, or whether
    any end counts that nobody forced.
    """
    code, number = _split(facts.status)
    outcome, by = _outcome(facts, number)
    verified = facts.verified if verified is None else verified
    succeeded = outcome == UP_TO_DATE or (outcome in (EXITED, KILLED) and _succeeded(facts, rule, code, verified))
    reason = facts.reason or _reason(facts, rule, code, number, succeeded)
    memory = facts.memory
    if memory is not None and not succeeded:
        outcome, reason = OUT_OF_MEMORY, f"out of memory ({memory.where}): {memory.line}"
    return {
        "outcome": outcome,
        "succeeded": succeeded,
        "exit_code": None if facts.outcome else code,
        "signal": None if facts.outcome else number,
        "by": by,
        "reason": "; ".join(filter(None, [reason, *facts.notes])),
        "marker": facts.marker,
        "verified": facts.verified,
        "verify": facts.verify,
        "unmade": facts.unmade,
        "oom": None if memory is None else {"where": memory.where, "line": memory.line, "evidence": memory.evidence},
    }


def failed_by_itself(judged: dict[str, Any]) -> bool:
    """Tell whether the job failed and nobody stopped it: only then memory may be the cause."""
    if judged["succeeded"]:
        return False
    return bool(judged["outcome"] == EXITED or (judged["outcome"] == KILLED and judged["by"] == "signal"))


def _outcome(facts: Facts, number: int | None) -> tuple[str, str | None]:
    if facts.outcome:
        return facts.outcome, facts.by
    if facts.cause:
        return _CAUSES[facts.cause], facts.by
    return (EXITED, None) if number is None else (KILLED, "signal")


def _succeeded(facts: Facts, rule: str, code: int | None, verified: bool | None) -> bool:
    if facts.outcome or facts.cause in ("stop", "memory", "budget"):
        return False  # it never ran (or the runner failed), or it was stopped
    if facts.success == "always":
        return True
    if facts.success == "verify_only":
        return verified is True
    return _satisfied(facts, rule, code) and (facts.success == "no_error_only" or verified is True)


def _satisfied(facts: Facts, rule: str, code: int | None) -> bool:
    if facts.unmade:
        return False
    if rule == "marker":
        return facts.marker
    if rule == "marker_and_exit":
        return facts.marker and code == 0
    return facts.cause == "marker" or code == 0


def _reason(facts: Facts, rule: str, code: int | None, number: int | None, succeeded: bool) -> str:
    if facts.verified is False:
        return f"not verified: {facts.verify}"
    if facts.unmade and not succeeded:
        return f"{', '.join(facts.unmade)} {'is' if len(facts.unmade) == 1 else 'are'} not there after it"
    if facts.cause == "marker":
        return "the marker appeared but the process did not end, so it was ended"
    if number is not None:
        return f"ended by {kernel.signal_name(number)}"
    if not succeeded and rule != "exit_code" and not facts.marker and code == 0:
        return "exit 0, but no new marker"
    return "" if code is None else f"exit {code}"


def exit_code(facts: Facts) -> int | None:
    """Return the exit code of the job's main process, None if it has none."""
    return _split(facts.status)[0]


def _split(status: int | None) -> tuple[int | None, int | None]:
    """Return (exit code, signal) of a wait status."""
    if status is None:
        return None, None
    value = os.waitstatus_to_exitcode(status)
    return (value, None) if value >= 0 else (None, -value)


def last_line(record: dict[str, Any], title: str, log: str) -> str:
    """Return the line that closes the pane's text."""
    duration = record["duration_s"]
    after = f" in {duration:.1f} s" if duration is not None else ""
    told = {
        EXITED: f"{'succeeded' if record['succeeded'] else 'failed'}{after} ({record['reason']})",
        KILLED: f"was killed after {duration or 0:.1f} s ({record['reason']})",
        TIMED_OUT: f"timed out{after} ({record['reason']})",
        OUT_OF_MEMORY: f"ran{after} {record['reason']}",
        LAUNCH_FAILED: f"did not start: {record['reason']}",
        UP_TO_DATE: f"is up to date: {record['reason']}",
        SLOT_TAKEN: f"found its slot taken: {record['reason']}",
    }[record["outcome"]]
    return f"── {title} {told}{f' · log {log}' if log else ''} ──"
