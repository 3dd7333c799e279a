"""What wakes the scheduler, and what each wake-up says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters.waiter import EpollWaiter
from researchflow_tmux.adapters.wake import WakeReader, wake
from researchflow_tmux.runner.main import wake as tell


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "wake")


@pytest.fixture
def waiter(path: str) -> Iterator[EpollWaiter]:
    reader = WakeReader(path)
    made = EpollWaiter(reader)
    yield made
    made.close()
    reader.close()


def test_time_passes_without_news(waiter: EpollWaiter) -> None:
    found = waiter.wait(0.01)
    assert not found.poked
    assert not found.runners


def test_a_runner_says_which_attempt_it_is_about(waiter: EpollWaiter, path: str) -> None:
    tell(path, "0a1b2c3d/12.3")
    tell(path, "0a1b2c3d/7.1")
    found = waiter.wait(1.0)
    assert found.runners == {(12, 3), (7, 1)}
    assert not found.poked, "nobody else's attempt need be looked at"


@pytest.mark.parametrize("text", [b"\n", b"1\n", b"ws/1\n", b"../1.1\n", b"\xff\xfe\n", b"ws/1.1\n\n"])
def test_whatever_else_is_written_means_look_at_everything(waiter: EpollWaiter, path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, text)
    os.close(fd)
    assert waiter.wait(1.0).poked
    assert not waiter.wait(0.0).poked


def test_requests_and_attempts_together(waiter: EpollWaiter, path: str) -> None:
    wake(path)
    tell(path, "0a1b2c3d/5.1")
    found = waiter.wait(1.0)
    assert found.poked
    assert found.runners == {(5, 1)}


def test_the_end_of_a_runner_is_told_once_also_after_it_was_reaped(waiter: EpollWaiter) -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    waiter.watch_runner((1, 1), process.pid)
    assert not waiter.wait(0.01).runners
    process.kill()
    assert waiter.wait(5.0).runners == {(1, 1)}
    process.communicate()
    assert not waiter.wait(0.05).runners, "a scheduler that could not settle the attempt would spin"
    waiter.watch_runner((1, 1), process.pid)
    assert not waiter.wait(0.0).runners, "the same pid is not watched anew"


def test_a_runner_that_is_gone_already(waiter: EpollWaiter) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    waiter.watch_runner((2, 1), process.pid)
    assert waiter.wait(5.0).runners == {(2, 1)}
    assert not waiter.wait(0.0).runners


def test_a_file_wakes_by_its_changes_and_by_its_end(waiter: EpollWaiter, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    assert not waiter.watch_file(str(file)), "there is nothing to watch"
    file.write_text("0")
    assert waiter.watch_file(str(file))
    (tmp_path / "other.txt").write_text("x")
    assert not waiter.wait(0.05).directories, "its neighbours are none of its business"
    file.write_text("1")
    assert waiter.wait(1.0).directories == {str(file)}
    (tmp_path / "other.txt").replace(file)
    assert waiter.wait(1.0).directories == {str(file)}
    file.write_text("2")
    assert not waiter.wait(0.05).directories, "it is another file now"
    assert waiter.watch_file(str(file))
    file.unlink()
    assert waiter.wait(1.0).directories == {str(file)}


def test_arrivals_are_told_once_and_writes_not_at_all(waiter: EpollWaiter, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "old").touch()
    assert waiter.watch_arrivals(str(folder))
    (folder / "old").write_text("x")
    (folder / "old").unlink()
    assert not waiter.wait(0.05).directories
    (folder / "new").touch()
    assert waiter.wait(1.0).directories == {str(folder)}
    (folder / "newer").touch()
    assert not waiter.wait(0.05).directories, "a job may make files there all the time"
    assert waiter.watch_arrivals(str(folder))
    (folder / "newest").touch()
    assert waiter.wait(1.0).directories == {str(folder)}


def test_a_directory_that_is_watched_for_all_its_changes_stays_so(waiter: EpollWaiter, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    assert waiter.watch_directory(str(folder))
    assert waiter.watch_arrivals(str(folder))
    for name in ("a", "b", "c"):
        (folder / name).touch()
        assert waiter.wait(1.0).directories == {str(folder)}
    (folder / "a").unlink()
    assert waiter.wait(1.0).directories == {str(folder)}
