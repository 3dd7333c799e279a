"""What every Register promises: the one over files in the lease directory, and the one in memory."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.domain.accounts import AccountUse, Rate
from researchflow_tmux.domain.register import LiveAttempt, Page, Seen
from researchflow_tmux.engine.commons import Register
from researchflow_tmux.runner import admission, procfs
from researchflow_tmux.runner.spec import Lease
from researchflow_tmux.simulation.register import MemoryRegister

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Hall(Protocol):
    """A register as two workspaces see it, and what can happen to it."""

    one: Register
    other: Register

    def kill(self, page: Page) -> Page: ...
    def live_on(self, tag: str) -> None: ...
    def spoil(self, workspace_id: str) -> None: ...


class MemoryHall:
    def __init__(self) -> None:
        self.memory = MemoryRegister()
        self.one: Register = self.memory
        self.other: Register = self.memory

    def kill(self, page: Page) -> Page:
        self.memory.dead.add(page.workspace_id)
        return page

    def live_on(self, tag: str) -> None:
        self.memory.living.add(tag)

    def spoil(self, workspace_id: str) -> None:
        self.memory.garbage[workspace_id] = "cannot be understood"


class FileHall:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.one: Register = FileRegister(str(directory), "b")
        self.other: Register = FileRegister(str(directory), "b")
        self.held: list[admission.Leases] = []

    def kill(self, page: Page) -> Page:
        return replace(page, start_time=page.start_time + 1)  # another process that had the same pid

    def live_on(self, tag: str) -> None:
        gpus = [{"uuid": "GPU-a", "share": 0.5}]
        raw = {"dir": str(self.directory), "holder": "ann", "session": "s", "gpus": gpus}
        self.held.append(admission.take(Lease(raw), tag))

    def spoil(self, workspace_id: str) -> None:
        (self.directory / "register").mkdir(exist_ok=True)
        (self.directory / "register" / f"{os.geteuid()}.{workspace_id}.json").write_text("{garbage")


@pytest.fixture(params=["memory", "files"])
def hall(request: pytest.FixtureRequest, tmp_path: Path) -> Hall:
    return MemoryHall() if request.param == "memory" else FileHall(tmp_path)


def page(name: str, **fields: Any) -> Page:
    usual: dict[str, Any] = {
        "workspace_id": name,
        "path": f"/{name}",
        "task_name": name,
        "user": "ann",
        "uid": os.geteuid(),
        "pid": os.getpid(),
        "start_time": procfs.start_time(os.getpid()) or 0,
        "boot_id": "b",
        "at": NOW,
    }
    return Page(**(usual | fields))


def by_id(found: Any) -> dict[str, Seen]:
    return {each.page.workspace_id: each for each in found if each.page is not None}


def test_what_one_publishes_the_other_reads(hall: Hall) -> None:
    assert list(hall.one.read(NOW)) == []
    hall.one.publish(page("a", counts={"running": 2}, uses={"project p": AccountUse(running=Rate(gpus=2))}))
    [seen] = hall.other.read(NOW)
    assert (seen.alive, seen.problem) == (True, None)
    assert seen.page == page("a", counts={"running": 2}, uses={"project p": AccountUse(running=Rate(gpus=2))})
    hall.one.publish(page("a", counts={"running": 1}))
    assert by_id(hall.other.read(NOW))["a"].page == page("a", counts={"running": 1})


def test_only_one_has_the_gate(hall: Hall) -> None:
    assert hall.one.lock(0.0) is None
    assert "gate" in (hall.other.lock(0.0) or "")
    hall.one.unlock()
    hall.one.unlock()
    assert hall.other.lock(0.0) is None
    hall.other.unlock()


def test_of_a_dead_scheduler_it_is_said_which_attempts_live(hall: Hall) -> None:
    attempts = tuple(
        LiveAttempt(tag=f"a/{number}.1", owners=("project p",), rate=Rate(gpus=1), uuids=("GPU-a",), runner_pid=None)
        for number in (1, 2)
    )
    hall.live_on("a/2.1")
    hall.one.publish(hall.kill(page("a", attempts=attempts)))
    [seen] = hall.other.read(NOW + timedelta(minutes=10))
    assert not seen.alive
    assert seen.living == {"a/2.1"}
    [seen] = hall.other.read(NOW + timedelta(seconds=1))
    assert seen.living == {"a/1.1", "a/2.1"}, "the first one may be about to begin"


def test_garbage_is_said_and_what_was_known_before_counts(hall: Hall) -> None:
    hall.spoil("b")
    assert [(seen.page, seen.problem) for seen in hall.other.read(NOW)] == [(None, "cannot be understood")]
    hall.one.publish(page("a", counts={"running": 1}))
    hall.other.read(NOW)
    hall.spoil("a")
    assert by_id(hall.other.read(NOW))["a"].page == page("a", counts={"running": 1})
    assert by_id(hall.other.read(NOW))["a"].problem == "cannot be understood"
