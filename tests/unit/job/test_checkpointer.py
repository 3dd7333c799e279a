"""Saving in the background, at a pace the training can bear, and finding the newest again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.job import CheckpointError, StateError
from researchflow_tmux.job.checkpointer import Checkpointer
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.pace import Pace
from researchflow_tmux.job.saving import Saving
from researchflow_tmux.job.store import Part, Saved


class Gate(LocalStore):
    """A local store whose writes wait until the test opens it, and fail if it says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.open = threading.Event()
        self.begun: list[int] = []
        self.fail: Exception | None = None

    def write(
        self, parts: Iterable[Part], *, step: int, metrics: Mapping[str, float] | None = None, attempt: str = ""
    ) -> Saved:
        self.begun.append(step)
        assert self.open.wait(20)
        if self.fail:
            raise self.fail
        return super().write(parts, step=step, metrics=metrics, attempt=attempt)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def steps(store: LocalStore) -> list[int]:
    return [store.manifest(name).step for name in store.names()]


def test_a_save_returns_while_it_is_written(gate: Gate) -> None:
    checkpoint = Checkpointer(gate)
    saving = checkpoint.save({"a": 1}, 7)
    done = saving.done
    assert not done
    with pytest.raises(TimeoutError, match="step 7 is not written yet"):
        saving.wait(0.01)
    gate.open.set()
    assert saving.wait().manifest.step == 7
    assert saving.done
    assert steps(gate) == [7]


def test_another_save_waits_for_the_one_under_way(gate: Gate) -> None:
    checkpoint = Checkpointer(gate)
    checkpoint.save(1, 1)
    second = threading.Thread(target=lambda: checkpoint.save(2, 2))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert gate.begun == [1]
    gate.open.set()
    second.join()
    checkpoint.wait()
    assert steps(gate) == [2, 1]


def test_every_is_not_due_while_one_is_written(gate: Gate) -> None:
    checkpoint = Checkpointer(gate)
    assert checkpoint.every(steps=1)
    saving = checkpoint.save(1, 1)
    checkpoint._pace.blocked(0)
    assert not checkpoint.every(steps=1)
    gate.open.set()
    saving.wait()
    assert checkpoint.every(steps=1)


def test_a_failure_in_the_background_is_said_and_the_training_goes_on(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.open.set()
    checkpoint = Checkpointer(gate)
    checkpoint.save("good", 1)
    checkpoint.wait()
    gate.fail = CheckpointError("no space left")
    saving = checkpoint.save("lost", 2)
    checkpoint.wait()
    assert [record.message for record in caplog.records] == ["rfsched: no space left"]
    assert saving.done
    with pytest.raises(CheckpointError, match="no space left"):
        saving.wait()
    gate.fail = ZeroDivisionError("a fault of the store")
    with pytest.raises(CheckpointError, match=r"step 3 was not saved: ZeroDivisionError: a fault of the store"):
        checkpoint.save("lost", 3, wait=True)
    restored = checkpoint.load_latest()
    assert restored is not None
    assert restored.state == "good"


def test_wait_without_a_save_and_a_change_of_store(tmp_path: Path) -> None:
    checkpoint = Checkpointer(lambda: LocalStore(tmp_path / "a"))
    checkpoint.wait()
    checkpoint.save(1, 1)
    checkpoint.use(LocalStore(tmp_path / "b"))
    assert steps(LocalStore(tmp_path / "a")) == [1]
    checkpoint.save(2, 2, wait=True)
    assert steps(LocalStore(tmp_path / "b")) == [2]


@pytest.mark.parametrize("step", [-1, 1.5, "3", None])
def test_a_step_is_a_whole_number(step: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no whole number from 0"):
        Checkpointer(LocalStore(tmp_path)).save(1, step)


def test_what_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    checkpoint = Checkpointer(store, metrics={"acc": 0.5})
    for step in range(5):
        checkpoint.save(step, step, wait=True)
    assert steps(store) == [4, 3, 2]
    checkpoint.keep(2, best="acc")
    checkpoint.save(5, 5, metrics={"acc": 0.9})
    for step in (6, 7, 8):
        checkpoint.save(step, step, wait=True)
    assert steps(store) == [8, 7, 5]
    with pytest.raises(ValueError, match="at least 1"):
        checkpoint.keep(0)
    with pytest.raises(ValueError, match="must be"):
        checkpoint.keep(1, best="acc", mode="most")


class Stubborn(LocalStore):
    """A local store that cannot remove anything."""

    def delete(self, name: str) -> None:
        raise CheckpointError(f"{name} was not removed")


def test_what_cannot_be_removed_is_said_and_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Checkpointer(Stubborn(tmp_path))
    checkpoint.keep(1)
    checkpoint.save(1, 1, wait=True)
    checkpoint.save(2, 2, wait=True)
    assert "was not removed" in caplog.text


# Resuming -------------------------------------------------------------------------------------------------------------


def spoil(store: LocalStore, name: str) -> None:
    path = Path(store.root) / name / "rfsched-state.json"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_a_damaged_one_is_said_and_the_one_before_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = LocalStore(tmp_path)
    checkpoint = Checkpointer(store)
    for step in (1, 2):
        checkpoint.save(f"state {step}", step, wait=True)
    newest, before = store.names()
    spoil(store, newest)
    restored = checkpoint.load_latest()
    assert restored is not None
    assert (restored.state, restored.step, restored.name) == ("state 1", 1, before)
    assert list(restored.skipped) == [newest]
    assert f"{newest} in {store.root} was passed over: rfsched-state.json was altered" in caplog.text
    assert f"using the one before: {before}, of step 1" in caplog.text
    spoil(store, before)
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        checkpoint.load_latest()


def resume(store: LocalStore, tag: str, start: tuple[LocalStore, str] | None) -> int | None:
    restored = Checkpointer(store, attempt=tag, resume_from=lambda: start).load_latest()
    return None if restored is None else restored.step


def test_which_one_is_resumed(tmp_path: Path) -> None:
    store, other = LocalStore(tmp_path / "own"), LocalStore(tmp_path / "other")
    for step in (10, 20, 30):
        Checkpointer(store, attempt="first").save(step, step, wait=True)
    Checkpointer(other).save(5, 5, wait=True)
    thirty, twenty, ten = store.names()
    assert resume(store, "second", None) == 30
    assert resume(store, "second", (store, twenty)) == 20  # said by the scheduler: not the newest
    assert resume(store, "first", (store, twenty)) == 30  # this attempt's own are newer than any word
    assert resume(store, "", (store, twenty)) == 20
    assert resume(store, "second", (other, other.names()[0])) == 30
    assert resume(LocalStore(tmp_path / "new"), "second", (other, other.names()[0])) == 5
    spoil(store, twenty)
    assert resume(store, "second", (store, twenty)) == 10
    with pytest.raises(CheckpointError, match=r"not in .*/other: put it back"):
        resume(LocalStore(tmp_path / "new"), "second", (other, ten))
    (Path(store.root) / thirty / "rfsched-manifest.json").unlink()
    assert resume(store, "first", (store, twenty)) == 10


# The end of the process, threads and forks ----------------------------------------------------------------------------

ENDINGS = {
    "falls off its end": "",
    "raises": "raise SystemExit(3)",
    "saves on its way out": "import atexit; atexit.register(lambda: checkpoint.save(b'late', 2))",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_save_under_way_is_finished_before_the_process_ends(ending: str, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom researchflow_tmux.job.checkpointer import Checkpointer\n"
        "from researchflow_tmux.job.local_store import LocalStore\n"
        f"checkpoint = Checkpointer(LocalStore(sys.argv[1]))\ncheckpoint.save(bytes(10**7), 1)\n{ending}\n"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60)
    assert answer.returncode == (3 if "3" in ending else 0)
    assert steps(LocalStore(tmp_path)) == ([2, 1] if "atexit" in ending else [1])


def test_where_no_thread_can_start_the_save_is_done_at_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.open.set()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert Checkpointer(gate).save(1, 1).done
    assert steps(gate) == [1]


FORK = """
import os, sys, threading
from researchflow_tmux.job.saving import Saving
gate = threading.Event()
saving = Saving(gate.wait, 1, print)
saving.start()
pid = os.fork()
if not pid:
    saving.settle()
    try:
        saving.wait()
    except TimeoutError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(pid, 0)
gate.set()
"""


def test_a_forked_process_does_not_wait_for_a_thread_it_does_not_have(tmp_path: Path) -> None:
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=30)
    assert "the process this one was forked from" in answer.stdout


def test_an_error_without_words_is_named_by_its_kind() -> None:
    def fail() -> Saved:
        raise KeyError

    failed: list[CheckpointError] = []
    saving = Saving(fail, 3, failed.append)
    saving.start()
    saving.settle()
    assert [str(error) for error in failed] == ["the checkpoint of step 3 was not saved: KeyError: KeyError"]


# Pace -----------------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_interval_counts_from_the_first_call() -> None:
    clock = Clock()
    pace = Pace(clock)
    due = []
    for _ in range(7):
        due.append(pace.due(60, 0, busy=False))
        clock.now += 20
    assert due == [False, False, False, True, False, False, True]


def test_steps_are_counted_and_the_sooner_wins() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert [pace.due(0, 3, busy=False) for _ in range(7)] == [False, False, True, False, False, True, False]
    clock.now += 100
    assert pace.due(60, 1000, busy=False)


def test_a_slow_save_makes_the_next_wait() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.due(0, 1, busy=False)
    pace.blocked(1.0)
    clock.now += 19
    assert not pace.due(0, 1, busy=False)
    clock.now += 1
    assert not pace.due(0, 1, busy=True)
    assert pace.due(0, 1, busy=False)


def test_every_needs_an_interval(tmp_path: Path) -> None:
    checkpoint = Checkpointer(LocalStore(tmp_path))
    for wrong in ({}, {"minutes": 0}, {"steps": -1}):
        with pytest.raises(ValueError, match="needs an interval"):
            checkpoint.every(**wrong)
    assert not checkpoint.every(minutes=1)
    assert os.listdir(tmp_path) == []
