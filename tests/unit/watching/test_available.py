"""Following available_gpus.txt: real files, a clock that the test moves, the real engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from researchflow_tmux.adapters.waiter import EpollWaiter
from researchflow_tmux.domain.attempt import Stopping
from researchflow_tmux.domain.workspace import Settings
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.simulation.script import Script
from researchflow_tmux.watching.available import AvailableGpus
from tests.scenario.world import World


class Scene:
    """A world with three GPUs and a directory with the file."""

    def __init__(self, root: Path, text: str | None = None, **settings: Any) -> None:
        self.path = root / "available_gpus.txt"
        self.world = World({"a": Script(duration_s=None)}, gpus=3)
        self.parts = SimpleNamespace(
            settings=Settings(task_name="t", **settings),
            paths=SimpleNamespace(root=str(root)),
            clock=self.world.clock,
            waiter=None,
        )
        if text is not None:
            self.path.write_text(text)
        self.watched = AvailableGpus(self.parts, self.world.engine)  # type: ignore[arg-type]
        self.watched.begin()

    def write(self, text: str | bytes | None) -> None:
        """Change the file, and let its notice come; None = it goes."""
        if text is None:
            self.path.unlink()
        else:
            self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.noticed()

    def noticed(self) -> None:
        self.watched.look(Wakeup(directories=frozenset({str(self.path)})))

    def run(self, seconds: float) -> None:
        """Let time go by as the loop would: wait for what is due, look, tick."""
        until = self.world.virtual.monotonic() + seconds
        while (left := until - self.world.virtual.monotonic()) > 1e-6:
            self.world.run(min(left, max(self.watched.wait_s(), 1e-3)))
            self.watched.look(Wakeup())
            self.world.tick()

    def drained(self) -> list[int]:
        return sorted(gpu.index for gpu in self.world.engine.workload.gpus.values() if not gpu.usable)

    def told(self) -> list[str]:
        return [text for text in self.world.notices() if str(self.path) in text]


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Scene]:
    return lambda text=None, **settings: Scene(tmp_path, text, **settings)


def test_without_the_file_there_is_no_restriction(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.run(10.0)
    assert here.drained() == []
    assert here.watched.wait_s() == float("inf"), "nothing keeps the loop awake"


def test_at_the_start_it_counts_before_anything_can_start(scene: Callable[..., Scene]) -> None:
    here = scene("0 2")
    assert here.drained() == [1]
    here.world.add("a")
    here.run(1.0)
    assert here.world.states() == {"a": "running"}


def test_a_change_counts_after_a_moment_of_quiet(scene: Callable[..., Scene]) -> None:
    here = scene("0 1 2")
    here.write("0")
    here.run(0.2)
    here.write("0 1")
    here.run(0.25)
    assert here.drained() == [], "somebody is still at it"
    here.run(0.1)
    assert here.drained() == [2]
    here.write("0 1 2")
    here.run(0.4)
    assert here.drained() == []


@pytest.mark.parametrize("empty", ["", "\n \n", "# none\n", None])
def test_emptied_for_a_moment_it_changes_nothing(scene: Callable[..., Scene], empty: str | None) -> None:
    here = scene("0 1 2", available_gpus_kill=True)
    here.world.add("a")
    here.run(1.0)
    for _ in range(3):
        here.write(empty)
        here.run(0.15)
        here.write("0 1 2")
        here.run(5.0)
    here.write(empty)
    here.run(2.5)
    here.write("0 1 2")
    here.run(10.0)
    assert here.drained() == []
    assert here.world.states() == {"a": "running"}
    assert not isinstance(here.world.engine.workload.attempts[1, 1].phase, Stopping)


def test_emptied_for_good_it_drains_all_and_kills_none(scene: Callable[..., Scene]) -> None:
    here = scene("0 1 2")
    here.world.add("a")
    here.run(1.0)
    here.write("")
    here.run(3.0)
    assert here.drained() == []
    here.run(0.5)
    assert here.drained() == [0, 1, 2]
    here.run(60.0)
    assert here.world.states() == {"a": "running"}
    here.write("1")
    here.run(0.5)
    assert here.drained() == [0, 2]


def test_gone_for_good_there_is_no_restriction_any_more(scene: Callable[..., Scene]) -> None:
    here = scene("1")
    here.write(None)
    here.run(3.0)
    assert here.drained() == [0, 2]
    here.run(0.5)
    assert here.drained() == []


def test_garbage_is_told_once_with_its_place_and_the_last_good_content_stays(scene: Callable[..., Scene]) -> None:
    here = scene("0 1")
    here.write("0 x\n??")
    here.run(5.0)
    assert here.drained() == [2]
    assert len(here.told()) == 2
    assert f"{here.path}:1:3" in here.told()[0]
    assert "the GPUs stay as they are" in here.told()[0]
    here.write("0 x\n?? ")
    here.run(5.0)
    assert len(here.told()) == 2, "told already"
    here.write("0")
    here.run(0.5)
    assert here.drained() == [1, 2]


def test_replaced_by_a_directory_or_unreadable_it_changes_nothing(scene: Callable[..., Scene]) -> None:
    here = scene("0 1")
    here.path.unlink()
    here.path.mkdir()
    here.noticed()
    here.run(10.0)
    assert here.drained() == [2]
    assert "cannot be read" in here.told()[0]


def test_a_gpu_that_is_not_there_is_told(scene: Callable[..., Scene]) -> None:
    here = scene("0 7 9")
    here.run(0.5)
    assert here.drained() == [1, 2]
    assert "there is no GPU 7, 9 here; this workspace has 0, 1, 2" in here.told()[0]


def test_the_sweep_finds_what_no_notice_told(scene: Callable[..., Scene]) -> None:
    here = scene()
    here.run(5.0)
    here.path.write_text("2")
    here.run(5.0)
    assert here.drained() == []
    here.watched.sweep()
    here.run(0.1)
    assert here.drained() == [0, 1]


def test_one_that_is_made_later_is_noticed_although_jobs_make_other_files(scene: Callable[..., Scene]) -> None:
    here = scene()
    waiter = EpollWaiter(None)
    here.parts.waiter = waiter
    here.watched.sweep()
    try:
        (here.path.parent / "job.out").touch()
        here.watched.look(waiter.wait(1.0))
        (here.path.parent / "more.out").touch()
        assert not waiter.wait(0.0).directories, "told once, and no more for a while"
        here.run(2.1)
        here.path.write_text("1")
        here.watched.look(waiter.wait(1.0))
        here.run(0.4)
        assert here.drained() == [0, 2]
        here.path.write_text("0 1")
        here.watched.look(waiter.wait(1.0))
        here.run(0.4)
        assert here.drained() == [2]
    finally:
        waiter.close()


def test_by_option_jobs_left_out_are_stopped_and_go_elsewhere(scene: Callable[..., Scene]) -> None:
    here = scene("0 1 2", available_gpus_kill=True)
    here.world.add("a")
    here.run(1.0)
    here.write("1 2")
    here.run(1.0)
    assert here.drained() == [0]
    assert here.world.starts("a") == 1, "a content must stand for a while before anything is stopped because of it"
    here.run(10.0)
    assert here.world.starts("a") == 2
    assert here.world.engine.workload.attempts[1, 2].allocation.indices == (1,)


def test_another_file_by_the_settings_is_read_at_once(scene: Callable[..., Scene]) -> None:
    here = scene("0")
    other = here.path.with_name("mine.txt")
    other.write_text("1 2")
    here.parts.settings = Settings(task_name="t", available_gpus_file="mine.txt")
    here.watched.begin()
    assert here.drained() == [0]
    assert here.world.engine.workload.gpus["gpu-0"].unlisted == "mine.txt"


def test_settings_that_change_something_else_do_not_make_an_empty_file_count(scene: Callable[..., Scene]) -> None:
    here = scene("0 1 2")
    here.write("")
    here.run(1.0)
    here.watched.begin()
    assert here.drained() == []


def test_after_a_restart_with_garbage_what_was_drained_stays_drained(scene: Callable[..., Scene]) -> None:
    here = scene("0 1")
    here.run(0.5)
    here.path.write_text("what?")
    here.world.restart()
    here.watched = AvailableGpus(here.parts, here.world.engine)  # type: ignore[arg-type]
    here.watched.begin()
    here.run(10.0)
    assert here.drained() == [2]


def test_a_file_of_another_user_s_making(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "available_gpus.txt").write_text("0")
    (tmp_path / "available_gpus.txt").chmod(0)
    here = Scene(tmp_path)
    here.run(10.0)
    assert here.drained() == []
    assert "cannot be read" in here.told()[0]
