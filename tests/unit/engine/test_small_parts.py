"""Kept sessions, pauses, and what may be used right now."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.domain.job import JobSpec, JobState
from researchflow_tmux.domain.limits import GpuLimits
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.resources import GpuDevice, Ticket
from researchflow_tmux.engine.decide import Capacity
from researchflow_tmux.engine.kept_sessions import SLACK, KeptSessions
from researchflow_tmux.engine.pause import Pause
from researchflow_tmux.engine.room import READING_LASTS_S, SAMPLE_S, RoomReader
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.ports import Session
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.gpus import ScriptedGpus
from researchflow_tmux.simulation.leases import ScriptedLeases
from tests.unit.engine.samples import NOW, active, attempt, device, job, slots, spec, workload

# -- kept sessions


def kept(oks: int, failures: int) -> KeptSessions:
    found = KeptSessions()
    for number in range(max(oks, failures)):
        if number < failures:
            found.add(f"bad{number}", "t", ok=False)
        if number < oks:
            found.add(f"ok{number}", "t", ok=True)
    return found


@pytest.mark.parametrize(
    ("oks", "failures", "keep", "keep_successes", "closed"),
    [
        (0, 0, 3, True, []),
        (3, 0, 3, True, []),
        (6, 0, 3, True, []),  # closed in batches
        (7, 0, 3, True, ["ok0", "ok1", "ok2", "ok3"]),
        (2, 6, 3, True, ["ok0", "ok1", "bad0", "bad1", "bad2"]),
        (0, 7, 3, True, ["bad0", "bad1", "bad2", "bad3"]),
        (2, 1, 3, False, ["ok0", "ok1"]),
        (2, 1, 0, True, ["ok0", "ok1", "bad0"]),
        (0, 20 + SLACK, 20, True, []),
        (0, 21 + SLACK, 20, True, [f"bad{number}" for number in range(1 + SLACK)]),
    ],
)
def test_which_sessions_are_closed(oks: int, failures: int, keep: int, keep_successes: bool, closed: list[str]) -> None:
    sessions = kept(oks, failures)
    assert [name for name, _ in sessions.to_close(keep=keep, keep_successes=keep_successes)] == closed
    assert sessions.to_close(keep=keep, keep_successes=keep_successes) == [], "each is closed once"


def test_an_earlier_schedulers_sessions_are_adopted_oldest_first() -> None:
    def session(name: str, tag: str, created_at: float, *, dead: bool = True) -> Session:
        return Session(name=name, tag=tag, pane_pid=1, pane_dead=dead, attached=0, created_at=created_at)

    found = KeptSessions()
    found.adopt(
        [
            session("late", "ws/2.1", 9.0),
            session("early", "ws/1.1", 1.0),
            session("live", "ws/3.1", 0.0),
            session("alive pane", "ws/4.1", 0.0, dead=False),
            session("scheduler", "ws/scheduler", 0.0),
        ],
        {"ws/3.1"},
        {1: job(1, JobState.SUCCEEDED), 2: job(2, JobState.FAILED)},
    )
    assert found.to_close(keep=0, keep_successes=True) == [("early", "ws/1.1"), ("late", "ws/2.1")]


# -- pause


def test_a_pause_grows_with_each_refusal_in_a_row() -> None:
    clock = VirtualClock()
    pause = Pause(clock)
    assert (pause.left_s, pause.reason) == (0.0, None)
    lengths = []
    for _ in range(9):
        pause.begin("disk full")
        lengths.append(pause.left_s)
        clock.advance(pause.left_s)
        assert (pause.left_s, pause.reason) == (0.0, None)
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    pause.over()
    pause.begin("disk full")
    assert pause.left_s == 1


def test_a_pause_says_why_until_when_and_whether_that_is_news() -> None:
    pause = Pause(VirtualClock(NOW))
    assert [pause.begin(why) for why in ("a", "a", "b", "a")] == [True, False, True, True]
    reason = pause.reason
    assert reason is not None
    assert (reason.code, reason.text) == (ReasonCode.HOST, "a")
    assert reason.until is not None
    assert (reason.until - NOW).total_seconds() == pause.left_s


# -- room


class Bench:
    """Two real GPUs as the scheduler sees them."""

    def __init__(self, kind: str = "nvml", share: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.devices: list[GpuDevice] = [device(index, kind=kind, leased=kind == "nvml") for index in range(2)]
        self.probe = ScriptedGpus(self.devices)
        self.leases = ScriptedLeases()
        self.reader = RoomReader(
            devices=self.devices,
            probe=self.probe,
            leases=self.leases,
            clock=self.clock,
            share=share,
            max_cpu_jobs=3,
            own_tag_prefix="ws/",
        )

    def look(self, known: Workload | None = None, *, fresh: bool = True) -> Capacity:
        return self.reader.capacity(known or workload(), None, fresh=fresh)

    def open(self, known: Workload | None = None) -> list[int]:
        """Indices of the GPUs that admit a job now."""
        self.clock.advance(10.0)
        return [view.device.index for view in self.look(known).views if view.admits(self.reader.share)]


def spec_minding_util() -> JobSpec:
    one = spec("j1")
    return replace(one, request=replace(one.request, limits=GpuLimits(max_util_pct=50.0)))


def test_a_gpu_filled_by_others_is_closed_while_they_are_there() -> None:
    bench = Bench()
    bench.probe.intrude("g0", 4242, 20_000)
    assert bench.open() == [1]
    bench.probe.intrude("g0", 4242, 0)
    assert bench.open() == [0, 1]


def test_our_own_processes_close_nothing() -> None:
    bench = Bench(share=0.5)
    one, running = active(1, slots(0, share=0.5))
    running = attempt(1, allocation=running.allocation, phase=Running(started_at=NOW, runner_pid=4242))
    bench.probe.intrude("g0", 4242, 20_000)
    assert bench.open(workload(one, attempts=(running,))) == [0, 1]
    assert bench.open() == [1], "without our runner it is a stranger's"


def test_what_cannot_be_read_is_closed() -> None:
    bench = Bench()
    bench.probe.fail("g0", "fell off the bus")
    assert bench.open() == [1]
    bench.probe.fail_all("driver gone")
    assert bench.open() == []
    assert {reason.code for reason in bench.reader.blocked.values()} == {ReasonCode.UNREADABLE}
    bench.probe.fail_all(None)
    bench.leases.fail("permission denied")
    assert bench.open() == []
    bench.leases.fail(None)
    assert bench.open() == [1]


def test_leases_of_others_close_until_they_are_given_back_even_on_all_gpus() -> None:
    bench = Bench()
    for uuid in ("g0", "g1"):
        bench.leases.hold(Ticket(uuid=uuid, share=1.0, holder="bob", tag="other/1.1"))
    assert bench.open() == []
    assert [ticket.holder for ticket in bench.reader.foreign_tickets()] == ["bob", "bob"]
    bench.leases.release("g1", "other/1.1")
    assert bench.open() == [1]


def test_a_burst_of_launches_reads_once_and_showing_never_reads() -> None:
    bench = Bench()
    bench.look(fresh=False)
    assert bench.reader.readings == []
    bench.look()
    first = bench.reader.readings
    assert len(first) == 2
    bench.clock.advance(READING_LASTS_S)
    bench.look()
    assert bench.reader.readings is first
    bench.clock.advance(0.01)
    bench.look()
    assert bench.reader.readings is not first


def test_forgetting_reads_at_once() -> None:
    bench = Bench()
    bench.look()
    first = bench.reader.readings
    bench.reader.forget()
    bench.look()
    assert bench.reader.readings is not first


def test_with_every_slot_taken_by_our_own_nothing_is_read() -> None:
    bench = Bench()
    pairs = [active(1, slots(0)), active(2, slots(1))]
    known = workload(*(one for one, _ in pairs), attempts=tuple(live for _, live in pairs))
    bench.look(known)
    assert bench.reader.readings == []


def test_changed_settings_forget_nothing_that_takes_time_to_learn() -> None:
    bench = Bench()
    for _ in range(13):
        bench.reader.read(workload())
        bench.clock.advance(5.0)
    load = bench.reader.seen.loads["g0"]
    assert (load.util_pct, load.processes) == (0.0, 0), "a whole minute was seen"
    other = Bench()
    fresh = RoomReader(
        devices=bench.devices,
        probe=bench.probe,
        leases=bench.leases,
        clock=bench.clock,
        share=0.5,
        max_cpu_jobs=1,
        own_tag_prefix="ws/",
    )
    fresh.go_on_from(bench.reader)
    fresh.read(workload())
    assert fresh.seen.loads["g0"].util_pct == 0.0
    other.reader.read(workload())
    assert other.reader.seen.loads["g0"].util_pct is None, "and without that it would have to begin anew"


def test_gpus_are_sampled_only_while_somebody_minds_how_busy_they_were() -> None:
    bench = Bench()
    waiting = workload(job(1))
    minding = workload(replace(job(1), spec=spec_minding_util()))
    bench.reader.read(waiting)
    assert bench.reader.due_s(waiting, None) == float("inf")
    assert bench.reader.due_s(minding, None) == SAMPLE_S
    bench.clock.advance(SAMPLE_S)
    first = bench.reader.readings
    bench.reader.keep_up(waiting)
    assert bench.reader.readings is first
    bench.reader.keep_up(minding)
    assert bench.reader.readings is not first
    assert bench.reader.due_s(workload(), None) == float("inf"), "and while there is a job"


def test_simulated_gpus_are_nobody_elses() -> None:
    bench = Bench(kind="simulated")
    bench.probe.intrude("g0", 4242, 20_000)
    assert bench.open() == [0, 1]


def test_cpu_places_are_what_is_left() -> None:
    bench = Bench()
    one, live = active(1, slots())
    assert bench.look(workload(one, attempts=(live,))).cpu_places == 2
