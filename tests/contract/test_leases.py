"""What every Leases promises: the one over the runners' tickets, and the scripted one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from researchflow_tmux.adapters.leases import FileLeases
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import Ticket
from researchflow_tmux.ports import Leases
from researchflow_tmux.runner import admission
from researchflow_tmux.runner.spec import Lease
from researchflow_tmux.simulation.leases import ScriptedLeases


class Desk(Protocol):
    """Where a test takes and gives back shares."""

    leases: Leases

    def take(self, uuid: str, share: float, tag: str) -> None: ...
    def give_back(self, uuid: str, tag: str) -> None: ...
    def break_it(self) -> None: ...


class ScriptedDesk:
    def __init__(self) -> None:
        self.scripted = ScriptedLeases()
        self.leases: Leases = self.scripted

    def take(self, uuid: str, share: float, tag: str) -> None:
        ticket = Ticket(uuid=uuid, share=share, holder="ann", pid=os.getpid(), session="s", tag=tag, memory_mib=100)
        self.scripted.hold(ticket)

    def give_back(self, uuid: str, tag: str) -> None:
        self.scripted.release(uuid, tag)

    def break_it(self) -> None:
        self.scripted.fail("cannot be read")


class FileDesk:
    """Tickets as the runner takes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.leases: Leases = FileLeases(str(directory))
        self.held: dict[tuple[str, str], admission.Leases] = {}

    def take(self, uuid: str, share: float, tag: str) -> None:
        gpus = [{"uuid": uuid, "share": share, "memory_mib": 100}]
        raw = {"dir": str(self.directory), "holder": "ann", "session": "s", "gpus": gpus}
        self.held[uuid, tag] = admission.take(Lease(raw), tag)

    def give_back(self, uuid: str, tag: str) -> None:
        self.held.pop((uuid, tag)).release()

    def break_it(self) -> None:
        (self.directory / "GPU-a").write_text("not a directory")

    def close(self) -> None:
        for held in self.held.values():
            held.release()


@pytest.fixture(params=["scripted", "files"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "scripted":
        yield ScriptedDesk()
        return
    directory = tmp_path / "leases"
    directory.mkdir()
    desk = FileDesk(directory)
    yield desk
    desk.close()


def test_nobody_holds_anything(desk: Desk) -> None:
    assert desk.leases.live(["GPU-a", "GPU-b"]) == []
    assert desk.leases.live([]) == []


def test_tickets_of_the_gpus_asked_for_until_they_are_given_back(desk: Desk) -> None:
    desk.take("GPU-a", 0.5, "w/1.1")
    desk.take("GPU-a", 0.25, "w/2.1")
    desk.take("GPU-b", 1.0, "w/3.1")
    found = desk.leases.live(["GPU-a"])
    assert sorted((ticket.tag, ticket.share) for ticket in found) == [("w/1.1", 0.5), ("w/2.1", 0.25)]
    assert {(ticket.uuid, ticket.holder, ticket.pid) for ticket in found} == {("GPU-a", "ann", os.getpid())}
    assert {(ticket.session, ticket.memory_mib) for ticket in found} == {("s", 100)}
    desk.give_back("GPU-a", "w/1.1")
    assert [ticket.tag for ticket in desk.leases.live(["GPU-a", "GPU-b"])] == ["w/2.1", "w/3.1"]


def test_what_cannot_be_read_is_an_error_and_not_nobody(desk: Desk) -> None:
    desk.break_it()
    with pytest.raises(ProbeError, match="cannot be read"):
        desk.leases.live(["GPU-a"])


def test_descendants_of_runners_are_managed(desk: Desk) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        if isinstance(desk, ScriptedDesk):
            desk.scripted.own([stranger.pid])
        found = desk.leases.managed([os.getpid()], [stranger.pid, 1])
        stranger.kill()
    assert found == {stranger.pid}
    assert desk.leases.managed([], []) == frozenset()


def test_each_process_belongs_to_the_runner_above_it(desk: Desk) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        if isinstance(desk, ScriptedDesk):
            desk.scripted.put_under(os.getpid(), child.pid)
        found = desk.leases.owners([os.getpid(), child.pid + 1], [child.pid, os.getpid(), 1])
        child.kill()
    assert found == {child.pid: os.getpid(), os.getpid(): os.getpid()}, "a runner is its own, and 1 is nobody's"
    assert desk.leases.owners([], []) == {}
