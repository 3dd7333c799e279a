"""What goes wrong around the scheduler, one thing at a time: tmux, the machine, the disk, the clock, other people."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from researchflow_tmux.domain.attempt import Exited, Lost, Planned, SlotTaken, TimedOut
from researchflow_tmux.domain.events import AttemptEnded
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.resources import Ticket
from researchflow_tmux.ports import LaunchRefused
from researchflow_tmux.simulation.clock import EPOCH
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World

BAD = Exited(code=1, succeeded=False)
ENDLESS = Script(duration_s=None)
DONE, FAILED, CANCELLED, QUEUED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED


def running(world: World, *names: str) -> None:
    world.run_until(lambda: all(world.starts(name) and world.state(name) is JobState.ACTIVE for name in names))
    world.run(1.0)


# -- tmux --------------------------------------------------------------------------------------------------------------


def test_the_tmux_server_is_killed() -> None:
    world = World({"a": Script(duration_s=60.0), "b": Script(duration_s=5.0)}, gpus=1)
    world.add("a", "b")
    world.run(10.0)
    world.host.kill_server()
    world.run(10.0)
    assert world.state("a") is JobState.ACTIVE, "its runner lives on"
    assert world.engine.workload.attempts[world.job("a").id, 1].phase.headless  # type: ignore[union-attr]
    world.finish()
    assert world.states() == {"a": "succeeded", "b": "succeeded"}
    assert len(world.host.starts) == 2


def test_a_silent_tmux_changes_nothing_and_is_waited_for() -> None:
    world = World({"a": Script(duration_s=30.0)}, gpus=4)
    world.add("a", "b")
    world.run(5.0)
    world.host.faults.silent = "no answer within 5 s"
    world.add("c")
    world.run(120.0)
    assert world.states() == {"a": "succeeded", "b": "succeeded", "c": "running"}
    assert world.starts("c") == 0
    assert "no answer within 5 s" in world.notices()
    world.host.faults.silent = None
    world.finish()
    assert world.states()["c"] == "succeeded"
    assert world.starts("c") == 1


def test_a_pause_is_not_spent_spinning() -> None:
    """More starts than one tick decides, and then tmux falls silent."""
    world = World(gpus=50)
    world.host.faults.silent = "no answer"
    world.add(*(f"j{number}" for number in range(50)))
    world.step()
    assert world.engine.halted() is not None
    assert world.engine.wait_s() > 0
    world.run(5.0)
    world.host.faults.silent = None
    world.finish()
    assert set(world.states().values()) == {"succeeded"}
    assert len(world.host.starts) == 50


def test_a_launch_whose_answer_got_lost_is_found_running() -> None:
    world = World()
    world.host.faults.lost_answers = 1
    world.add("a")
    world.finish()
    assert (world.states(), world.outcomes("a")) == ({"a": "succeeded"}, ["Exited"])


def test_a_launch_is_not_given_up_when_its_runner_was_faster() -> None:
    world = World()
    world.add("a")
    world.run(1.0)
    context, attempt = world.engine.context, world.engine.workload.attempts[1, 1]
    context.give_up_launch(attempt, "tmux said no", host=True, now=world.clock.now())
    assert world.engine.workload.attempts[1, 1] == attempt
    world.finish()
    assert world.outcomes("a") == ["Exited"]


def test_a_short_job_is_seen_to_end_without_waiting_for_a_sweep() -> None:
    world = World({"a": Script(duration_s=0.1)}, sweep_s=1000.0)
    world.add("a")
    world.finish(limit_s=5.0)
    recorded = [event.at for event in world.store.events() if isinstance(event.payload, AttemptEnded)]
    assert recorded == [EPOCH + timedelta(seconds=0.1)]


def test_a_refused_launch_is_tried_again_after_a_while() -> None:
    world = World()
    world.host.faults.refuse, world.host.faults.refuse_count = LaunchRefused(why="fork failed", host=True), 3
    world.add("a")
    world.step()
    assert world.engine.halted() is not None
    assert world.job("a").not_before is not None
    world.finish()
    assert world.outcomes("a") == ["LaunchFailed"] * 3 + ["Exited"]
    assert world.job("a").launch_failures == 0


def test_launches_refused_for_ever_end_the_job_after_a_bounded_number() -> None:
    world = World()
    world.host.faults.refuse, world.host.faults.refuse_count = LaunchRefused(why="fork failed", host=True), 99
    world.add("a")
    world.finish()
    assert world.outcomes("a") == ["LaunchFailed"] * 6
    assert str(world.job("a").reason) == "could not be launched: fork failed"


def test_a_launch_that_only_this_job_cannot_have_is_not_repeated() -> None:
    world = World()
    world.host.faults.refuse, world.host.faults.refuse_count = LaunchRefused(why="command too long", host=False), 1
    world.add("a")
    world.add("b")
    world.finish()
    assert world.states() == {"a": "failed", "b": "succeeded"}
    assert world.outcomes("a") == ["LaunchFailed"]


def test_waiting_for_a_slot_uses_up_no_launches() -> None:
    taken = Script(duration_s=0.0, outcome=SlotTaken(reason="GPU 0: bob"))
    world = World({"a": (*[taken] * 8, Script(duration_s=1.0))})

    def refuse() -> None:
        world.host.faults.refuse, world.host.faults.refuse_count = LaunchRefused(why="fork failed", host=True), 1

    world.add("a")
    world.step()
    world.run_until(lambda: len(world.outcomes("a")) == 7)
    refuse()
    world.finish()
    assert world.outcomes("a").count("SlotTaken") >= 7
    assert world.outcomes("a").count("LaunchFailed") == 1
    assert world.state("a") is DONE


@pytest.mark.parametrize("names", [("t_a_gpu0",), ("t_a_gpu0", "t_a_gpu1")])
def test_a_session_name_of_somebody_else_is_left_alone(names: tuple[str, ...]) -> None:
    world = World()
    world.host.foreign.update(names)
    world.add("a")
    world.finish()
    assert world.states() == {"a": "succeeded"}
    assert world.outcomes("a") == ["Exited"], "the same attempt under another name"
    assert any("t_a_gpu0 belongs to" in text for text in world.notices())


def test_both_names_taken_is_a_refused_launch() -> None:
    world = World(gpus=1)
    other = "t_a_gpu0_"
    world.host.foreign.add("t_a_gpu0")
    world.add("a")
    world.step()
    attempt = next(iter(world.engine.workload.attempts.values()))
    assert attempt.session.startswith(other)
    world.host.foreign.add(attempt.session)
    world.run(3.0)
    assert world.outcomes("a")[0] == "LaunchFailed"
    world.host.foreign.clear()
    world.finish()
    assert world.state("a") is DONE


# -- the machine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("restart_lost", "expected"), [(False, "failed"), (True, "succeeded")])
def test_a_reboot(restart_lost: bool, expected: str) -> None:
    world = World({"a": (Script(duration_s=60.0), Script(duration_s=5.0))}, gpus=1, restart_lost=restart_lost)
    world.add("a", "b")
    world.add("child", after=["a"])
    world.run(10.0)
    world.reboot()
    world.finish()
    assert world.states() == {
        "a": expected,
        "b": "succeeded",
        "child": "succeeded" if restart_lost else "skipped",
    }
    assert world.outcomes("a")[0] == "Lost"


@pytest.mark.parametrize("survivors", [0, 3])
@pytest.mark.parametrize("restart_lost", [False, True])
def test_a_runner_is_killed(survivors: int, restart_lost: bool) -> None:
    lost = Script(duration_s=5.0, outcome=Lost(), survivors=survivors)
    world = World({"a": (lost, Script(duration_s=5.0))}, restart_lost=restart_lost)
    world.add("a")
    world.finish()
    assert world.outcomes("a") == (["Lost", "Exited"] if restart_lost else ["Lost"])
    assert world.state("a") is (DONE if restart_lost else FAILED)


def test_processes_that_cannot_be_killed_keep_their_slot() -> None:
    world = World({"a": Script(duration_s=5.0, outcome=Lost(), survivors=2, unkillable=1)}, gpus=1)
    world.add("a", "b")
    world.run(60.0)
    assert world.states() == {"a": "failed", "b": "queued"}
    assert world.engine.workload.attempts[world.job("a").id, 1].quarantined
    spam = [text for text in world.notices() if "killed" in text]
    assert len(spam) <= 1, "said once, not at every look"
    world.restart()
    world.run(20.0)
    assert world.states()["b"] == "queued", "a restart does not forget it"
    world.host._runs[1, 1].script = Script()
    world.finish()
    assert world.states()["b"] == "succeeded"


def test_a_job_that_left_unkillable_processes_may_be_retried_elsewhere() -> None:
    world = World({"a": (Script(duration_s=5.0, outcome=BAD, unkillable=1), Script(duration_s=5.0))}, gpus=2)
    world.add("a", retries=1)
    world.add("b", "c")
    world.run(200.0)
    assert world.states() == {"a": "succeeded", "b": "succeeded", "c": "succeeded"}
    gpus = [attempt.allocation.indices for attempt in world.store.attempts_of(1)]
    assert gpus == [(0,), (1,)]


def test_files_that_cannot_be_read_say_nothing() -> None:
    world = World({"a": Script(duration_s=5.0)}, gpus=1)
    world.add("a", "b")
    world.run(2.0)
    world.host.faults.unreadable = "Stale file handle"
    world.run(300.0)
    assert world.states() == {"a": "running", "b": "queued"}
    world.tell("cancel", "a")
    world.run(300.0)
    assert world.states() == {"a": "running", "b": "queued"}
    world.host.faults.unreadable = None
    world.finish()
    assert world.states() == {"a": "succeeded", "b": "succeeded"}, "it had ended well before it was cancelled"


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_at_commit_launches_nothing_and_goes_on_later() -> None:
    world = World(gpus=2)
    world.add("a", "b", "c")
    world.store.fail_next_commit(times=4)
    world.run(4.0)
    assert world.host.starts == []
    world.finish()
    assert set(world.states().values()) == {"succeeded"}
    assert len(world.host.starts) == 3


def test_a_request_is_carried_out_once_although_the_disk_refuses_its_answer() -> None:
    world = World()
    world.store.fail_next_commit(times=3)
    world.ask("note", {"text": "said once"})
    for _ in range(4):
        world.tick()
    world.run(30.0)
    assert world.notices().count("said once") == 1


def test_a_full_disk_and_a_crash_lose_nothing() -> None:
    world = World(gpus=2)
    request = world.add("a", "b", "c")
    world.run(1.0)
    world.store.fail_next_commit(times=3)
    world.run(31.0)
    world.restart()
    world.finish()
    assert set(world.states().values()) == {"succeeded"}
    assert len(world.host.starts) == 3
    assert world.store.reply(request)


def test_a_full_disk_for_attempt_directories_keeps_the_queue() -> None:
    world = World()
    world.host.faults.disk_full = True
    world.add("a", "b")
    world.run(60.0)
    assert world.states() == {"a": "queued", "b": "queued"}
    reason = world.engine.halted()
    assert reason is None or "No space left" in reason.text
    world.host.faults.disk_full = False
    world.finish()
    assert set(world.states().values()) == {"succeeded"}


@pytest.mark.parametrize("kind", ["cancel", "requeue"])
def test_an_attempt_that_the_disk_kept_from_its_launch_can_be_stopped(kind: str) -> None:
    world = World(gpus=1)
    world.store.fail_next_commit(times=2)
    world.add("a")
    world.step()
    assert isinstance(world.engine.workload.attempts[1, 1].phase, Planned), "planned, and not saved"
    world.tell(kind, "a")
    world.finish(limit_s=120.0)
    assert world.states() == {"a": "cancelled" if kind == "cancel" else "succeeded"}


# -- other people ------------------------------------------------------------------------------------------------------


def test_a_slot_taken_by_somebody_else_costs_no_retry() -> None:
    taken = Script(duration_s=0.1, outcome=SlotTaken(reason="GPU 0: bob"))
    world = World({"a": (*[taken] * 12, Script(duration_s=2.0))})
    world.add("a", retries=1)
    world.finish()
    assert world.outcomes("a") == ["SlotTaken"] * 12 + ["Exited"]
    assert world.job("a").retries_used == 0


def test_gpus_leased_by_others_are_used_once_they_are_free() -> None:
    world = World(gpus=1, leased=True)
    world.leases.hold(Ticket(uuid="gpu-0", share=1.0, holder="bob's workspace", tag="other/1.1"))
    world.add("a")
    world.run(30.0)
    assert world.host.starts == []
    world.leases.release("gpu-0", "other/1.1")
    world.finish(limit_s=60.0)
    assert world.state("a") is DONE


def test_a_gpu_filled_by_others_is_used_once_it_is_free() -> None:
    world = World(gpus=1, leased=True)
    world.probe.intrude("gpu-0", 4242, 20_000)
    world.add("a")
    world.run(30.0)
    assert world.host.starts == []
    world.probe.intrude("gpu-0", 4242, 0)
    world.finish(limit_s=60.0)


@pytest.mark.parametrize("what", ["probe", "leases"])
def test_gpus_that_cannot_be_read_are_not_used(what: str) -> None:
    world = World(gpus=1, leased=True)
    broken = {"probe": world.probe.fail_all, "leases": world.leases.fail}[what]
    broken("driver gone")
    world.add("a")
    world.run(30.0)
    assert world.host.starts == []
    broken(None)
    world.finish(limit_s=60.0)


# -- retries, limits, the clock ----------------------------------------------------------------------------------------


def test_retries_wait_longer_each_time() -> None:
    world = World({"a": Script(duration_s=1.0, outcome=BAD)})
    world.add("a", retries=3)
    world.finish()
    attempts = world.store.attempts_of(1)
    gaps = [
        (after.planned_at - before.phase.ended_at).total_seconds()  # type: ignore[union-attr]
        for before, after in pairwise(attempts)
    ]
    assert gaps == [4.0, 8.0, 16.0]
    assert world.state("a") is FAILED


def test_a_time_limit_is_a_failure_that_may_be_retried() -> None:
    limited = Script(duration_s=10.0, outcome=TimedOut(limit_s=10.0))
    world = World({"a": limited, "b": (limited, Script(duration_s=1.0))})
    world.add("a")
    world.add("b", retries=1)
    world.finish()
    assert world.states() == {"a": "failed", "b": "succeeded"}
    assert str(world.job("a").reason) == "ran into its time limit: 10 s"


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(hours=3), timedelta(days=-400)])
def test_a_clock_that_jumps_delays_and_breaks_nothing(jump: timedelta) -> None:
    world = World({"a": Script(duration_s=60.0), "slow": Script(duration_s=5.0, claim_delay_s=3.0)}, gpus=4)
    world.add("a", "slow", "b")
    world.add("flaky", retries=2)
    world.scripts.set("flaky", Script(duration_s=2.0, outcome=BAD), Script(duration_s=2.0))
    world.at(1.0, lambda: setattr(world.clock, "offset", jump))
    world.run(2.0)
    world.add("later")
    world.finish(limit_s=600.0)
    assert set(world.states().values()) == {"succeeded"}
    assert len(world.host.starts) <= 7, "at most the launch that was on its way is given up"


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_job_in_backoff_is_not_kept_by_a_clock_that_jumps(jump: timedelta) -> None:
    world = World({"flaky": (Script(duration_s=2.0, outcome=BAD), Script(duration_s=2.0))})
    world.add("flaky", retries=2)
    world.run_until(lambda: world.job("flaky").not_before is not None if world.jobs() else False)
    world.clock.offset = jump
    world.finish(limit_s=600.0)
    assert world.state("flaky") is DONE


@pytest.mark.parametrize("jump", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_launch_that_vanished_is_given_up_although_the_clock_jumps(jump: timedelta) -> None:
    world = World()
    world.host.faults.silent = "no answer"
    world.add("a")
    world.step()
    world.clock.offset = jump
    world.host.faults.silent = None
    world.finish(limit_s=600.0)
    assert world.state("a") is DONE


# -- stopping and starting ---------------------------------------------------------------------------------------------


def test_stop_and_start_again_goes_on_where_it_was() -> None:
    world = World({"a": Script(duration_s=20.0)}, gpus=1)
    world.add("a", "b", "c")
    world.run(5.0)
    world.engine.stopping = True
    world.run(60.0)
    assert world.states() == {"a": "succeeded", "b": "queued", "c": "queued"}
    assert world.engine.drained
    world.restart()
    world.finish()
    assert set(world.states().values()) == {"succeeded"}
    assert len(world.host.starts) == 3


def test_jobs_that_end_while_no_scheduler_runs_are_recorded_later() -> None:
    world = World({"a": Script(duration_s=20.0), "b": Script(duration_s=20.0, outcome=BAD)})
    world.add("a", "b")
    world.run(5.0)
    world.virtual.advance(3600.0)
    world.restart()
    world.finish()
    assert world.states() == {"a": "succeeded", "b": "failed"}
    ended = world.job("a").ended_at
    assert ended is not None


def test_a_bounded_number_of_sessions_is_kept() -> None:
    world = World({}, gpus=4)
    world.scripts.set("bad", Script(duration_s=1.0, outcome=BAD))
    world.add("bad", *(f"j{number}" for number in range(40)))
    world.finish()
    names = set(world.host._sessions)
    assert len(names) <= world.rules.keep_sessions * 2
    assert "t_bad_gpu0" in names, "failures are kept longest"


def test_sessions_of_successes_are_closed_at_once_if_so_set() -> None:
    world = World({"bad": Script(duration_s=1.0, outcome=BAD)}, cleanup_on_complete=True)
    world.add("good", "bad")
    world.finish()
    assert set(world.host._sessions) == {"t_bad_gpu1"}


# -- dependencies ------------------------------------------------------------------------------------------------------


def test_a_chain_fails_and_is_revived() -> None:
    world = World({"a": (Script(duration_s=1.0, outcome=BAD), Script(duration_s=1.0))})
    world.add("a")
    world.add("b", after=["a"])
    world.add("c", after=["b"])
    world.add("d", after=["a", "free"])
    world.add("free")
    assert world.engine is not None
    world.finish()
    reply = world.store.reply(4)
    assert reply is not None
    assert "free" in str(reply["problems"]), "d names a job that did not exist yet"
    assert world.states() == {"a": "failed", "b": "skipped", "c": "skipped", "free": "succeeded"}
    assert str(world.job("c").reason) == "an earlier job did not succeed: b (skipped)"
    world.tell("requeue", "a")
    world.finish()
    assert set(world.states().values()) == {"succeeded"}
    order = [world.engine.workload.jobs[key[0]].name for key in world.host.starts]
    assert order == ["a", "free", "a", "b", "c"]


def test_what_waits_for_a_job_that_failed_before_is_skipped_until_that_is_revived() -> None:
    world = World({"a": (Script(duration_s=1.0, outcome=BAD), Script(duration_s=1.0))})
    world.add("a")
    world.finish()
    world.add("b", after=["a"])
    world.finish(limit_s=60.0)
    assert world.state("b") is JobState.SKIPPED
    world.tell("requeue", "a")
    world.finish()
    assert world.states() == {"a": "succeeded", "b": "succeeded"}


def test_a_config_that_vanished_fails_its_job_and_skips_what_waits() -> None:
    world = World()
    world.host.faults.vanished.add("a")
    world.add("a")
    world.add("b", after=["a"])
    world.finish()
    assert world.states() == {"a": "failed", "b": "skipped"}
    assert world.job("a").reason is not None
    assert world.job("a").reason.code is ReasonCode.LAUNCH_FAILED  # type: ignore[union-attr]
    world.host.faults.vanished.clear()
    world.tell("requeue", "a")
    world.finish()
    assert world.states() == {"a": "succeeded", "b": "succeeded"}


def test_wide_jobs_are_not_starved() -> None:
    world = World({}, gpus=2)
    world.scripts.set("n0", Script(duration_s=10.0))
    world.add(*(f"n{number}" for number in range(4)))
    world.add("wide", gpus=2, priority=0)
    world.run(1.0)
    world.add(*(f"late{number}" for number in range(10)))
    world.finish()
    order = [world.engine.workload.jobs[key[0]].name for key in world.host.starts]
    assert order.index("wide") == 4, order
