"""What the scheduler decided about one job lately, from its decision log."""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.adapters import decision_log
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.decisions import Considered, Decision
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.reasons import WORDS, ReasonCode
from researchflow_tmux.domain.units import counted


class JobDecision(msgspec.Struct, kw_only=True):
    """One decision that looked at the job."""

    at: datetime
    words: str
    """What it said of the job."""
    place: int
    """As which one the job was looked at, from 1."""
    waiting: int
    """Jobs in the queue."""
    free_gpus: int
    """GPUs with anything free before it started something."""
    decision: Decision
    """All that it went by."""


class JobDecisions(msgspec.Struct, kw_only=True):
    """The last decisions about one job."""

    job: int
    name: str
    decisions: list[JobDecision]
    """Oldest first."""
    later: int
    """Decisions after them that did not get as far as to this job."""


def decisions_of(workspace: Workspace, pattern: str, most: int) -> JobDecisions:
    """The last decisions that looked at a job, at most `most`.

    Raises UsageError when the pattern is no job or several, or when no decisions are kept.
    """
    job = workspace.job(pattern)
    if workspace.usable_settings.decision_log == "off":
        raise UsageError("decisions are not kept here", hint="`rfsched config set decision_log on`")
    found, later = decision_log.about(decision_log.read(workspace.paths.decisions), job.id, most)
    return JobDecisions(job=job.id, name=job.name, decisions=[_one(each, job.id) for each in found], later=later)


def _one(decision: Decision, job_id: int) -> JobDecision:
    ids = [one.id for one in decision.considered]
    place = ids.index(job_id)
    return JobDecision(
        at=decision.at,
        words=words(decision, decision.considered[place]),
        place=place + 1,
        waiting=decision.waiting,
        free_gpus=sum(part > 0 for part in decision.free.values()),
        decision=decision,
    )


def words(decision: Decision, one: Considered) -> str:
    """What a decision said of one job."""
    first = next((other.name for other in decision.considered if other.id == decision.reserved), "")
    if one.asked and one.answer == "started":
        where = f" on {'GPU' if len(one.on) == 1 else 'GPUs'} {', '.join(map(str, one.on))}" if one.on else ""
        return f"started{where}{_turn(one)}"
    if one.asked:
        said = WORDS.get(ReasonCode(one.answer), one.answer)
        return f"not started: {said}{f': {one.text}' if one.text else ''}"
    match one.answer:
        case "reserved":
            at = None if decision.shadow_s is None else datetime.fromtimestamp(decision.shadow_s).astimezone()
            when = "" if at is None else f" from about {at:%b %d %H:%M}"
            kept = f"{counted(one.gpus, 'GPU')} {'is' if one.gpus == 1 else 'are'} kept for it"
            return f"first in line: {kept}{when}"
        case "capacity":
            return f"no room for {counted(one.gpus, 'GPU')}" if one.gpus else "no place for a CPU job"
        case "would_delay":
            return f"would delay {first}"
        case "drain":
            return f"{first} was put off too long, so nothing without a time limit passes"
        case "cap":
            whose = f"project {one.project} or its user" if one.project else "its user or project"
            return f"{whose} has as much as it may"
        case _:
            return f"not started: {one.answer}"


def _turn(one: Considered) -> str:
    if one.lane:
        return ", urgent: before its turn to make its deadline"
    return ", before its turn while there was room for so many GPUs" if one.early else ""
