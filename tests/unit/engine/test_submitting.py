"""What submitting does to jobs that are new, done, failed or under way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.engine.submitting import Draft, Submission, Submitted, in_dependency_order, submit
from researchflow_tmux.engine.workload import Book, Workload
from tests.unit.engine.samples import NOW, attempt, job, spec, workload

HELD, QUEUED, ACTIVE, DONE = JobState.HELD, JobState.QUEUED, JobState.ACTIVE, JobState.SUCCEEDED
FAILED, CANCELLED, SKIPPED = JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED


def draft(name: str, *after: str, **fields: object) -> Draft:
    of_draft = {key: fields.pop(key) for key in ("marker_found", "held", "again") if key in fields}
    return Draft(spec=spec(name, **fields), after_names=after, **of_draft)  # type: ignore[arg-type]


def submitted(known: Workload, *drafts: Draft, **how: bool) -> Submitted:
    return submit(Book(known, NOW), Submission(drafts=drafts, **how))  # type: ignore[arg-type]


def bucket(result: Submitted, name: str) -> list[str]:
    lists = ("queued", "done_before", "under_way", "skipped", "left_failed", "left_cancelled")
    return [words for words in lists if name in getattr(result, words)]


def known_job(state: JobState) -> Workload:
    live = (attempt(),) if state is ACTIVE else ()
    return workload(job(1, state, name="a", queued_s=-9, attempts=int(state is ACTIVE)), attempts=live)


@pytest.mark.parametrize(
    ("state", "bare", "named", "rerun", "marker"),
    [
        (HELD, (HELD, "under_way"), (HELD, "under_way"), (HELD, "under_way"), (DONE, "done_before")),
        (QUEUED, (QUEUED, "under_way"), (QUEUED, "under_way"), (QUEUED, "under_way"), (DONE, "done_before")),
        (ACTIVE, (ACTIVE, "under_way"), (ACTIVE, "under_way"), (ACTIVE, "under_way"), (ACTIVE, "under_way")),
        (DONE, (DONE, "done_before"), (DONE, "done_before"), (QUEUED, "queued"), (DONE, "done_before")),
        (FAILED, (FAILED, "left_failed"), (QUEUED, "queued"), (QUEUED, "queued"), (DONE, "done_before")),
        (CANCELLED, (CANCELLED, "left_cancelled"), (QUEUED, "queued"), (QUEUED, "queued"), (DONE, "done_before")),
        (SKIPPED, (SKIPPED, "left_failed"), (QUEUED, "queued"), (QUEUED, "queued"), (DONE, "done_before")),
    ],
)
def test_a_job_that_is_known(state: JobState, bare: object, named: object, rerun: object, marker: object) -> None:
    cases: list[tuple[dict[str, bool], dict[str, bool], object]] = [({}, {}, bare), ({}, {"named": True}, named)]
    cases += [({}, {"rerun": True}, rerun), ({"marker_found": True}, {}, marker)]
    for fields, how, expected in cases:
        known = known_job(state)
        result = submitted(known, draft("a", **fields), **how)
        assert (known.jobs[1].state, *bucket(result, "a")) == expected, how
        assert result.ids == [1]


@pytest.mark.parametrize(
    ("one", "how", "state", "words"),
    [
        (draft("a"), {}, QUEUED, "queued"),
        (draft("a", held=True), {}, HELD, "queued"),
        (draft("a", marker_found=True), {}, DONE, "done_before"),
        (draft("a", marker_found=True), {"named": True}, DONE, "done_before"),
        (draft("a", marker_found=True), {"rerun": True}, QUEUED, "queued"),
        (draft("a", marker_found=True, held=True), {}, DONE, "done_before"),
    ],
)
def test_a_new_job(one: Draft, how: dict[str, bool], state: JobState, words: str) -> None:
    known = workload()
    result = submitted(known, one, **how)
    assert (known.jobs[1].state, bucket(result, "a")) == (state, [words])


def test_a_changed_description_is_taken_over_except_while_the_job_runs() -> None:
    for state, priority in [(QUEUED, 7), (FAILED, 7), (ACTIVE, 0)]:
        known = known_job(state)
        submitted(known, draft("a", priority=7))
        assert known.jobs[1].spec.priority == priority


def test_dependencies_go_by_name_among_drafts_and_jobs() -> None:
    known = workload(job(1, name="old"), job(2, name="old", key="other"))
    result = submitted(known, draft("c", "b", "old"), draft("b", "a"), draft("a"))
    after = {one.name: one.spec.after for one in known.jobs.values()}
    ids = {one.name: one.id for one in known.jobs.values()}
    assert after["b"] == (ids["a"],)
    assert after["c"] == (ids["b"], 2), "of two jobs of one name the newer one is meant"
    assert result.queued == ["a", "b", "c"]
    assert submitted(known, draft("d", "1")).problems == [], "an id is a name too"
    assert known.jobs[known.next_job_id - 1].spec.after == (1,)


@pytest.mark.parametrize(
    ("drafts", "problem"),
    [
        ([draft("a", "b")], "a: waits for 'b', and there is no job of that name"),
        ([draft("a", "a")], "jobs wait for each other in a circle: a → a"),
        ([draft("a", "b"), draft("b", "c"), draft("c", "a"), draft("d")], "in a circle"),
        ([draft("old", "heir")], "in a circle"),
        (
            [draft("a", when="failure")],
            "a: `when: failure` says how the jobs it comes after must end, and there are none",
        ),
    ],
)
def test_bad_dependencies_are_named_and_nothing_is_queued(drafts: list[Draft], problem: str) -> None:
    known = workload(job(1, name="old"), job(2, name="heir", after=(1,)))
    before = dict(known.jobs)
    result = submitted(known, *drafts)
    assert len(result.problems) == 1
    assert problem in result.problems[0]
    assert (known.jobs, known.changed, result.ids) == (before, False, [])


def test_every_unknown_name_is_told() -> None:
    result = submitted(workload(), draft("a", "x", "y"), draft("b", "z"))
    assert [problem.split("'")[1] for problem in result.problems] == ["x", "y", "z"]


@pytest.mark.parametrize("state", [FAILED, CANCELLED, SKIPPED])
def test_a_new_job_that_waits_for_one_without_success_is_skipped(state: JobState) -> None:
    known = workload(job(1, state, name="a"))
    result = submitted(known, draft("b", "a"), draft("c", "b"), named=True)
    assert result.skipped == ["b", "c"]
    assert (result.queued, result.ids) == ([], [2, 3])
    reason = known.jobs[2].reason
    assert reason is not None
    assert (reason.code, reason.text) == (ReasonCode.UPSTREAM, f"a ({state})")
    again = submitted(known, draft("a"), draft("b", "a"), draft("c", "b"), named=True)
    assert [one.state for one in known.jobs.values()] == [QUEUED] * 3
    assert again.queued == ["a", "b", "c"]


def test_a_new_job_for_a_failure_of_what_has_succeeded_is_skipped_and_one_for_any_end_starts() -> None:
    known = workload(job(1, DONE, name="a"))
    result = submitted(known, draft("b", "a", when="failure"), draft("c", "a", when="always"), draft("d", "b"))
    assert (result.skipped, result.queued) == (["b", "d"], ["c"])
    assert str(known.jobs[2].reason) == "nothing that it waits for failed: a (succeeded)"


@pytest.mark.parametrize("state", [DONE, FAILED, CANCELLED, SKIPPED])
def test_a_draft_may_ask_for_another_run_of_its_own_job_alone(state: JobState) -> None:
    known = workload(job(1, state, name="a"), job(2, DONE, name="b", after=(1,)), job(3, SKIPPED, name="c", after=(1,)))
    result = submitted(known, draft("a", again=True), draft("b", "a"))
    assert [one.state for one in known.jobs.values()] == [QUEUED, DONE, QUEUED]
    assert (result.queued, result.done_before) == (["a"], ["b"])


def test_another_run_that_cannot_start_is_none() -> None:
    known = workload(job(1, FAILED, name="a"), job(2, DONE, name="b", after=(1,)))
    result = submitted(known, draft("b", "a", again=True))
    assert (known.jobs[2].state, result.skipped, result.queued) == (SKIPPED, ["b"], [])


def test_a_marker_that_says_done_ends_the_wait_for_a_failure() -> None:
    known = workload(job(1, name="a"), job(2, name="b", after=(1,), when="failure"), job(3, name="c", after=(2,)))
    submitted(known, draft("a", marker_found=True))
    assert [one.state for one in known.jobs.values()] == [DONE, SKIPPED, SKIPPED]


def test_a_marker_that_appeared_revives_what_was_skipped() -> None:
    known = workload(job(1, FAILED, name="a"), job(2, SKIPPED, name="b", after=(1,)))
    submitted(known, draft("a", marker_found=True))
    assert [one.state for one in known.jobs.values()] == [DONE, QUEUED]


def test_the_same_key_twice_is_one_job() -> None:
    known = workload()
    result = submitted(known, draft("a"), draft("a"))
    assert (len(known.jobs), result.ids) == (1, [1, 1])


def test_the_same_name_under_two_keys_is_two_jobs_with_two_slugs() -> None:
    known = workload()
    submitted(known, draft("a", key="x/a.yml"), draft("a", key="y/a.yml"))
    jobs: list[Job] = list(known.jobs.values())
    assert len({one.slug for one in jobs}) == 2


@pytest.mark.parametrize(
    ("drafts", "order"),
    [
        ([draft("a"), draft("b")], "ab"),
        ([draft("b"), draft("a")], "ba"),
        ([draft("a", "b"), draft("b")], "ba"),
        ([draft("c", "a"), draft("a"), draft("b", "c")], "acb"),
    ],
)
def test_order(drafts: list[Draft], order: str) -> None:
    assert "".join(one.spec.name for one in in_dependency_order(drafts)) == order


@pytest.mark.parametrize(
    ("state", "written_s", "expected"),
    [
        (FAILED, -20, (FAILED, "left_failed")),  # left by an earlier success: says nothing of the run that failed
        (CANCELLED, -20, (CANCELLED, "left_cancelled")),
        (FAILED, -5, (DONE, "done_before")),  # written by hand since
    ],
)
def test_a_marker_older_than_the_end_of_a_failed_job_does_not_count(
    state: JobState, written_s: float, expected: tuple[JobState, str]
) -> None:
    known = workload(job(1, state, name="a", attempts=1, ended_at=NOW + timedelta(seconds=-10)))
    of_marker = {"marker_found": True, "marker_at": NOW + timedelta(seconds=written_s), "looked_at": NOW}
    result = submitted(known, replace(draft("a"), **of_marker))
    assert (known.jobs[1].state, *bucket(result, "a")) == expected


@pytest.mark.parametrize(
    ("looked_s", "named", "expected", "mentioned"),
    [
        (-5, True, (QUEUED, "queued"), False),  # deleted since it ended, and named: it is wanted again
        (-5, False, (DONE, "done_before"), True),
        (-20, True, (DONE, "done_before"), False),  # looked for while it still ran: it has not been deleted
        (-20, False, (DONE, "done_before"), False),
    ],
)
def test_a_missing_marker_counts_only_if_it_was_looked_for_after_the_end(
    looked_s: float, named: bool, expected: tuple[JobState, str], mentioned: bool
) -> None:
    marked = spec("a", marker="/ws/out/a_completed.txt")
    known = workload(replace(job(1, DONE, name="a", attempts=1, ended_at=NOW + timedelta(seconds=-10)), spec=marked))
    looked = Draft(spec=marked, looked_at=NOW + timedelta(seconds=looked_s))
    result = submitted(known, looked, named=named)
    assert (known.jobs[1].state, *bucket(result, "a")) == expected
    assert (result.unmarked == ["a"]) is mentioned
