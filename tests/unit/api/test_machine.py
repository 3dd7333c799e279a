"""`status --all`: every workspace of the machine, whoever's it is, and who has which GPU."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from researchflow_tmux import Workspace
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.api.machine import machine_view
from researchflow_tmux.cli.layout import render
from researchflow_tmux.cli.machine_blocks import picture
from researchflow_tmux.cli.main import cli
from researchflow_tmux.runner import admission
from researchflow_tmux.runner.spec import Lease
from tests.contract.test_register import page

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "leases"
    directory.mkdir()
    monkeypatch.setenv("RFSCHED_LEASE_DIR", str(directory))
    monkeypatch.chdir(tmp_path)
    return directory


def publish(leases: Path, name: str, **fields: Any) -> None:
    boot = SystemClock().boot_id
    FileRegister(str(leases), boot).publish(page(name, **{"boot_id": boot, "at": NOW, **fields}))


def shown(view: Any) -> str:
    return "\n".join(render(picture(view, NOW + timedelta(minutes=5)), width=None, colour=False))


def test_workspaces_with_what_they_say(leases: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    counts = {"running": 2, "queued": 3, "held": 1, "failed": 4, "succeeded": 5}
    due = NOW + timedelta(hours=5)
    publish(leases, "a", path=str(own), counts=counts, gpus=(0, 2), next_deadline=due, leased={"GPU-a": 0, "GPU-b": 2})
    publish(leases, "b", path="/home/bob/ws", user="bob", uid=os.geteuid() + 1, start_time=0, counts={"running": 1})
    view = machine_view()
    first, second = view.workspaces
    assert (first.path, first.mine, first.scheduler, first.pid) == (str(own), True, True, os.getpid())
    assert (first.running, first.waiting, first.failed, first.gpus) == (2, 4, 4, [0, 2])
    assert first.next_deadline == due
    assert (second.path, second.mine, second.scheduler, second.pid) == ("/home/bob/ws", False, False, None)
    picture_text = shown(view)
    assert "none for 5:00 min" in picture_text
    assert "0,2" in picture_text


def test_who_has_which_gpu(leases: Path) -> None:
    publish(leases, "a", path="/home/bob/a", uid=os.geteuid() + 1, leased={"GPU-a": 0, "GPU-b": 1})
    gpus = [{"uuid": "GPU-a", "share": 0.25}]
    held = admission.take(
        Lease({"dir": str(leases), "holder": "nlp (/home/ann/nlp)", "session": "nlp_x_gpu0", "gpus": gpus}), "t/1.1"
    )
    try:
        view = machine_view()
        assert [(gpu.index, [taker.holder for taker in gpu.takers]) for gpu in view.gpus] == [
            (0, ["nlp (/home/ann/nlp)"]),
            (1, []),
        ]
        assert "nlp_x_gpu0 (25%)" in shown(view)
        assert "nobody" in shown(view)
    finally:
        held.release()


def test_what_cannot_be_read_is_named(leases: Path) -> None:
    (leases / "register").mkdir()
    (leases / "register" / f"{os.geteuid()}.x.json").write_text("garbage")
    (leases / ".hidden").mkdir()
    view = machine_view()
    assert view.unreadable[0] == f"{os.geteuid()}.x.json: cannot be understood"
    assert "leases of .hidden" in view.unreadable[1]
    assert "cannot be read: " in shown(view)


def test_a_dead_workspace_of_ones_own_is_counted_by_its_state_and_a_removed_one_left_out(
    leases: Path, tmp_path: Path
) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "scheduler_config.yml").write_text(f"task_name: t\ntmux_socket: {tmp_path}/none\n")
    ws = Workspace(tmp_path / "ws", start=False)
    ws.submit_many(["true", "true"], name="x")
    publish(leases, "a", path=str(tmp_path / "ws"), start_time=0, counts={"queued": 9})
    publish(leases, "b", path=str(tmp_path / "removed"))
    [one] = machine_view().workspaces
    assert one.waiting == 2


def test_the_command_works_outside_a_workspace_and_takes_no_jobs(leases: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(cli, ["status", "--all"])
    assert (done.exit_code, "has said anything so far" in done.output) == (0, True)
    found = json.loads(runner.invoke(cli, ["status", "--all", "--json"]).output)
    assert (found["schema"], found["workspaces"]) == ("rfsched.machine/1", [])
    refused = runner.invoke(cli, ["status", "--all", "exp1"])
    assert "--all shows workspaces, not jobs" in str(refused.exception)
