"""What starts now and why the rest waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.attempt import Ended, Exited
from researchflow_tmux.domain.events import AttemptEnded, JobChanged
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest, Ticket
from researchflow_tmux.engine.decide import MAX_STARTS, Capacity, capacity, decide, explain
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.placement import GpuView
from tests.unit.engine.samples import NOW, active, at, attempt, device, job, slots, workload

HALT = Reason(code=ReasonCode.STOPPING)


def room(known: Workload, gpus: int = 2, *, share: float = 1.0, cpu: int = 1, halted: Reason | None = None) -> Capacity:
    return capacity(known, [device(i) for i in range(gpus)], share=share, max_cpu_jobs=cpu, halted=halted)


def started(known: Workload, **of_room: object) -> list[tuple[int, tuple[int, ...]]]:
    starts = decide(known, room(known, **of_room), NOW)  # type: ignore[arg-type]
    return [(start.job.id, start.allocation.indices) for start in starts]


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([job(1), job(2), job(3)], [1, 2]),
        ([job(1), job(2, priority=5), job(3)], [2, 1]),
        ([job(1, queued_s=2), job(2, queued_s=1), job(3, queued_s=0)], [3, 2]),
        ([job(1, priority=-1), job(2, queued_s=9), job(3, queued_s=9)], [2, 3]),
        # what cannot start does not keep others
        ([job(1, after=(9,)), job(9, JobState.ACTIVE, attempts=1), job(2)], [2]),
        ([job(1, not_before=at(5)), job(2), job(3)], [2, 3]),
        ([job(1, not_before=NOW), job(2), job(3)], [1, 2]),
        ([job(1, gpus=9), job(2)], [2]),
        ([job(1, gpus=0), job(2, gpus=0), job(3), job(4)], [1, 3, 4]),
        ([job(1, JobState.HELD), job(2, JobState.FAILED), job(3)], [3]),
        ([job(1, after=(2,)), job(2, JobState.SUCCEEDED)], [1]),
        # a dependency that was cleaned away is met
        ([job(1, after=(77,))], [1]),
        # a job for both GPUs waits for both and is not overtaken
        ([job(1, gpus=2), job(2)], [1]),
    ],
)
def test_order(jobs: list[Job], expected: list[int]) -> None:
    running = tuple(attempt(one.id, allocation=slots()) for one in jobs if one.state is JobState.ACTIVE)
    assert [job_id for job_id, _ in started(workload(*jobs, attempts=running))] == expected


def test_wide_jobs_are_not_starved_by_narrow_ones_behind_them() -> None:
    busy, its_attempt = active(9, slots(0))
    known = workload(busy, job(1, gpus=2), job(2), job(3, gpus=0), attempts=(its_attempt,))
    assert started(known) == [(3, ())]
    reasons = explain(known, room(known), NOW)
    assert reasons[1].code is ReasonCode.SLOTS_FULL
    assert (reasons[2].code, reasons[2].text) == (ReasonCode.RESERVED, "j1")


def test_live_attempts_and_quarantined_ones_are_booked() -> None:
    over = Ended(outcome=Exited(code=1, succeeded=False), ended_at=NOW)
    busy, first = active(8, slots(0))
    known = workload(
        busy,
        job(9, JobState.FAILED, attempts=1),
        job(1),
        attempts=(first, attempt(9, phase=over, quarantined=(1,), allocation=slots(1))),
    )
    assert started(known) == []
    assert started(known, gpus=3) == [(1, (2,))]


def test_leases_of_others_count_and_our_own_do_not() -> None:
    busy, its_attempt = active(9, slots(0, share=0.5))
    known = workload(busy, job(1), attempts=(its_attempt,))
    tickets = [
        Ticket(uuid="g0", share=0.5, holder="me", tag="ws/9.1"),
        Ticket(uuid="g1", share=0.75, holder="bob", tag="other/1.1"),
        Ticket(uuid="unknown", share=1.0, holder="eve"),
    ]
    devices = [device(0), device(1)]
    found = capacity(known, devices, share=0.5, max_cpu_jobs=0, own_tag_prefix="ws/", tickets=tickets)
    assert [(view.used, view.others, view.other_holders) for view in found.views] == [
        (0.5, 0.0, []),
        (0.0, 0.75, ["bob"]),
    ]
    assert [start.allocation.indices for start in decide(known, found, NOW)] == [(0,)]


@pytest.mark.parametrize(
    ("one", "code", "text"),
    [
        (job(1, after=(9,)), ReasonCode.DEPENDENCY, "j9 (running)"),
        (job(1, not_before=at(60)), ReasonCode.BACKOFF, ""),
        (job(1, gpus=0), ReasonCode.CPU_FULL, ""),
        (job(1, gpus=3), ReasonCode.IMPOSSIBLE, "it needs 3 GPUs; this workspace has GPUs 0, 1"),
        (job(1, pinned=(0,)), ReasonCode.SLOTS_FULL, "GPU 0: j9"),
        (job(1), ReasonCode.NEXT, ""),
    ],
)
def test_reasons(one: Job, code: ReasonCode, text: str) -> None:
    busy, its_attempt = active(9, slots(0))
    known = workload(busy, one, attempts=(its_attempt,))
    reason = explain(known, room(known, cpu=0), NOW)[1]
    assert (reason.code, reason.text) == (code, text)


def test_halted_starts_nothing_and_says_so() -> None:
    known = workload(job(1), job(2, gpus=0), job(3, after=(1,)))
    assert started(known, halted=HALT) == []
    reasons = explain(known, room(known, halted=HALT), NOW)
    assert {job_id: reason.code for job_id, reason in reasons.items()} == {
        1: ReasonCode.STOPPING,
        2: ReasonCode.STOPPING,
        3: ReasonCode.DEPENDENCY,
    }


def test_one_decision_is_bounded_and_the_next_goes_on() -> None:
    known = workload(*(job(number) for number in range(1, 100)))
    assert len(started(known, share=0.0)) == MAX_STARTS


class CountedViews(list[GpuView]):
    """Counts the looks at it: each request for places asks how many there are."""

    looks = 0

    def __len__(self) -> int:
        self.looks += 1
        return super().__len__()


def test_a_thousand_alike_cost_one_look() -> None:
    busy, its_attempt = active(5000, slots(0))
    known = workload(busy, *(job(number) for number in range(1, 1001)), attempts=(its_attempt,))
    found = room(known, gpus=1)
    views = found.views = CountedViews(found.views)
    assert len(explain(known, found, NOW)) == 1000
    assert views.looks == 1
    assert decide(known, found, NOW) == []
    assert views.looks == 1, "and none while everything is full"


def test_jobs_that_differ_in_what_needs_no_place_are_alike() -> None:
    busy, its_attempt = active(5000, slots(0))
    limits = (ResourceRequest(time_limit_s=float(number)) for number in range(1, 101))
    queued = [
        replace(one, spec=replace(one.spec, request=limit))
        for one, limit in zip(map(job, range(1, 101)), limits, strict=True)
    ]
    known = workload(busy, *queued, attempts=(its_attempt,))
    found = room(known, gpus=1)
    views = found.views = CountedViews(found.views)
    assert len(explain(known, found, NOW)) == 100
    assert views.looks == 1


JOBS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.fixed_dictionaries(
        {
            "gpus": st.integers(0, 3),
            "pinned": st.sampled_from([(), (0,), (1,), (0, 1)]),
            "priority": st.integers(-1, 1),
            "after": st.sampled_from([(), (1,), (2, 3)]),
            "not_before": st.sampled_from([None, at(-1), at(5)]),
            "state": st.sampled_from([JobState.QUEUED, JobState.QUEUED, JobState.HELD, JobState.SUCCEEDED]),
        }
    ),
    max_size=25,
)


@given(JOBS, st.integers(0, 3), st.sampled_from([1.0, 0.5, 1 / 3, 0.0]), st.integers(0, 2), st.booleans())
def test_explain_agrees_with_decide(
    jobs: list[dict[str, Any]], gpus: int, share: float, cpu: int, halted: bool
) -> None:
    known = workload(*(job(number, **fields) for number, fields in enumerate(jobs, 1)))
    halt = HALT if halted else None
    starts = {start.job.id for start in decide(known, room(known, gpus, share=share, cpu=cpu, halted=halt), NOW)}
    reasons = explain(known, room(known, gpus, share=share, cpu=cpu, halted=halt), NOW)
    assert reasons.keys() == {one.id for one in known.queued()}, "every queued job has a reason"
    assert {job_id for job_id, reason in reasons.items() if reason.code is ReasonCode.NEXT} == starts


# Arrays ---------------------------------------------------------------------------------------------------------------


def of_array(job_id: int, state: JobState = JobState.QUEUED, *, at_most: int | None = 2, array: str = "x") -> Job:
    members = Array(id=array, name=array, count=9, first=0, last=8, at_most=at_most)
    return job(job_id, state, attempts=int(state is JobState.ACTIVE), array=members, array_index=job_id, gpus=0)


def test_of_an_array_only_so_many_start_and_the_others_say_why() -> None:
    known = workload(of_array(1), of_array(2), of_array(3), job(4, gpus=0))
    assert [job_id for job_id, _ in started(known, cpu=9)] == [1, 2, 4]
    reasons = explain(known, room(known, cpu=9), NOW)
    assert reasons[3] == Reason(code=ReasonCode.ARRAY_FULL, text="2 of x")


def test_what_runs_of_an_array_counts_until_it_has_ended() -> None:
    known = workload(of_array(1, JobState.ACTIVE), of_array(2), of_array(3), attempts=(attempt(1),))
    assert [job_id for job_id, _ in started(known, cpu=9)] == [2]
    ended = Ended(outcome=Exited(code=0, succeeded=True), ended_at=NOW)
    known.apply(AttemptEnded(job_id=1, number=1, ended=ended), NOW)
    known.apply(JobChanged(job_id=1, state=JobState.SUCCEEDED, reason=HALT), NOW)
    assert [job_id for job_id, _ in started(known, cpu=9)] == [2, 3]


def test_two_arrays_do_not_share_their_limit_and_one_without_has_none() -> None:
    known = workload(*(of_array(n, array="a" if n % 2 else "b", at_most=1) for n in range(1, 5)))
    assert [job_id for job_id, _ in started(known, cpu=9)] == [1, 2]
    known = workload(*(of_array(n, at_most=None) for n in range(1, 5)))
    assert len(started(known, cpu=9)) == 4


def test_a_full_array_keeps_nothing_for_itself() -> None:
    wide = of_array(2, at_most=1)
    wide = replace(wide, spec=replace(wide.spec, request=ResourceRequest(gpus=2)))
    known = workload(of_array(1, JobState.ACTIVE, at_most=1), wide, job(3), job(4), attempts=(attempt(1),))
    assert [job_id for job_id, _ in started(known, gpus=3)] == [3, 4]
