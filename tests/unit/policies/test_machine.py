"""Cores and memory of the machine: promised to one job only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.resources import Allocation, ResourceRequest
from researchflow_tmux.engine.capacity import capacity
from researchflow_tmux.engine.decide import decide, explain
from researchflow_tmux.policies.machine import Unpromised, core_ranges
from tests.unit.engine.samples import NOW, attempt, device, job, workload

RULES = RoomRules(cores=(0, 1, 2, 3), machine_mib=16_384)


def asks(cpus: int | None = None, memory_mib: int | None = None) -> ResourceRequest:
    return ResourceRequest(gpus=0, cpus=cpus, memory_mib=memory_mib)


def declaring(known: Job, request: ResourceRequest) -> Job:
    return replace(known, spec=replace(known.spec, request=request))


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (asks(), None, ""),
        (asks(cpus=2), None, ""),
        (asks(cpus=3), "cores", "2 of 4 free, 3 needed"),
        (asks(cpus=5), "impossible", "it needs 5 cores; there are 4"),
        (asks(memory_mib=8_192), None, ""),
        (asks(memory_mib=8_193), "ram", "8 GiB of 16 GiB not promised to other jobs, 8 GiB needed"),
        (asks(memory_mib=20_480), "impossible", "it needs 20 GiB of memory; the machine has 16 GiB"),
        (asks(cpus=3, memory_mib=20_480), "cores", ""),
    ],
)
def test_what_is_promised_is_not_promised_again(request_: ResourceRequest, code: str | None, words: str) -> None:
    left = Unpromised(RULES)
    left.book(Allocation(cores=(0, 2)), asks(cpus=2, memory_mib=8_192))
    reason = left.refuses(request_)
    assert (None if reason is None else reason.code) == code
    assert reason is None or words in reason.text


def test_memory_that_cannot_be_read_is_promised_to_nobody() -> None:
    reason = Unpromised(RoomRules(cores=(0,))).refuses(asks(memory_mib=1))
    assert reason is not None
    assert "cannot be read" in reason.text
    assert Unpromised(RoomRules()).refuses(asks()) is None, "who declares nothing needs no promise"


@given(st.lists(st.integers(min_value=0, max_value=4), max_size=12))
def test_no_core_is_given_twice(wanted: list[int]) -> None:
    left = Unpromised(RULES)
    given_: list[int] = []
    for cpus in wanted:
        request = asks(cpus=cpus or None)
        if left.refuses(request) is None:
            cores = left.give(request)
            assert len(cores) == cpus
            given_ += cores
    assert len(given_) == len(set(given_))
    assert set(given_) <= set(RULES.cores)


def test_jobs_get_cores_of_their_own_and_one_that_does_not_fit_blocks_nobody() -> None:
    running = attempt(9, allocation=Allocation(cores=(1,)))
    jobs = [
        declaring(job(9, JobState.ACTIVE, attempts=1), asks(cpus=1)),
        declaring(job(1), asks(cpus=2)),
        declaring(job(2), asks(cpus=2)),
        declaring(job(3), asks()),
        declaring(job(4), asks(cpus=1)),
    ]
    known = workload(*jobs, attempts=(running,))
    room = capacity(known, [device(0)], share=1.0, max_cpu_jobs=9, rules=RULES)
    starts = decide(known, room, NOW)
    assert {start.job.id: start.allocation.cores for start in starts} == {1: (0, 2), 3: (), 4: (3,)}
    room = capacity(known, [device(0)], share=1.0, max_cpu_jobs=9, rules=RULES)
    assert str(explain(known, room, NOW)[2]) == "CPU cores are taken: 1 of 4 free, 2 needed"


@pytest.mark.parametrize(
    ("cores", "words"), [((), ""), ((3,), "3"), ((0, 1, 2, 3), "0-3"), ((8, 0, 1, 3), "0-1, 3, 8")]
)
def test_words_for_cores(cores: tuple[int, ...], words: str) -> None:
    assert core_ranges(cores) == words
