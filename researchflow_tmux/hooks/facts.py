"""From the history to what hooks are told: one fact for each event that a hook can be for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.attempt import Attempt, Ended, OutOfMemory
from researchflow_tmux.domain.events import AttemptEnded, AttemptStarted, Event, GpuIdle, JobChanged, QueueEmpty
from researchflow_tmux.domain.hooks import HookEvent
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.workspace import META_TASK_NAME
from researchflow_tmux.policies.retry import why

SCHEMA = "rfsched.hook/1"
KINDS: dict[HookEvent, tuple[str, ...]] = {
    "start": ("attempt_started", "attempt_ended"),
    "success": ("job_changed",),
    "failure": ("job_changed",),
    "oom": ("attempt_ended",),
    "queue_empty": ("queue_empty",),
    "gpu_idle": ("gpu_idle",),
}
"""Which entries of the history each of them can come from."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell."""

    event: HookEvent
    seq: int = 0
    """The entry of the history it comes from."""
    body: dict[str, Any]

    def json(self) -> bytes:
        """What a webhook gets, and a command on its standard input."""
        return msgspec.json.encode(self.body)

    def variables(self) -> dict[str, str]:
        """What a command gets in its environment: RFSCHED_HOOK_EVENT, _TEXT, _JOB and so on."""
        job, gpu = self.body.get("job") or {}, self.body.get("gpu") or {}
        found = {name: self.body.get(name) for name in ("event", "id", "at", "text", "workspace", "task_name")}
        found |= {name: job.get(name) for name in ("attempt", "state", "reason", "exit_code", "log", "session")}
        found |= {"job": job.get("name"), "job_id": job.get("id"), "gpu": gpu.get("index")}
        found["gpus"] = ",".join(map(str, job.get("gpus") or ()))
        return {f"RFSCHED_HOOK_{name.upper()}": _text(value) for name, value in found.items()}


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value).replace("\0", "")


class Teller:
    """Makes facts of the entries of one workspace's history."""

    def __init__(self, reader: SqliteReader, root: str, host: str) -> None:
        meta = reader.meta()
        self._reader = reader
        self._workspace_id = meta.get("workspace_id", "")
        self._common = {
            "workspace": root,
            "task_name": meta.get(META_TASK_NAME) or os.path.basename(root),
            "host": host,
        }

    def facts(self, kind: HookEvent, event: Event) -> Sequence[Fact]:
        """What hooks for `kind` are told of this entry: mostly nothing, or one fact."""
        match kind, event.payload:
            case "start", AttemptStarted(job_id=job_id, number=number):
                return self._started(event, job_id, number, so_far=0)
            case "start", AttemptEnded(job_id=job_id, number=number, ended=Ended(started_at=datetime())):
                return self._started(event, job_id, number, so_far=-1)
            case "oom", AttemptEnded(job_id=job_id, number=number, ended=Ended(outcome=OutOfMemory() as outcome)):
                more = {"oom": {"where": outcome.where, "line": outcome.line, "evidence": outcome.evidence}}
                return self._of_job(kind, event, job_id, number, f"{{}}: {why(outcome)}", more)
            case "success", JobChanged(job_id=job_id, state=JobState.SUCCEEDED) as change:
                done_before = change.reason.code is ReasonCode.DONE_BEFORE
                return () if done_before else self._of_job(kind, event, job_id, None, "{} succeeded", {}, change)
            case "failure", JobChanged(job_id=job_id, state=JobState.FAILED) as change:
                return self._of_job(kind, event, job_id, None, f"{{}} failed ({_cause(change)})", {}, change)
            case "queue_empty", QueueEmpty(counts=counts, job_id=None):
                told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
                return [self._fact(kind, event, f"the queue is empty: {told}", {"counts": counts})]
            case "gpu_idle", GpuIdle() as idle:
                gpu = {"index": idle.index, "uuid": idle.uuid, "idle_s": idle.idle_s, "waiting": idle.waiting}
                text = f"GPU {idle.index} has had no job for {idle.idle_s / 60:.0f} min; {idle.waiting} wait"
                return [self._fact(kind, event, text, {"gpu": gpu})]
        return ()

    def _started(self, event: Event, job_id: int, number: int, *, so_far: int) -> Sequence[Fact]:
        """An attempt is told to have started once; one that ended at once may never have been seen to run."""
        seen = self._reader.events(job_id=job_id, kinds=("attempt_started",))
        earlier = [
            each
            for each in seen
            if isinstance(each.payload, AttemptStarted) and each.payload.number == number and each.seq < event.seq
        ]
        if earlier:
            return ()
        return self._of_job("start", event, job_id, number, "{} started", {})

    def _of_job(
        self,
        kind: HookEvent,
        event: Event,
        job_id: int,
        number: int | None,
        text: str,
        more: dict[str, Any],
        change: JobChanged | None = None,
    ) -> Sequence[Fact]:
        job = self._reader.job(job_id)
        if job is None:
            return ()  # removed since, with its history
        attempts = {attempt.number: attempt for attempt in self._reader.attempts_of(job_id)}
        attempt = attempts.get(job.attempts if number is None else number)
        view = _job(job, attempt, change)
        return [self._fact(kind, event, _with_gpus(text.format(job.name), view["gpus"]), {"job": view, **more})]

    def _fact(self, kind: HookEvent, event: Event, text: str, more: dict[str, Any]) -> Fact:
        head = {"schema": SCHEMA, "event": kind, "id": f"{self._workspace_id}-{event.seq}-{kind}", "at": event.at}
        return Fact(
            event=kind,
            seq=event.seq,
            body={**head, "text": f"[{self._common['task_name']}] {text}", **self._common, **more},
        )


def _cause(change: JobChanged) -> str:
    return str(change.reason).removeprefix("failed: ")


def _with_gpus(text: str, gpus: list[int]) -> str:
    return f"{text} on GPU {', '.join(map(str, gpus))}" if gpus else text


def _job(job: Job, attempt: Attempt | None, change: JobChanged | None) -> dict[str, Any]:
    ended = attempt.phase if attempt is not None and isinstance(attempt.phase, Ended) else None
    started_at = ended.started_at if ended is not None else getattr(getattr(attempt, "phase", None), "started_at", None)
    took_s = None if ended is None or started_at is None else (ended.ended_at - started_at).total_seconds()
    return {
        "id": job.id,
        "name": job.name,
        "group": job.spec.group,
        "labels": job.spec.labels,
        "state": str(job.state if change is None else change.state),
        "reason": None if change is None else str(change.reason),
        "reason_code": None if change is None else str(change.reason.code),
        "exit_code": None if change is None else change.exit_code,
        "attempt": None if attempt is None else attempt.number,
        "gpus": [] if attempt is None else list(attempt.allocation.indices),
        "session": None if attempt is None else attempt.session,
        "log": None if attempt is None else attempt.log,
        "output_dir": job.spec.output_dir,
        "started_at": started_at,
        "ended_at": None if ended is None else ended.ended_at,
        "duration_s": took_s,
    }


def sample(event: HookEvent, root: str, task_name: str, host: str, at: datetime) -> Fact:
    """A made-up fact of the same form as real ones, for trying a hook."""
    head = {"schema": SCHEMA, "event": event, "id": "test", "at": at, "workspace": root, "task_name": task_name}
    body: dict[str, Any] = {**head, "host": host, "text": f"[{task_name}] this is a test of the hook for {event}"}
    if event == "queue_empty":
        body["counts"] = {str(state): 0 for state in JobState}
    elif event == "gpu_idle":
        body["gpu"] = {"index": 0, "uuid": "GPU-test", "idle_s": 600.0, "waiting": 0}
    else:
        states: dict[str, JobState] = {"success": JobState.SUCCEEDED, "failure": JobState.FAILED}
        body["job"] = {
            **dict.fromkeys(("group", "reason", "reason_code", "session", "log", "output_dir", "ended_at")),
            "id": 1,
            "name": "test",
            "labels": {},
            "state": str(states.get(event, JobState.ACTIVE)),
            "exit_code": {"success": 0, "failure": 1}.get(event),
            "attempt": 1,
            "gpus": [0],
            "started_at": at,
            "duration_s": None,
        }
    if event == "oom":
        body["oom"] = {"where": "gpu", "line": "CUDA out of memory (test)", "evidence": "log"}
    return Fact(event=event, body=body)
