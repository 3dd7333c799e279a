"""What jobs that need a kind of GPU are told while they wait, under every policy; and what is counted of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.events import JobRespecified
from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.testing import World
from tests.unit.engine.samples import NOW, job


def reasons(world: World) -> dict[str, str]:
    found = world.engine.choice.explain(world.engine.look(), world.clock.now())
    return {world.engine.workload.jobs[number].name: str(reason) for number, reason in found.items()}


@pytest.mark.parametrize("policy", ["queue", *POLICIES])
def test_who_has_the_gpus_and_what_is_impossible_is_told_and_others_go_on(policy: str) -> None:
    world = World(kinds="A100,2xT4", policy=policy)
    world.submit("first", gpu_type="A100", takes="2h")
    world.advance("1s")
    world.submit("never", gpu_type="H100")
    world.submit("second", "third", gpu_type="A100", takes="1h")
    world.submit("cpu", gpus=0, takes="5h")
    world.advance("1s")
    world.submit("plain", takes="1h")
    world.advance("1m")
    told = reasons(world)
    assert told["never"] == (
        "cannot run here: it needs 1 GPU (H100); this machine has 1 × A100 (80 GiB, 8.0), 2 × T4 (16 GiB, 7.5)"
    )
    waits = "no fitting GPU is free: needs 1 GPU (A100); GPU 0: first"
    assert told["third"] == waits or (policy == "fifo" and told["third"].startswith("waits for its turn"))
    assert told["second"] == waits or told["second"].startswith("first in line: 1 GPU (A100)")
    assert world.states()["cpu"] == "running", "it waits for no GPU"
    if policy != "fifo":
        assert world.states()["plain"] == "running"


def asking(number: int, state: JobState = JobState.QUEUED, *, gpus: int = 1, **kind: str) -> Job:
    made = job(number, state)
    return replace(made, spec=replace(made.spec, request=ResourceRequest(gpus=gpus, hardware=hardware(**kind))))


def test_choosy_jobs_are_counted_while_they_wait_and_as_long_as_they_are_known() -> None:
    a100 = hardware(gpu_type="A100")
    workload = Workload([asking(1, gpus=2, gpu_type="A100"), asking(2, gpus=2, topology="nvlink!")])
    assert (workload.choosy.waiting, workload.choosy.known) == ({a100: 2}, {a100: 2}), "any GPU is good for the other"
    workload.apply(JobRespecified(job_id=1, job=asking(1)), NOW)
    assert (workload.choosy.waiting, workload.choosy.known) == ({}, {})
    workload = Workload([asking(3, JobState.SUCCEEDED, gpu_type="A100")])
    assert (workload.choosy.waiting, workload.choosy.known) == ({}, {a100: 1})
    assert workload.forget(3)
    assert workload.choosy.known == {}
