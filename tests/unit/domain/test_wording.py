"""Events in words: a sentence each, or none."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.attempt import Ended, Exited, Killed, Lost, Stopping
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptPlanned,
    AttemptStarted,
    AttemptStopping,
    GpuChanged,
    GpuIdle,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
    Payload,
    QuarantineLifted,
)
from researchflow_tmux.domain.gpus import GpuCondition
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import WORDS, Reason, ReasonCode
from researchflow_tmux.domain.wording import describe
from tests.unit.engine.samples import NOW, attempt, job, slots


def change(state: JobState, code: ReasonCode, text: str = "") -> JobChanged:
    return JobChanged(job_id=1, state=state, reason=Reason(code=code, text=text))


def ended(outcome: object, note: str = "") -> AttemptEnded:
    return AttemptEnded(job_id=1, number=1, ended=Ended(outcome=outcome, ended_at=NOW, note=note))  # type: ignore[arg-type]


STOPPING = Stopping(by="user", since=NOW, kill_at=NOW)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            AttemptStopping(job_id=1, number=1, stopping=Stopping(by="gpu_lost", since=NOW, kill_at=NOW)),
            "j1: told to stop (the loss of its GPU)",
        ),
        (GpuChanged(gpu=GpuCondition(uuid="u", index=3), text="drained by ann"), "GPU 3 drained by ann"),
        (GpuIdle(uuid="u", index=1, since=NOW, idle_s=600.0, waiting=0), "GPU 1 has had no job for 10 min"),
        (
            GpuIdle(uuid="u", index=1, since=NOW, idle_s=61.0, waiting=2),
            "GPU 1 has had no job for 61 s; 2 jobs in the queue",
        ),
        (JobSubmitted(job=job(1)), "j1: queued"),
        (JobSubmitted(job=job(1, JobState.HELD)), "j1: held"),
        (JobRespecified(job_id=1, job=job(1)), "j1: its description changed"),
        (change(JobState.SUCCEEDED, ReasonCode.SUCCEEDED), "j1: succeeded"),
        (change(JobState.SUCCEEDED, ReasonCode.DONE_BEFORE), "j1: succeeded (done before)"),
        (change(JobState.FAILED, ReasonCode.EXIT_CODE, "exit code 3"), "j1: failed (exit code 3)"),
        (change(JobState.CANCELLED, ReasonCode.CANCELLED, "by hand"), "j1: cancelled (by hand)"),
        (change(JobState.QUEUED, ReasonCode.REQUEUED), "j1: queued again (requeued)"),
        (
            change(JobState.SKIPPED, ReasonCode.UPSTREAM, "a (failed)"),
            "j1: skipped (an earlier job did not succeed: a (failed))",
        ),
        (Notice(text="tmux is silent"), "tmux is silent"),
        (Notice(text="its script changed", job_id=1), "j1: its script changed"),
        (AttemptPlanned(attempt=attempt()), "j1: attempt 1 goes to gpu0 as session t_j1_gpu0"),
        (
            AttemptPlanned(attempt=attempt(number=2, resumed_step=1200, lost_s=390.0)),
            "j1: attempt 2 goes to gpu0 as session t_j1_gpu0, from step 1200, 6 min lost",
        ),
        (
            AttemptPlanned(attempt=attempt(number=2, resumed_step=0, lost_s=9000.0)),
            "j1: attempt 2 goes to gpu0 as session t_j1_gpu0, from step 0, 2.5 h lost",
        ),
        (JobRespecified(job_id=1, job=job(1), why="begins afresh"), "j1: begins afresh"),
        (AttemptPlanned(attempt=attempt(allocation=slots())), "j1: attempt 1 goes to cpu as session t_j1_gpu0"),
        (AttemptLaunching(job_id=1, number=1), None),
        (AttemptStarted(job_id=1, number=1, runner_pid=7, started_at=NOW), "j1: running"),
        (
            AttemptStarted(job_id=1, number=1, runner_pid=7, started_at=NOW, headless=True),
            "j1: runs on without its session (tmux is gone); its log is complete",
        ),
        (AttemptStopping(job_id=1, number=1, stopping=STOPPING), "j1: told to stop (user)"),
        (ended(Exited(code=0, succeeded=True)), None),
        (ended(Exited(code=0, succeeded=True), note="2 leftovers killed"), "j1: 2 leftovers killed"),
        (ended(Killed(by="signal", signal=9)), "j1: its attempt was killed"),
        (ended(Lost(why="the machine was restarted")), "j1: the machine was restarted"),
        (QuarantineLifted(job_id=1, number=1), "j1: its last processes are gone; its slots are free again"),
    ],
)
def test_sentences(payload: Payload, words: str | None) -> None:
    assert describe(payload, lambda job_id: f"j{job_id}") == words


def test_every_reason_has_words() -> None:
    assert WORDS.keys() == set(ReasonCode)
