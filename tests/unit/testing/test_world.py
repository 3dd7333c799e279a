"""The world in memory that users test with: what it can do, and that the same calls give the same history."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from researchflow_tmux.domain.errors import ConfigError, UsageError
from researchflow_tmux.testing import World, submit_pipeline

Make = Callable[..., World]


def test_a_gpu_that_is_lost_gives_its_jobs_away_and_comes_back(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=2)
    world.submit("a", takes="3h")
    world.advance("1h")
    assert world.gpus_of("a") == [0]
    world.gpu_fails(0)
    world.advance("10m")
    assert (world.started, world.gpus_of("a")) == (["a", "a"], [1])
    world.submit("b", takes="1h")
    assert "first in line" in world.why("b")
    world.gpu_returns(0)
    world.advance("5m")
    assert world.gpus_of("b") == [0]
    world.run_until_idle()
    assert "GPU 0 reads well again and is used again" in world.history()


def test_a_gpu_that_others_fill_is_left_alone(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=2)
    world.gpu_fills(1, "20GiB")
    world.submit("a", "b", takes="1h")
    world.advance("1m")
    assert world.started == ["a"]
    world.gpu_returns(1)
    world.advance("1m")
    assert world.started == ["a", "b"]


def test_failures_retries_and_needs_go_by_script(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1)
    world.submit("a", takes="1h", fails=[True, False], retries=1)
    world.submit("b", after=["a"], takes=60)
    world.submit("c", fails=3)
    world.submit("d", after=["c"])
    world.submit("e", after=["c"], when="failure", gpus=0)
    world.run_until_idle()
    assert world.states() == {
        "a": "succeeded",
        "b": "succeeded",
        "c": "failed",
        "d": "skipped",
        "e": "succeeded",
    }
    assert world.outcomes("a") == ["Exited", "Exited"]
    assert world.end_of("b") - world.start_of("b") == 60


def test_deadlines_limits_holds_and_cancels(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1)
    world.submit("held", held=True)
    world.submit("cut", takes="5h", time_limit="1h")
    world.submit("due", takes="1h", deadline="3h")
    world.advance("1m")
    assert world.started == ["due"], "it is urgent"
    world.cancel("cut")
    world.tell("release", "held")
    world.run_until_idle()
    assert world.state("cut") == "cancelled"
    assert world.states()["held"] == "succeeded"


def test_a_policy_that_knows_nothing_learns(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, known=False, policy="sjf")
    for number in range(3):
        world.submit(f"quick{number}", takes="10m", group="q")
    world.run_until_idle()
    planner = world.engine.choice.planner
    assert planner is not None
    world.submit("quick0b", takes="10m", group="q")
    world.advance(1)
    assert planner.index.estimate(world.job("quick0b")).p50_s < 3600


def test_it_goes_on_after_a_restart_and_a_reboot(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, restart_lost=True)
    world.submit("a", "b", takes="2h")
    world.advance("1h")
    world.restart()
    world.advance("30m")
    assert world.started == ["a"]
    world.reboot()
    world.run_until_idle()
    assert set(world.states().values()) == {"succeeded"}


def test_what_is_not_there_is_named(rfsched_world: Make) -> None:
    world = rfsched_world()
    world.submit("a")
    with pytest.raises(UsageError, match="there is no job 'b'"):
        world.why("b")
    with pytest.raises(AssertionError, match="a has not ended: "):
        world.end_of("a")
    with pytest.raises(UsageError, match="project p: "):
        World(projects={"p": {"wight": 2}})
    with pytest.raises(AssertionError, match="not within"):
        world.run_until_idle("1m")


def test_the_same_calls_give_the_same_history() -> None:
    def history() -> list[str]:
        world = World(gpus=3, projects={"p": {"weight": 2.0}})
        for number in range(30):
            project = "p" if number % 2 else None
            world.submit(f"j{number}", takes=600 + 100 * number, gpus=number % 3 + 1, project=project)
            world.advance("7m")
        world.run_until_idle()
        return world.history()

    assert history() == history()


def test_a_pipeline_with_mistakes_is_refused_as_ever(tmp_path: Path, rfsched_world: Make) -> None:
    path = tmp_path / "study.yml"
    path.write_text("jobs:\n  a: {command: 'true', needs: b}\n  b: {command: 'true', needs: a}\n  c: {needs: d}\n")
    with pytest.raises(ConfigError) as found:
        submit_pipeline(rfsched_world(), path)
    said = str(found.value)
    assert f"{path}:4" in said
    path.write_text("jobs:\n  a: {command: 'true', needs: b}\n  b: {command: 'true', needs: a}\n")
    with pytest.raises(ConfigError, match=r"circle|each other"):
        submit_pipeline(rfsched_world(), path)


def test_a_pipeline_runs_by_its_file(tmp_path: Path, rfsched_world: Make) -> None:
    path = tmp_path / "study.yml"
    path.write_text("jobs:\n  a: {command: 'true'}\n  b: {command: 'true', needs: a, priority: 3}\n")
    world = rfsched_world(gpus=1)
    assert submit_pipeline(world, path) == ["study_a", "study_b"]
    world.run_until_idle()
    assert world.started == ["study_a", "study_b"]
    assert any("study_b (priority 3) needs study_a (priority 0)" in line for line in world.history())


def test_the_fixture_costs_nothing_where_it_is_not_used() -> None:
    code = (
        "import sys, researchflow_tmux.testing.fixtures as found\n"
        "print([name for name in sys.modules if name.startswith('researchflow_tmux.') and 'testing' not in name])\n"
        "from researchflow_tmux.testing import World\n"
        "print(World.__name__)\n"
        "from researchflow_tmux import testing\n"
        "print(hasattr(testing, 'Nothing'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "World", "False"]
