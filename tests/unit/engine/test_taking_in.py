"""What a source's files say, carried out: withdrawn, queued, queued again; and nothing twice."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.engine.taking_in import SourceNews, TakenIn, take_in
from researchflow_tmux.engine.workload import Book, Workload
from tests.unit.engine.samples import NOW, active, at, job, slots, spec, workload

WITHDRAWN = Reason(code=ReasonCode.WITHDRAWN)


def draft(name: str, *after: str) -> Draft:
    return Draft(spec=spec(name), after_names=after)


def taken_in(known: Workload, *drafts: Draft, withdrawn: tuple[str, ...] = (), again: tuple[str, ...] = ()) -> TakenIn:
    return take_in(Book(known, NOW), SourceNews(source="config", drafts=drafts, withdrawn=withdrawn, again=again))


def states(known: Workload) -> dict[str, str]:
    return {job.name: str(job.state) for job in known.jobs.values()}


def test_what_is_new_is_queued_once() -> None:
    known = workload()
    assert taken_in(known, draft("a"), draft("b", "a")).queued == ["a", "b"]
    news = SourceNews(source="config", drafts=(draft("a"), draft("b", "a")))
    assert take_in(Book(known, at(1)), news) == TakenIn()
    assert states(known) == {"a": "queued", "b": "queued"}


def test_what_waits_and_is_gone_is_withdrawn_with_what_waits_for_it() -> None:
    known = workload(job(1, name="a"), job(2, name="b", after=(1,)), job(3, JobState.HELD, name="c"))
    done = taken_in(known, withdrawn=("a", "c", "never seen"))
    assert done.withdrawn == ["a", "c"]
    assert states(known) == {"a": "cancelled", "b": "skipped", "c": "cancelled"}
    assert str(known.jobs[1].reason) == "withdrawn: taken out of a"


def test_what_runs_or_has_ended_is_not_withdrawn() -> None:
    running, attempt = active(1, slots(0), name="a")
    known = workload(running, job(2, JobState.SUCCEEDED, name="b"), attempts=(attempt,))
    assert taken_in(known, withdrawn=("a", "b")) == TakenIn()
    assert states(known) == {"a": "running", "b": "succeeded"}


@pytest.mark.parametrize(
    ("known_job", "expected"),
    [
        (job(1, JobState.CANCELLED, name="a", reason=WITHDRAWN), "queued"),
        (job(1, JobState.CANCELLED, name="a", reason=Reason(code=ReasonCode.CANCELLED)), "cancelled"),
        (job(1, JobState.FAILED, name="a"), "failed"),
    ],
)
def test_only_what_was_withdrawn_comes_back_by_being_there_again(known_job: Job, expected: str) -> None:
    known = workload(known_job)
    taken_in(known, draft("a"))
    assert states(known) == {"a": expected}


def test_again_means_once_more_and_only_for_what_has_ended() -> None:
    running, attempt = active(2, slots(0), name="b")
    known = workload(job(1, JobState.SUCCEEDED, name="a"), running, job(3, name="c"), attempts=(attempt,))
    assert taken_in(known, again=("a", "b", "c", "d")).again == ["a"]
    assert taken_in(known, again=("a",)).again == []
    assert states(known) == {"a": "queued", "b": "running", "c": "queued"}


def test_a_bad_job_does_not_keep_the_good_ones_out() -> None:
    known = workload()
    done = taken_in(known, draft("late", "good"), draft("bad", "nobody"), draft("good"))
    assert sorted(done.queued) == ["good", "late"]
    assert done.problems == ["bad: waits for 'nobody', and there is no job of that name"]
