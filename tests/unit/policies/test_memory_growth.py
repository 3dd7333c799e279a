"""How much GPU memory is asked for after there was too little: a table of cases."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.resources import Allocation, GpuReading, GpuShare
from researchflow_tmux.policies.memory_growth import Growth, grown, grown_ram
from tests.unit.engine.samples import attempt, job

SMALL, BIG = 12_000, 24_000


def reading(index: int, total_mib: int | None) -> GpuReading:
    return GpuReading(uuid=f"g{index}", index=index, name="GPU", total_mib=total_mib)


MACHINE = (reading(0, SMALL), reading(1, BIG))


def on(*shares: tuple[int, float]) -> Allocation:
    return Allocation(gpus=tuple(GpuShare(uuid=f"g{index}", index=index, share=share) for index, share in shares))


@pytest.mark.parametrize(
    ("allocation", "estimate_mib", "peak_mib", "machine", "wanted", "largest"),
    [
        # nothing declared: from its part of the GPU
        (on((0, 1.0)), None, None, MACHINE, 18_000, False),
        (on((0, 0.5)), None, None, MACHINE, 9_000, False),
        (on((1, 0.5)), None, None, MACHINE, 18_000, False),
        (on((1, 1.0)), None, None, MACHINE, BIG, True),
        # what it asked for, or was seen to use, if that is more
        (on((0, 1.0)), 8_000, None, MACHINE, SMALL + 1, False),
        (on((0, 1.0)), 8_000, 11_000.0, MACHINE, 16_500, False),
        (on((0, 1.0)), None, 4_000.0, MACHINE, SMALL + 1, False),
        (on((1, 0.25)), 20_000, None, MACHINE, BIG, False),
        # it asked for all of the largest, and had it
        (on((1, 0.25)), BIG, None, MACHINE, BIG, True),
        # unlimited sharing: no part is its own
        (on((1, 0.0)), None, None, MACHINE, BIG, True),
        # nothing can be known
        (on((0, 1.0)), None, None, (), None, False),
        (on((0, 1.0)), 8_000, None, (), None, False),
        (on((0, 1.0)), None, None, (reading(0, None),), None, False),
        # a GPU that cannot be read says nothing about the others
        (on((0, 1.0)), 8_000, None, (reading(0, None), reading(1, BIG)), 12_000, False),
        (on((0, 0.5)), 5_000, None, MACHINE, 7_500, False),
        (on((1, 1.0)), 8_000, None, MACHINE, BIG, True),
    ],
)
def test_grown(
    allocation: Allocation,
    estimate_mib: int | None,
    peak_mib: float | None,
    machine: tuple[GpuReading, ...],
    wanted: int | None,
    largest: bool,
) -> None:
    gpus = tuple(replace(gpu, memory_mib=estimate_mib or 0) for gpu in allocation.gpus)
    found = grown(job(1, JobState.ACTIVE), attempt(allocation=Allocation(gpus=gpus)), peak_mib, machine)
    assert found == Growth(gpu_memory_mib=wanted, largest=largest)


def test_several_gpus_are_no_better_than_the_smallest_of_them() -> None:
    wide = job(1, JobState.ACTIVE, gpus=2)
    assert grown(wide, attempt(allocation=on((0, 1.0), (1, 1.0))), None, MACHINE) == Growth(
        gpu_memory_mib=SMALL, largest=True
    )


def test_a_pinned_job_can_only_have_what_it_is_pinned_to() -> None:
    pinned = job(1, JobState.ACTIVE, pinned=(0,))
    assert grown(pinned, attempt(allocation=on((0, 1.0))), None, MACHINE) == Growth(gpu_memory_mib=SMALL, largest=True)


@pytest.mark.parametrize(
    ("promised_mib", "peak_mib", "machine_mib", "wanted"),
    [
        (None, None, 16_000, None),
        (None, 6_000.0, 16_000, 9_000),
        (8_000, 6_000.0, 16_000, 12_000),
        (12_000, None, 16_000, 16_000),
        (None, 6_000.0, None, None),
    ],
)
def test_ram(promised_mib: int | None, peak_mib: float | None, machine_mib: int | None, wanted: int | None) -> None:
    known = job(1, JobState.ACTIVE, memory_mib=promised_mib)
    assert grown_ram(known, peak_mib, machine_mib) == Growth(memory_mib=wanted)
