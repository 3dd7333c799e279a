"""Pasts of workspaces that never were: jobs and attempts as they might have been, made up by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from researchflow_tmux.adapters import sqlite_rows as rows
from researchflow_tmux.adapters.sqlite_database import stamp, transaction
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import (
    Attempt,
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    Lost,
    Outcome,
    OutOfMemory,
    Running,
    TimedOut,
    UpToDate,
)
from researchflow_tmux.domain.events import AttemptEnded, JobSubmitted
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import Allocation, GpuShare, ResourceRequest

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
UUIDS = tuple(f"GPU-{index:04}" for index in range(512))
FAILURES: tuple[Outcome, ...] = (
    Exited(code=1, succeeded=False),
    OutOfMemory(where="gpu", line="CUDA out of memory"),
    TimedOut(limit_s=3600),
    Lost(why="killed"),
    Killed(by="user"),
    Killed(by="preempted"),
    LaunchFailed(reason="no such file"),
    UpToDate(),
)


class Past(NamedTuple):
    """What happened."""

    jobs: dict[int, Job]
    attempts: list[Attempt]
    queued: dict[int, list[datetime]]

    def write(self, path: str) -> None:
        """Put it into a state database."""
        SqliteStore.close(store := SqliteStore(path, boot_id="boot"))
        store = SqliteStore(path, boot_id="boot")
        events = []
        for job in self.jobs.values():
            fresh = msgspec.structs.replace(job, state=JobState.QUEUED, attempts=0, started_at=None, ended_at=None)
            events += [rows.event_row(JobSubmitted(job=fresh), stamp(at), "boot") for at in self.queued[job.id]]
        for each in self.attempts:
            if isinstance(each.phase, Ended):
                ended = AttemptEnded(job_id=each.job_id, number=each.number, ended=each.phase)
                events.append(rows.event_row(ended, stamp(each.phase.ended_at), "boot"))
        events.sort(key=lambda row: row[0])
        with transaction(store._db):
            store._db.executemany(rows.ADD_EVENT, events)
        store.commit([], self.jobs.values(), self.attempts, at=NOW)
        store.close()


def spec(name: str = "job", **fields: Any) -> JobSpec:
    """A specification."""
    wanted = {"source": "command", "key": name, "name": name, "workdir": "/w", "env_digest": "e"} | fields
    return JobSpec(argv=("true",), **wanted)


def job(number: int, name: str = "job", state: JobState = JobState.SUCCEEDED, **fields: Any) -> Job:
    """A job; fields of its specification may stand among its own."""
    own = {field.name for field in msgspec.structs.fields(Job)}
    said = {key: value for key, value in fields.items() if key not in own}
    of_job = {"queued_at": NOW - timedelta(hours=1)} | {key: each for key, each in fields.items() if key in own}
    request = ResourceRequest(gpus=said.pop("gpus", 1))
    return Job(
        id=number,
        spec=spec(name, key=f"{name}-{number}", request=request, **said),
        slug=f"j{number}",
        state=state,
        **of_job,
    )


def attempt(
    job_id: int,
    number: int = 1,
    *,
    begin: datetime | None,
    end: datetime | None = None,
    outcome: Outcome | None = None,
    gpus: Sequence[int] = (0,),
    share: float = 1.0,
    planned: datetime | None = None,
    **fields: Any,
) -> Attempt:
    """One that ended, or with no `end` runs."""
    planned_at = planned or begin or end or NOW
    if end is None:
        assert begin is not None
        phase: Running | Ended = Running(started_at=begin, runner_pid=1)
    else:
        how = outcome or Exited(code=0, succeeded=True)
        phase = Ended(outcome=how, started_at=begin, ended_at=end, cpu_s=None if begin is None else 10.0)
    return Attempt(
        job_id=job_id,
        number=number,
        allocation=Allocation(gpus=tuple(GpuShare(uuid=UUIDS[at], index=at, share=share) for at in gpus)),
        session="s",
        log=None,
        planned_at=planned_at,
        boot_id="boot",
        hostname="host",
        phase=phase,
        **fields,
    )


def past(
    jobs: int,
    *,
    gpus: int = 4,
    seed: int = 1,
    span_s: float = 86_400.0,
    running: bool = True,
    waiting: int = 0,
    names: Sequence[str] = ("train", "evaluate", "tokenize_corpus", "ablation_without_augmentation"),
    fail: float = 0.2,
) -> Past:
    """So many jobs one after another on so many GPUs over the time before NOW, a fifth of their attempts in vain."""
    chance = random.Random(seed)
    start = NOW - timedelta(seconds=span_s)
    free = [start + timedelta(seconds=chance.random() * span_s * 0.02) for _ in range(gpus)]
    made: dict[int, Job] = {}
    attempts: list[Attempt] = []
    queued: dict[int, list[datetime]] = {}
    typical = span_s * gpus / max(jobs, 1) * 0.6
    for number in range(1, jobs + 1):
        kind = chance.randrange(len(names))
        wide = 2 if gpus > 1 and chance.random() < 0.1 else 1
        chosen = sorted(range(gpus), key=lambda at: free[at])[:wide]
        begin = max(free[at] for at in chosen) + timedelta(seconds=chance.random() * typical * 0.15)
        came = begin - timedelta(seconds=chance.expovariate(1 / (typical + 1)))
        moments, tries, done = [came], 0, False
        state, ended_at = JobState.SUCCEEDED, None
        while not done:
            tries += 1
            took = typical * (0.4 + 0.5 * kind) * chance.uniform(0.8, 1.25)
            end = begin + timedelta(seconds=took)
            failed = chance.random() < fail
            outcome = chance.choice(FAILURES) if failed else None
            on = tuple(sorted(chosen))
            if end > NOW:
                done, state = True, JobState.ACTIVE
                if begin >= NOW or not running:
                    state, tries = JobState.QUEUED, tries - 1
                else:
                    attempts.append(attempt(number, tries, begin=begin, gpus=on))
                break
            started = None if isinstance(outcome, LaunchFailed) else begin
            attempts.append(attempt(number, tries, begin=started, end=end, outcome=outcome, gpus=on, planned=begin))
            ended_at = end
            done = not failed or isinstance(outcome, UpToDate) or tries >= 3 or isinstance(outcome, Killed)
            if failed and done:
                state = JobState.CANCELLED if isinstance(outcome, Killed) else JobState.FAILED
            if isinstance(outcome, UpToDate):
                state = JobState.SUCCEEDED
            if not done:
                moments.append(end)
                begin = end + timedelta(seconds=chance.random() * typical * 0.1)
        for at in chosen:
            free[at] = NOW if state is JobState.ACTIVE else (ended_at or begin)
        queued[number] = moments
        ended = state.ended
        made[number] = job(
            number,
            f"{names[kind]}_lr{number}",
            state,
            queued_at=moments[-1],
            attempts=tries,
            ended_at=ended_at if ended else None,
            gpus=wide,
            project=("vision", "language", None)[number % 3],
            user=("ann", "bob")[number % 2],
            group=names[kind],
            deadline=None if number % 7 else moments[0] + timedelta(seconds=typical * 4),
        )
    for number in range(jobs + 1, jobs + waiting + 1):
        queued[number] = [NOW - timedelta(seconds=chance.random() * span_s * 0.2)]
        made[number] = job(number, f"waiting_{number}", JobState.QUEUED, queued_at=queued[number][0])
    return Past(made, attempts, queued)


def pipelines(
    stages: Sequence[tuple[str, int, Sequence[str]]], *, copies: int = 1, done: float = 0.6, seed: int = 1
) -> Past:
    """Pipelines of stages (name, instances, the stages it needs), of which the first part has run."""
    chance = random.Random(seed)
    made: dict[int, Job] = {}
    attempts: list[Attempt] = []
    queued: dict[int, list[datetime]] = {}
    total = sum(count for _, count, _ in stages) * copies
    for copy in range(copies):
        ids: dict[str, list[int]] = {}
        ends: dict[int, datetime] = {}
        for name, count, needs in stages:
            for instance in range(count):
                number = len(made) + 1
                ids.setdefault(name, []).append(number)
                after = []
                for need in needs:
                    above = ids[need]
                    after += above if len(above) != count else [above[instance]]
                begin = max((ends[each] for each in after if each in ends), default=NOW - timedelta(hours=9))
                took = timedelta(minutes=chance.uniform(5, 90))
                state, ended = JobState.QUEUED, None
                ready = all(made[each].state is JobState.SUCCEEDED for each in after)
                if number <= total * done and ready:
                    state, ended = JobState.SUCCEEDED, begin + took
                    if chance.random() < 0.06:
                        state = JobState.FAILED
                    outcome = FAILURES[1] if state is JobState.FAILED else None
                    attempts.append(attempt(number, begin=begin, end=ended, outcome=outcome, gpus=(number % 4,)))
                    ends[number] = ended
                elif ready and chance.random() < 0.5:
                    state = JobState.ACTIVE
                    attempts.append(attempt(number, begin=max(begin, NOW - took), gpus=(number % 4,)))
                suffix = f"_lr{instance}" if count > 1 else ""
                whole = f"pipe{copy}"
                made[number] = job(
                    number,
                    f"{whole}_{name}{suffix}",
                    state,
                    source="pipeline",
                    group=whole,
                    labels={"job": name},
                    after=tuple(after),
                    ended_at=ended,
                    attempts=int(number in ends or state is JobState.ACTIVE),
                )
                queued[number] = [NOW - timedelta(hours=9)]
    return Past(made, attempts, queued)
