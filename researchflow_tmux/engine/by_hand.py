"""What people do to jobs by hand: cancel, requeue, hold, release. Pure; the same with and without a scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Planned, Running, Stopping
from researchflow_tmux.domain.events import AttemptStopping, JobRespecified
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.policies.conditions import Standing, standing, why_skipped


def cancel(book: Book, job_ids: Iterable[int], by: str, grace_s: float) -> dict[str, list[str]]:
    """Cancel waiting jobs at once and stop running ones; what waits for them is skipped."""
    done: dict[str, list[str]] = {"cancelled": [], "stopping": [], "ended": []}
    cancelled = []
    for job in _existing(book, job_ids):
        if job.state in (JobState.QUEUED, JobState.HELD):
            book.change(job, JobState.CANCELLED, ReasonCode.CANCELLED, "by hand", by=by)
            cancelled.append(job.id)
            done["cancelled"].append(job.name)
        elif job.state is JobState.ACTIVE:
            stop_attempt(book, job, by=by, grace_s=grace_s)
            done["stopping"].append(job.name)
        else:
            done["ended"].append(job.name)
    for job_id in cancelled:  # after all that were named: those are cancelled, and not skipped
        settle_dependents(book, job_id)
    return done


def stop_attempt(
    book: Book,
    job: Job,
    *,
    by: str,
    grace_s: float,
    requeue: bool = False,
    save_s: float | None = None,
    room_for: int | None = None,
    keeps: tuple[str, ...] = (),
) -> None:
    """Tell the live attempt of a running job to end. Asked again, only what becomes of the job afterwards changes.

    `save_s` = so long it may take to save itself first, if that is more than the usual; `room_for` = for which job,
    for which `keeps` (UUIDs of GPUs) are kept until it has ended.
    """
    attempt = book.workload.live_attempt(job.id)
    if attempt is None:
        return
    phase = attempt.phase
    if isinstance(phase, Stopping):
        # The last word counts: cancelled after all, or queued again after all.
        if phase.requeue != requeue or phase.by != by:
            stopping = replace(phase, requeue=requeue, by=by)
            book.apply(AttemptStopping(job_id=job.id, number=attempt.number, stopping=stopping))
        return
    stopping = Stopping(
        by=by,
        since=book.now,
        kill_at=book.now + timedelta(seconds=grace_s + (save_s or 0.0) + KILL_SLACK_S),
        runner_pid=None if isinstance(phase, Planned) else getattr(phase, "runner_pid", None),
        started_at=phase.started_at if isinstance(phase, Running) else None,
        requeue=requeue,
        save_s=save_s,
        room_for=room_for,
        keeps=keeps,
    )
    book.apply(AttemptStopping(job_id=job.id, number=attempt.number, stopping=stopping))


KILL_SLACK_S = 40.0
"""The runner's own KILL and its bounded reaping come before ours."""


def requeue(
    book: Book, job_ids: Iterable[int], by: str, grace_s: float, *, afresh: bool = False
) -> dict[str, list[str]]:
    """Queue ended jobs again; stop running ones and queue them when they have ended. Skipped dependents revive.

    They go on from their newest checkpoint, or begin `afresh`.
    """
    done: dict[str, list[str]] = {"queued": [], "stopping": [], "waiting": []}
    for job in _existing(book, job_ids):
        if afresh and job.succeeded_attempt != job.attempts:
            job = replace(job, succeeded_attempt=job.attempts)
            book.apply(JobRespecified(job_id=job.id, job=job, why="begins afresh, without its checkpoints so far"))
        if job.spec.files is not None and not job.spec.files.force:  # by hand means: even if it is up to date
            job = replace(job, spec=replace(job.spec, files=replace(job.spec.files, force=True)))
            book.apply(JobRespecified(job_id=job.id, job=job, why="will run even if it is up to date"))
        if job.state.ended:
            requeue_one(book, job, by)
            done["queued"].append(job.name)
        elif job.state is JobState.ACTIVE:
            stop_attempt(book, job, by="user", grace_s=grace_s, requeue=True)
            done["stopping"].append(job.name)
        else:
            if job.not_before is not None:  # by hand means now: the backoff is over
                book.apply(JobRespecified(job_id=job.id, job=replace(job, not_before=None, reason=None)))
            done["waiting"].append(job.name)
    return done


def requeue_one(book: Book, job: Job, by: str) -> None:
    """Queue one ended job again, and with it what was skipped because of it, unless another keeps that skipped."""
    book.change(job, JobState.QUEUED, ReasonCode.REQUEUED, by=by)
    revive_dependents(book, job.id, by)


def revive_dependents(book: Book, job_id: int, by: str) -> None:
    """Queue again what was skipped because of a job that runs again, unless another keeps that skipped."""
    jobs, ahead = book.workload.jobs, [job_id]
    while ahead:
        upstream = ahead.pop(0)
        for child in sorted(book.workload.dependents.get(upstream, ())):
            again = jobs[child]
            if again.state is JobState.SKIPPED and standing(jobs, again.spec) is not Standing.NEVER:
                book.change(again, JobState.QUEUED, ReasonCode.REQUEUED, by=by)
                ahead.append(child)


def hold(book: Book, job_ids: Iterable[int], by: str) -> dict[str, list[str]]:
    """Keep waiting jobs from starting. Running and ended ones are left alone and named."""
    done: dict[str, list[str]] = {"held": [], "untouched": []}
    for job in _existing(book, job_ids):
        if job.state is JobState.QUEUED:
            book.change(job, JobState.HELD, ReasonCode.HELD, f"by {by}", by=by)
        elif job.state is JobState.HELD and job.reason is not None and job.reason.code is ReasonCode.BUDGET:
            reason = Reason(code=ReasonCode.HELD, text=f"by {by}")  # it does not come back by itself any more
            book.apply(JobRespecified(job_id=job.id, job=replace(job, reason=reason), why=f"held by {by}"))
        done["held" if book.workload.jobs[job.id].state is JobState.HELD else "untouched"].append(job.name)
    return done


def release(book: Book, job_ids: Iterable[int], by: str) -> dict[str, list[str]]:
    """Let held jobs start again, at the place they had."""
    done: dict[str, list[str]] = {"queued": [], "untouched": []}
    for job in _existing(book, job_ids):
        if job.state is JobState.HELD:
            book.change(job, JobState.QUEUED, ReasonCode.REQUEUED, "released", by=by)
            done["queued"].append(job.name)
        else:
            done["untouched"].append(job.name)
    return done


def settle_dependents(book: Book, job_id: int) -> None:
    """A job ended: what waits for it and cannot run now is skipped."""
    jobs = book.workload.jobs
    ended = [job_id]
    while ended:
        upstream = jobs[ended.pop()]
        below = map(jobs.__getitem__, sorted(book.workload.dependents.get(upstream.id, ())))
        # A success takes the hope of none that waits for successes.
        hurt = [job for job in below if job.spec.when != "success" or upstream.state is not JobState.SUCCEEDED]
        ended += [job.id for job in hurt if skip_if_hopeless(book, job)]


def skip_if_hopeless(book: Book, job: Job) -> bool:
    """Skip a waiting job whose condition can no longer be met."""
    jobs = book.workload.jobs
    if job.state not in (JobState.QUEUED, JobState.HELD) or standing(jobs, job.spec) is not Standing.NEVER:
        return False
    reason = why_skipped(jobs, job.spec)
    book.change(job, JobState.SKIPPED, reason.code, reason.text)
    return True


def _existing(book: Book, job_ids: Iterable[int]) -> Iterator[Job]:
    """The jobs one by one, each as those before it have left it."""
    return (book.workload.jobs[job_id] for job_id in job_ids if job_id in book.workload.jobs)
