"""The simulated host: time, scripts and faults. What it shares with tmux is in tests/contract."""

from __future__ import annotations

from datetime import timedelta

import pytest

from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Killed, LaunchFailed, Lost
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import (
    ClaimFree,
    ClaimHeld,
    Launched,
    LaunchRefused,
    NotClaimed,
    ServerDown,
    Sessions,
    Unknown,
    Unreaped,
)
from researchflow_tmux.simulation.clock import EPOCH, VirtualClock
from researchflow_tmux.simulation.script import Script, Scripts
from researchflow_tmux.simulation.session_host import MemoryHost
from tests.tmux_fixtures import make_job, plan

FAILED = Exited(code=1, succeeded=False)


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.host = MemoryHost(self.clock, "ws1")

    def prepared(self, job: Job, number: int = 1) -> Attempt:
        return self.host.prepare(plan(job, number), job, {})[0]

    def started(self, script: Script, number: int = 1) -> Attempt:
        self.host.scripts.set("j1", script)
        attempt = self.prepared(make_job(1, ""), number)
        assert isinstance(self.host.launch(attempt), Launched)
        return attempt


@pytest.fixture
def world() -> World:
    return World()


def test_the_clock_stands_still_and_never_goes_back() -> None:
    clock = VirtualClock()
    assert clock.now() == EPOCH
    clock.advance(1.5)
    clock.advance_to(EPOCH)
    assert (clock.now(), clock.monotonic()) == (EPOCH + timedelta(seconds=1.5), 1.5)
    clock.reboot("other")
    assert clock.boot_id == "other"


def test_a_list_of_scripts_is_one_for_each_attempt_and_the_last_for_the_rest() -> None:
    scripts = Scripts({"a": [Script(duration_s=1), Script(duration_s=2)]}, default=Script(duration_s=9))
    assert [scripts.of("a", number).duration_s for number in (1, 2, 3)] == [1, 2, 2]
    assert scripts.of("b", 1).duration_s == 9


def test_an_attempt_ends_when_its_script_says(world: World) -> None:
    attempt = world.started(Script(duration_s=10, claim_delay_s=2, outcome=FAILED, peak_rss_mib=5.0))
    assert world.host.next_end() == EPOCH + timedelta(seconds=12)
    assert world.host.observe(attempt) == NotClaimed()
    world.clock.advance(2)
    assert isinstance(world.host.observe(attempt), ClaimHeld)
    assert world.host.runners() == [attempt.key]
    world.clock.advance(10)
    seen = world.host.observe(attempt)
    assert seen == Ended(
        outcome=FAILED,
        started_at=EPOCH + timedelta(seconds=2),
        ended_at=EPOCH + timedelta(seconds=12),
        peak_rss_mib=5.0,
        ran_s=10.0,
    )
    assert (world.host.next_end(), world.host.runners()) == (None, [])


def test_time_may_pass_unobserved(world: World) -> None:
    attempt = world.started(Script(duration_s=10))
    world.clock.advance(1000)
    seen = world.host.observe(attempt)
    assert isinstance(seen, Ended)
    assert seen.ended_at == EPOCH + timedelta(seconds=10)


def test_stopping_takes_its_time(world: World) -> None:
    attempt = world.started(Script(duration_s=None, stop_delay_s=5))
    assert world.host.next_end() is None
    world.host.stop(attempt, "user", "")
    world.host.stop(attempt, "scheduler", "")
    world.clock.advance(4)
    assert isinstance(world.host.observe(attempt), ClaimHeld)
    world.clock.advance(1)
    seen = world.host.observe(attempt)
    assert isinstance(seen, Ended)
    assert seen.outcome == Killed(by="user", signal=15)


def test_a_script_that_loses_its_runner(world: World) -> None:
    attempt = world.started(Script(duration_s=10, outcome=Lost(), survivors=2))
    world.clock.advance(10)
    seen = world.host.observe(attempt)
    assert isinstance(seen, ClaimFree)
    assert len(seen.survivors) == 2
    assert world.host.destroy(attempt) == ()
    assert world.host.observe(attempt) == ClaimFree(started_at=EPOCH)


def test_what_cannot_be_killed_stays(world: World) -> None:
    attempt = world.started(Script(duration_s=10, unkillable=1))
    world.clock.advance(10)
    seen = world.host.observe(attempt)
    assert isinstance(seen, Unreaped)
    assert world.host.destroy(attempt) == seen.pids
    assert len(seen.pids) == 1


def test_a_launch_that_fails_has_no_start(world: World) -> None:
    attempt = world.started(Script(duration_s=0, outcome=LaunchFailed(reason="no such program")))
    seen = world.host.observe(attempt)
    assert isinstance(seen, Ended)
    assert seen.started_at is None


def test_a_silent_tmux_says_nothing_and_does_nothing(world: World) -> None:
    attempt = world.started(Script(duration_s=None))
    world.host.faults.silent = "stopped"
    assert world.host.snapshot() == Unknown(why="stopped")
    assert world.host.launch(attempt) == Unknown(why="stopped")
    world.host.close_sessions([(attempt.session, "ws1/1.1")])
    assert isinstance(world.host.observe(attempt), ClaimHeld), "files need no tmux"
    world.host.faults.silent = None
    assert isinstance(world.host.snapshot(), Sessions)


def test_unreadable_files_and_a_full_disk(world: World) -> None:
    attempt = world.started(Script(duration_s=None))
    world.host.faults.unreadable = "stale handle"
    assert world.host.observe(attempt) == Unknown(why="stale handle")
    world.host.faults.disk_full = True
    with pytest.raises(StoreError):
        world.prepared(make_job(2, ""))


def test_refused_launches(world: World) -> None:
    attempt = world.prepared(make_job(1, ""))
    world.host.faults.refuse = LaunchRefused(why="full", host=True)
    world.host.faults.refuse_count = 1
    assert world.host.launch(attempt) == LaunchRefused(why="full", host=True)
    assert isinstance(world.host.launch(attempt), Launched)


def test_a_launch_whose_answer_is_lost_has_happened(world: World) -> None:
    attempt = world.prepared(make_job(1, ""))
    world.host.faults.lost_answers = 1
    assert isinstance(world.host.launch(attempt), Unknown)
    assert isinstance(world.host.observe(attempt), ClaimHeld)
    assert isinstance(world.host.launch(attempt), Launched)
    assert world.host.starts == [attempt.key]


def test_when_the_server_dies_attempts_run_on(world: World) -> None:
    attempt = world.started(Script(duration_s=None))
    world.host.kill_server()
    assert isinstance(world.host.snapshot(), ServerDown)
    assert isinstance(world.host.observe(attempt), ClaimHeld)
    world.host.launch(attempt)
    assert world.host.starts == [attempt.key], "the claim keeps a second runner from it"


def test_a_reboot_ends_everything_without_a_record(world: World) -> None:
    attempt = world.started(Script(duration_s=None, survivors=3))
    world.host.reboot()
    assert world.host.observe(attempt) == ClaimFree(started_at=EPOCH)
    assert isinstance(world.host.snapshot(), ServerDown)


def test_a_runner_lost_before_its_claim_claimed_nothing(world: World) -> None:
    attempt = world.started(Script(duration_s=10, claim_delay_s=5))
    world.host.lose_runner(attempt.key)
    world.clock.advance(60)
    assert world.host.observe(attempt) == NotClaimed()
    assert world.host.fence(attempt)
