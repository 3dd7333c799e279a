"""Room on the GPU over time: what is promised, what is measured, grace periods, and the machine's memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from researchflow_tmux.domain.errors import RankError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.limits import GpuLimits, RoomRules
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import GpuInfo
from researchflow_tmux.engine.decide import explain
from researchflow_tmux.simulation.load import JobLoad
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World

GIB = 1024


def runs(world: World) -> list[str]:
    """Names of the jobs that run."""
    return sorted(job.name for job in world.jobs() if job.state is JobState.ACTIVE)


def waits(world: World, name: str) -> Reason:
    """Why a job waits, as `status` would say."""
    workload = world.engine.workload
    return explain(workload, world.engine.look(), world.clock.now())[world.job(name).id]


def started_s(world: World, name: str) -> float:
    """When its latest attempt started, in seconds from the beginning."""
    at = world.job(name).started_at
    assert at is not None, world.summary()
    return (at - beginning(world)).total_seconds()


def beginning(world: World) -> datetime:
    job: Job = world.jobs()[0]
    return job.queued_at


def uses(gib: float, util_pct: float = 50.0, *, ramp_s: float = 0.0, **script: Any) -> Script:
    return Script(load=JobLoad(memory_mib=gib * GIB, util_pct=util_pct, ramp_s=ramp_s), **script)


# -- declared memory


def test_a_job_that_has_not_allocated_yet_still_holds_its_memory() -> None:
    slow = uses(14, ramp_s=300.0, duration_s=600.0)
    world = World({"a": slow, "b": slow, "c": uses(4, duration_s=30.0)}, gpus=1, jobs_per_gpu=0)
    world.add("a", "b", needs={"gpu_memory_mib": 14 * GIB})
    world.add("c", needs={"gpu_memory_mib": 4 * GIB})
    world.run(20.0)
    assert world.probe.read()[0].used_mib == pytest.approx(14 * GIB * 20 / 300 + 4 * GIB, abs=20), "ramping up"
    assert runs(world) == ["a", "c"], "the third fits beside the first, the second does not, though it is nearly empty"
    reason = waits(world, "b")
    assert (reason.code, reason.text) == (
        "threshold",
        "GPU 0: 6.0 GiB of 24.0 GiB neither used nor promised, 14.0 GiB needed",
    )
    world.finish()
    assert started_s(world, "b") == pytest.approx(600.0, abs=1.0), "it starts when the memory is given back"


def test_what_a_job_really_uses_counts_when_it_is_more_than_it_declared() -> None:
    world = World({"liar": uses(20, duration_s=100.0)}, gpus=1, jobs_per_gpu=0)
    world.add("liar", needs={"gpu_memory_mib": 2 * GIB})
    world.run(10.0)
    world.add("honest", needs={"gpu_memory_mib": 8 * GIB})
    world.run(10.0)
    assert "4.0 GiB of 24.0 GiB neither used nor promised" in waits(world, "honest").text
    world.finish()


def test_declared_memory_survives_the_scheduler() -> None:
    world = World({"a": uses(14, ramp_s=300.0, duration_s=200.0)}, gpus=1, jobs_per_gpu=0)
    world.add("a", "b", needs={"gpu_memory_mib": 14 * GIB})
    world.run(5.0)
    world.restart()
    world.run(5.0)
    assert runs(world) == ["a"]


def test_every_gpu_is_looked_at_and_nobody_blocks_whom_he_cannot_help() -> None:
    world = World(gpus=3, jobs_per_gpu=0)
    world.probe.intrude("gpu-0", 4001, 20 * GIB)
    world.probe.intrude("gpu-1", 4002, 23 * GIB)
    world.probe.intrude("gpu-2", 4003, 12 * GIB)
    world.add("huge", needs={"gpu_memory_mib": 16 * GIB})
    world.add("wide", gpus=2, needs={"gpu_memory_mib": 10 * GIB})
    world.add("fits", needs={"gpu_memory_mib": 10 * GIB})
    world.run(5.0)
    assert runs(world) == ["fits"]
    assert world.engine.workload.attempts[3, 1].allocation.indices == (2,)
    assert waits(world, "huge").code == "threshold"
    assert waits(world, "wide").code == "threshold"


def test_shares_of_their_own() -> None:
    world = World(gpus=1, jobs_per_gpu=1)
    world.add("half", "other half", needs={"share": 0.5})
    world.add("whole")
    world.run(5.0)
    assert runs(world) == ["half", "other half"]
    assert waits(world, "whole").code == "capacity"
    world.finish()


def test_a_smaller_share_than_the_usual_still_gets_in_when_the_usual_does_not() -> None:
    world = World(gpus=1, jobs_per_gpu=2)
    world.add("most", needs={"share": 0.75})
    world.run(1.0)
    world.add("usual")
    world.add("small", needs={"share": 0.25})
    world.run(1.0)
    assert runs(world) == ["most", "small"]


# -- thresholds


def test_max_util_looks_at_a_whole_minute_and_wakes_by_itself() -> None:
    limits = RoomRules(limits=GpuLimits(max_util_pct=40.0))
    world = World({"a": uses(1, 90.0, duration_s=130.0)}, gpus=1, jobs_per_gpu=4, room=limits, sweep_s=30.0)
    world.add("a")
    world.run(59.0)
    assert runs(world) == [], "six seconds, or fifty-nine, are no minute: unknown is not free"
    reason = waits(world, "a")
    assert (reason.code, reason.text) == ("threshold", "GPU 0: how busy it is must be seen for 60 s first (max_util)")
    assert reason.until is not None
    world.run(2.0)
    assert runs(world) == ["a"]
    assert started_s(world, "a") == pytest.approx(60.0, abs=0.5), "at once, long before the next sweep"
    # An idle minute is still most of what was seen: another job may join it.
    world.add("b")
    world.run(0.5)
    assert runs(world) == ["a", "b"]
    world.run(80.0)
    world.add("c")
    world.run(0.5)
    assert "limit 40 % (max_util)" in waits(world, "c").text
    world.finish()
    assert started_s(world, "c") > 191.0, "and a pause of a few seconds is no free GPU either"


def test_a_reading_that_fails_now_and_then_is_no_hole_and_a_long_silence_is() -> None:
    world = World(gpus=1, room=RoomRules(limits=GpuLimits(max_util_pct=40.0)))
    world.add("a")
    for second in (12.0, 30.0, 48.0):
        world.at(second, lambda: world.probe.fail_all("no answer"))
        world.at(second + 6.0, lambda: world.probe.fail_all(None))
    world.run(75.0)
    assert started_s(world, "a") == pytest.approx(60.0, abs=5.0)
    world.add("b")
    world.probe.fail_all("no answer")
    world.run(40.0)
    world.probe.fail_all(None)
    world.run(50.0)
    assert "b" not in runs(world)
    world.run(15.0)
    assert "b" in runs(world)


def test_max_memory_of_the_workspace_and_of_one_job() -> None:
    world = World(gpus=1, jobs_per_gpu=0, room=RoomRules(limits=GpuLimits(max_memory_pct=50.0), grace_s=0.0))
    world.probe.intrude("gpu-0", 4001, 15 * GIB)
    world.add("usual")
    world.add("tolerant", needs={"limits": GpuLimits(max_memory_pct=90.0)})
    world.run(5.0)
    assert runs(world) == ["tolerant"]
    assert waits(world, "usual").text == (
        "GPU 0: 15.0 GiB of 24.0 GiB in use or promised (63 %), limit 50 % (max_memory)"
    )
    world.probe.intrude("gpu-0", 4001, 0)
    world.run(6.0)
    assert "usual" in runs(world), "seen at the next sweep"


def test_max_processes_counts_everybodys() -> None:
    world = World(gpus=1, jobs_per_gpu=0, room=RoomRules(limits=GpuLimits(max_processes=2), grace_s=0.0))
    world.probe.intrude("gpu-0", 4001, 10)
    world.add("a", "b")
    world.run(5.0)
    assert runs(world) == ["a"]
    assert "2 processes on it, limit 2" in waits(world, "b").text
    world.finish()


def test_what_cannot_be_read_is_not_free_for_any_limit() -> None:
    world = World(gpus=1, jobs_per_gpu=0)
    world.probe.fail("gpu-0", "Xid 79")
    world.add("plain")
    world.add("careful", needs={"gpu_memory_mib": GIB})
    world.run(5.0)
    assert "careful" not in runs(world)
    assert waits(world, "careful").code == "unreadable"
    world.probe.fail("gpu-0", None)
    world.run(6.0)
    assert "careful" in runs(world)


def test_thresholds_are_looked_at_again_at_the_moment_of_the_start() -> None:
    world = World({"a": uses(1, duration_s=20.0)}, gpus=1, room=RoomRules(limits=GpuLimits(max_memory_pct=50.0)))
    world.add("a", "b")
    world.run(19.0)
    assert runs(world) == ["a"]
    # Right before a ends somebody fills the GPU: no sweep comes by in between.
    world.at(world.virtual.monotonic() + 0.9, lambda: world.probe.intrude("gpu-0", 4001, 20 * GIB))
    world.run(1.5)
    assert runs(world) == []
    assert "20.0 GiB of 24.0 GiB in use" in waits(world, "b").text
    world.probe.intrude("gpu-0", 4001, 0)
    world.finish()


# -- grace


def test_grace_after_a_start_and_after_an_end_and_it_wakes_by_itself() -> None:
    world = World({"a": uses(1, duration_s=100.0)}, gpus=1, jobs_per_gpu=0, room=RoomRules(grace_s=70.0), sweep_s=60.0)
    world.add("a", "b")
    world.run(1.0)
    assert runs(world) == ["a"]
    reason = waits(world, "b")
    assert (reason.code, reason.text) == ("grace", "GPU 0: a job started there less than 70 s ago (grace_period)")
    world.run(95.0)
    assert started_s(world, "b") == pytest.approx(70.0, abs=0.5), "no sweep comes by at that time"
    world.run(15.0)  # a ended at 100, b at 100
    assert runs(world) == []
    world.add("c")
    world.run(5.0)
    assert waits(world, "c").text == "GPU 0: the last job there ended less than 70 s ago (grace_period)"
    world.finish()
    assert started_s(world, "c") == pytest.approx(170.0, abs=0.5)


def test_the_grace_period_survives_the_scheduler() -> None:
    world = World({"a": uses(1, duration_s=10.0)}, gpus=1, room=RoomRules(grace_s=120.0))
    world.add("a", "b")
    world.run(15.0)
    assert runs(world) == []
    world.restart()
    world.run(50.0)
    assert runs(world) == []
    world.finish()
    assert started_s(world, "b") == pytest.approx(130.0, abs=0.5)


def test_a_clock_that_was_set_back_does_not_make_it_last_for_ever() -> None:
    from datetime import timedelta

    world = World({"a": uses(1, duration_s=10.0)}, gpus=1, room=RoomRules(grace_s=30.0))
    world.add("a", "b")
    world.run(15.0)
    world.clock.offset = timedelta(hours=-3)
    world.run(10.0)
    assert runs(world) == ["b"]
    world.finish()


def test_thresholds_alone_start_one_job_a_minute_while_it_does_not_show() -> None:
    world = World(
        {name: uses(6, ramp_s=20.0, duration_s=1000.0) for name in "abcdef"},
        gpus=1,
        jobs_per_gpu=0,
        room=RoomRules(limits=GpuLimits(max_memory_pct=60.0)),
    )
    world.add(*"abcdef")
    world.run(30.0)
    assert runs(world) == ["a"]
    world.run(300.0)
    assert runs(world) == ["a", "b", "c"], "18 of 24 GiB are in use then"
    assert [started_s(world, name) for name in "abc"] == pytest.approx([0.0, 60.0, 120.0], abs=1.0)


# -- how many, and the machine's memory


def test_max_jobs_is_over_all_kinds() -> None:
    world = World(gpus=4, cpu_places=4, room=RoomRules(max_jobs=3))
    world.add("cpu1", "cpu2", gpus=0)
    world.add("g1", "g2")
    world.run(1.0)
    assert runs(world) == ["cpu1", "cpu2", "g1"]
    assert str(waits(world, "g2")) == "as many jobs run as may: 3 (max_jobs)"
    world.finish()


def test_no_start_while_the_machines_memory_is_short_or_unknown() -> None:
    world = World(gpus=2, room=RoomRules(max_ram_pct=60.0))
    world.ram.others_mib = 40 * GIB
    world.add("a")
    world.add("cpu", gpus=0)
    world.run(10.0)
    assert runs(world) == []
    assert str(waits(world, "a")) == "too little memory in the machine: 62 % in use, limit 60 % (max_ram)"
    world.ram.others_mib, world.ram.broken = 0, True
    world.run(10.0)
    assert runs(world) == []
    assert "it cannot be read" in str(waits(world, "cpu"))
    world.ram.broken = False
    world.run(6.0)
    assert runs(world) == ["a", "cpu"]
    world.finish()


def test_the_job_that_uses_most_waits_again_and_loses_nothing_by_it() -> None:
    world = World(
        {
            "small": Script(duration_s=300.0, ram_mib=8 * GIB),
            "large": Script(duration_s=300.0, ram_mib=40 * GIB),
            "late": Script(duration_s=300.0, ram_mib=12 * GIB),
        },
        gpus=3,
        room=RoomRules(max_ram_pct=80.0, kill_ram_pct=90.0),
    )
    world.add("small", "large")
    world.run(20.0)
    assert runs(world) == ["large", "small"]
    world.add("late")
    world.run(15.0)
    assert runs(world) == ["late", "small"]
    large = world.job("large")
    assert (large.state, large.retries_used, large.ram_mib) == (JobState.QUEUED, 0, 40 * GIB)
    assert large.reason is not None
    assert "too little memory in the machine: it was stopped to make room" in str(large.reason)
    assert world.outcomes("large")[0] == "Killed"
    world.run(120.0)
    assert runs(world) == ["late", "small"], "it would bring the machine to its limit again"
    assert "it used 40960 MiB when it was stopped" in str(waits(world, "large"))
    world.finish()
    assert world.states() == dict.fromkeys(("small", "large", "late"), "succeeded")
    assert [world.starts(name) for name in ("small", "large", "late")] == [1, 2, 1]
    assert (world.job("large").ram_stops, world.job("large").ram_mib) == (0, None)


def test_a_short_peak_a_failed_reading_and_other_peoples_memory_stop_nobody() -> None:
    world = World({"a": Script(duration_s=200.0, ram_mib=100)}, gpus=1, room=RoomRules(kill_ram_pct=90.0))
    world.add("a")
    world.run(10.0)
    world.ram.broken = True
    world.run(20.0)
    world.ram.broken = False
    world.ram.others_mib = 63 * GIB
    world.run(30.0)
    assert runs(world) == ["a"], "a hundred MiB would help nobody"
    told = [text for text in world.notices() if "none is stopped" in text]
    assert len(told) == 1, "and that is said once"
    world.finish()


def test_one_that_is_too_large_for_the_machine_is_tried_alone_and_later_each_time() -> None:
    world = World({"huge": Script(duration_s=500.0, ram_mib=63 * GIB)}, gpus=1, room=RoomRules(kill_ram_pct=90.0))
    world.add("huge")
    world.run(1000.0)
    starts = world.starts("huge")
    assert 3 <= starts <= 7, "it neither starts all the time nor is it forgotten"
    assert world.job("huge").retries_used == 0
    assert world.job("huge").state in (JobState.QUEUED, JobState.ACTIVE)


# -- order


class Backwards:
    """A user's comparison: the highest index first."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[int, int]]] = []
        self.error: str | None = None

    def rank(self, infos: Sequence[GpuInfo]) -> list[str]:
        self.asked.append([(info.index, info.user_process_num) for info in infos])
        if self.error is not None:
            raise RankError(self.error)
        return [info.uuid for info in sorted(infos, key=lambda info: -info.index)]


def test_the_users_order_is_asked_anew_after_each_start_on_a_gpu() -> None:
    order = Backwards()
    world = World(gpus=2, jobs_per_gpu=2, room=RoomRules(order="mine:best"), ranker=order)
    world.add("a", "b", "c", "d")
    world.run(2.0)
    where = [attempt.allocation.indices for attempt in world.engine.workload.attempts.values()]
    assert where == [(1,), (1,), (0,), (0,)]
    assert [dict(seen).get(1) for seen in order.asked[:3]] == [0, 1, 2], "each time it sees the start before"
    world.finish()


def test_an_order_that_fails_is_said_once_and_jobs_go_on() -> None:
    order = Backwards()
    order.error = "gpu_order mine:best: it returned None"
    world = World(gpus=2, jobs_per_gpu=2, room=RoomRules(order="mine:best"), ranker=order)
    world.add("a", "b", "c", "d")
    world.run(2.0)
    assert len(runs(world)) == 4
    told = [text for text in world.notices() if "gpu_order" in text]
    assert told == ["gpu_order mine:best: it returned None; meanwhile jobs are spread over the GPUs"]
    world.finish()


# -- where jobs land


def test_a_job_on_a_gpu_that_is_not_its_own_is_told_once() -> None:
    world = World({"a": uses(1, duration_s=60.0), "b": uses(1, duration_s=60.0)}, gpus=3, leased=True)
    world.add("a", "b")
    world.run(2.0)
    pids = {key: run.pid for key, run in world.host._runs.items()}
    world.leases.put_under(pids[1, 1], 7001)
    world.leases.put_under(pids[2, 1], 7002)
    world.probe.intrude("gpu-2", 7001, 500)  # a, which was given GPU 0
    world.probe.intrude("gpu-1", 7002, 500)  # b, on its own
    for _ in range(3):
        world.engine.room.read(world.engine.workload)
        world.run(5.0)
    told = [text for text in world.notices() if "but was given" in text]
    assert len(told) == 1
    assert told[0].startswith("uses GPU 2 (pid 7001) but was given GPU 0")
    world.finish()
