"""What jobs do to simulated GPUs."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.domain.resources import Allocation, GpuShare
from researchflow_tmux.simulation.gpus import IDLE_MIB, ScriptedGpus
from researchflow_tmux.simulation.load import VARIABLE, JobLoad, parse_load, uses_of
from tests.unit.engine.samples import NOW, at, attempt, device, job, workload

USUAL = JobLoad(memory_mib=100, util_pct=50)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", USUAL),
        ("memory=12GiB util=90 ramp=20s", JobLoad(memory_mib=12 * 1024, util_pct=90, ramp_s=20)),
        ("util=5,memory=7", JobLoad(memory_mib=7, util_pct=5)),
        ("memory=lots util=-3 what =", JobLoad(memory_mib=100, util_pct=0)),
    ],
)
def test_words(text: str, expected: JobLoad) -> None:
    assert parse_load(text, USUAL) == expected


def test_memory_ramps_up() -> None:
    load = JobLoad(memory_mib=1000, ramp_s=10)
    assert [load.memory_at(age) for age in (-1, 0, 2.5, 10, 99)] == [0, 0, 250, 1000, 1000]
    assert JobLoad(memory_mib=1000).memory_at(0) == 1000


def test_gpus_follow_the_jobs_that_run_on_them() -> None:
    both = Allocation(gpus=tuple(GpuShare(uuid=f"g{i}", index=i, share=0.5, memory_mib=600) for i in (0, 1)))
    ramping = job(1, attempts=1, state="running", env={VARIABLE: "memory=1000 util=30 ramp=10s"})  # type: ignore[arg-type]
    plain = job(2, attempts=1, state="running")  # type: ignore[arg-type]
    planned = job(3, attempts=1, state="running")  # type: ignore[arg-type]
    attempts = (
        attempt(1, phase=Running(started_at=NOW, runner_pid=71)),
        attempt(2, phase=Running(started_at=NOW, runner_pid=72), allocation=both),
        attempt(3),
    )
    known = workload(ramping, plain, planned, attempts=attempts)
    gpus = ScriptedGpus([device(0), device(1), device(2)])
    gpus.follow(lambda: uses_of(known.attempts.values(), known.jobs, at(5)))
    first, second, third = gpus.read()
    assert (first.used_mib, first.util_pct) == (IDLE_MIB + 500 + 600, 100)
    assert first.processes is not None
    assert [(process.pid, process.used_mib) for process in first.processes] == [(71, 500), (72, 600)]
    assert (second.used_mib, second.util_pct) == (IDLE_MIB + 600, 72), "what it declared, where it says nothing else"
    assert (third.used_mib, third.util_pct, third.processes) == (IDLE_MIB, 0, ())
