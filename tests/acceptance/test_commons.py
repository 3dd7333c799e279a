"""Two real workspaces that share a project: its cap holds though schedulers are killed at random"""

from __future__ import annotations

import json
import os
import random
from functools import partial
from pathlib import Path

import pytest

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.register import FileRegister
from tests.support import eventually
from tests.workspaces import Factory, RealWorkspace, kill9, new_workspace

__all__ = ["new_workspace"]
pytestmark = pytest.mark.tmux

ALONE = """#!/bin/sh
# Says if it is not alone with the GPU of the project; and that it ran.
mkdir "$ALONE/taken" 2> /dev/null || echo "$RFSCHED_ATTEMPT" >> "$ALONE/crowded"
sleep 0.2
rmdir "$ALONE/taken"
echo "$RFSCHED_ATTEMPT" >> "$ALONE/ran"
"""


def machine_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = tmp_path / "machine.yml"
    path.write_text(text)
    monkeypatch.setenv("RFSCHED_PROJECTS", str(path))
    monkeypatch.setenv("ALONE", str(tmp_path))
    monkeypatch.setenv("RFSCHED_LEASE_DIR", str(tmp_path / "leases"))
    (tmp_path / "leases").mkdir()
    return path


def queue(workspace: RealWorkspace, jobs: int) -> None:
    program = workspace.script("alone.sh", ALONE.partition("\n")[2])
    for number in range(jobs):
        workspace.ok("add", "--no-start", "--project", "vision", "--name", f"j{number}", "--", program)


@pytest.mark.parametrize("limit", ["max_gpus: 1", "gpu_hours: 0.05, period: total"])
def test_a_shared_cap_or_budget_holds_whoever_is_killed_when(
    new_workspace: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    machine_file(tmp_path, monkeypatch, f"projects: {{vision: {{{limit}}}}}\n")
    both = [new_workspace(name, task_name=name, check_interval=0.5) for name in ("one", "two")]
    for each in both:
        queue(each, 3)
    chance = random.Random(7)
    running = [each.scheduler() for each in both]
    done: list[str] = []
    while len(done) < 5:
        which = chance.randrange(2)
        # Until something new has happened; where the scheduler is by then is anybody's guess.
        done = eventually(partial(_ran, tmp_path, len(done)), 60.0, what="a job has run")
        assert taken_hours() <= 0.05 + 1e-9 or "max_gpus" in limit
        kill9(running[which].pid)
        running[which].wait()
        running[which] = both[which].scheduler()
    for each in both:
        assert set(each.settled(60.0).values()) == {"succeeded"}
    if "max_gpus" in limit:
        assert not (tmp_path / "crowded").exists(), (tmp_path / "crowded").read_text()
    assert len((tmp_path / "ran").read_text().splitlines()) == 6
    assert 0 < taken_hours() <= 0.05 + 1e-9


def taken_hours() -> float:
    """GPU-hours that are used or granted, by the pages as they are while nobody books."""
    register = FileRegister(os.environ["RFSCHED_LEASE_DIR"], SystemClock().boot_id)
    assert register.lock(30.0) is None
    try:
        pages = [seen.page for seen in register.read(SystemClock().now()) if seen.page is not None]
    finally:
        register.unlock()
    return sum(use.hours("total").gpu for page in pages for use in page.uses.values())


def _ran(tmp_path: Path, so_far: int) -> list[str]:
    path = tmp_path / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return lines if len(lines) > so_far else []


def test_the_file_of_the_machine_counts_in_running_schedulers(
    new_workspace: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_file(tmp_path, monkeypatch, "projects: {vision: {max_gpus: 0}}\n")
    one, two = (new_workspace(name, task_name=name, check_interval=3600.0) for name in ("one", "two"))
    for each in (one, two):
        each.script("nap.sh", "sleep 300")
        each.ok("add", "--project", "vision", "--name", "nap", "--", str(each.root / "nap.sh"))
    assert {each.states()["nap"] for each in (one, two)} == {"queued"}
    one.ok("project", "set", "--machine", "vision", "max_gpus=2")
    for each in (one, two):  # no sweep will help, and the other one was told nothing
        each.wait_for("nap", "running")
    pages = [
        json.loads(page.read_text()) for page in (Path(os.environ["RFSCHED_LEASE_DIR"]) / "register").glob("*.json")
    ]
    found = {page["path"]: page for page in pages}
    assert found[str(two.root)]["uses"]["project vision"]["running"]["gpus"] == 1


def test_a_scheduler_notices_at_once_that_another_one_gave_something_back(
    new_workspace: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_file(tmp_path, monkeypatch, "projects: {vision: {max_gpus: 1}}\n")
    one, two = (new_workspace(name, task_name=name, check_interval=3600.0) for name in ("one", "two"))
    one.ok("add", "--project", "vision", "--name", "first", "--", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    one.wait_for("first", "running")
    two.ok("add", "--project", "vision", "--name", "next", "--", "true")
    assert "project vision has 1 of 1 GPU" in two.ok("why", "next")
    (tmp_path / "go").touch()
    two.wait_for("next", "succeeded")  # no sweep will help


def test_a_file_of_the_machine_that_appears_is_noticed(
    new_workspace: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_file(tmp_path, monkeypatch, "")
    monkeypatch.delenv("RFSCHED_PROJECTS")
    one, two = (new_workspace(name, task_name=name, check_interval=3600.0) for name in ("one", "two"))
    two.ok("start", "--no-configs")
    one.ok("project", "set", "--machine", "vision", "max_gpus=1")
    assert (tmp_path / "leases" / "projects.yml").exists()
    eventually(lambda: "settings taken over" in two.ok("history"), 20.0, what="the other scheduler took it over")
    assert "vision" in two.ok("project", "list")
    found = json.loads(two.ok("status", "--all", "--json"))
    assert str(two.root) in {each["path"] for each in found["workspaces"] if each["scheduler"]}
