"""`project set` and `project list`, without a scheduler."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from researchflow_tmux import UsageError, Workspace
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.api.project_setting import ProjectSet, set_allowance
from researchflow_tmux.api.projects import ProjectView, projects_of
from researchflow_tmux.domain.accounts import AccountUse, Hours, Rate
from researchflow_tmux.domain.errors import ConfigError
from tests.contract.test_register import page

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = """task_name: t  # ours
gpu_count: simulated:1
policy: balanced
projects:
  vision: {weight: 3}   # the eyes
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "scheduler_config.yml").write_text(f"{CONFIG}tmux_socket: {tmp_path}/none\n")
    monkeypatch.setenv("RFSCHED_PROJECTS", str(tmp_path / "machine.yml"))
    (tmp_path / "machine.yml").write_text("projects: {}\n")
    return Workspace(tmp_path, start=False)


def put(ws: Workspace, name: str, *words: str, user: bool = False, machine: bool = False) -> ProjectSet:
    return set_allowance(ws, name, words, user=user, machine=machine, now=NOW)


def by_name(ws: Workspace) -> dict[str, ProjectView]:
    return {view.name: view for view in projects_of(ws)}


def test_a_value_is_set_and_every_other_byte_stays(ws: Workspace, tmp_path: Path) -> None:
    before = (tmp_path / "scheduler_config.yml").read_text()
    done = put(ws, "vision", "weight=2", "max_gpus=4")
    assert (tmp_path / "scheduler_config.yml").read_text() == before.replace("weight: 3}", "weight: 2, max_gpus: 4}")
    assert (done.new, done.notes) == (False, [])
    assert ws.settings.projects["vision"].max_gpus == 4
    put(ws, "vision", "max_gpus=", "weight=none")
    after = ws.settings.projects["vision"]
    assert (after.max_gpus, after.weight) == (None, 1)


def test_an_unknown_project_is_made_and_said(ws: Workspace) -> None:
    done = put(ws, "visio", "gpu_hours=5", "period=week")
    assert done.new
    assert done.notes == ["there was no project 'visio' so far (did you mean 'vision'?)"]
    assert put(ws, "ann", "max_gpus=1", user=True).section == "users"
    assert ws.settings.users["ann"].max_gpus == 1


def test_for_the_whole_machine(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "machine.yml").unlink()
    done = put(ws, "vision", "weight=7", "max_gpus=2", machine=True)
    assert done.path == str(tmp_path / "machine.yml")
    assert (tmp_path / "machine.yml").stat().st_mode & 0o777 == 0o644
    assert ws.settings.projects["vision"].weight == 7
    [note] = put(ws, "vision", "max_gpus=9").notes
    assert "here it can be lowered" in note
    assert ws.settings.projects["vision"].max_gpus == 2
    assert by_name(ws)["vision"].machine_wide


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["wheight=1", "max_gpus", "weight=1", "weight=2"],
            ["no key 'wheight'; did you", "'max_gpus' is not", "weight is"],
        ),
        (["deadline=2020-01-01"], ["deadline: 2020-01-01 is over"]),
        (["weight=0", "max_memory=lots", "period=year"], ["weight", "max_memory", "period"]),
    ],
)
def test_all_problems_at_once_and_the_file_stays(
    ws: Workspace, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    before = (tmp_path / "scheduler_config.yml").read_bytes()
    with pytest.raises((UsageError, ConfigError)) as caught:
        put(ws, "p", *words)
    assert all(each in str(caught.value) for each in said)
    assert (tmp_path / "scheduler_config.yml").read_bytes() == before


def test_a_file_that_is_something_else_stays(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "scheduler_config.yml"
    before = other.read_bytes()
    monkeypatch.setenv("RFSCHED_PROJECTS", str(other))
    with pytest.raises(ConfigError, match="unknown key `task_name`"):
        put(ws, "p", "weight=1", machine=True)
    with pytest.raises(ConfigError, match="unknown key `task_name`"):
        put(ws, "p", "weight=1")
    assert other.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("RFSCHED_PROJECTS", str(tmp_path / "pipe"))
    with pytest.raises(ConfigError, match="named pipe"):
        put(ws, "p", "weight=1", machine=True)
    monkeypatch.setenv("RFSCHED_PROJECTS", str(tmp_path / "missing" / "x.yml"))
    with pytest.raises(ConfigError, match="No such file"):
        put(ws, "p", "weight=1")
    assert other.read_bytes() == before


def test_a_file_that_cannot_be_written_is_named(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFSCHED_PROJECTS", "/proc/nowhere/projects.yml")
    with pytest.raises(ConfigError, match="it is its owner who can change"):
        put(ws, "p", "weight=1", machine=True)


def test_the_list_counts_jobs_by_project_and_user(ws: Workspace) -> None:
    assert list(by_name(ws)) == ["vision"]
    put(ws, "nobody", "max_cpus=3", user=True)
    ws.submit_many(["true", "true"], name="a", project="vision")
    ws.submit("true", name="b", project="text", hold=True)
    found = by_name(ws)
    assert [(view.name, view.waiting, view.share_by_weight) for view in found.values() if view.kind == "project"] == [
        ("text", 1, 0.25),
        ("vision", 2, 0.75),
    ]
    assert (found["nobody"].max_cpus, found["nobody"].weight, found["nobody"].waiting) == (3, None, 0)


def test_what_other_workspaces_have_of_a_shared_project_is_part_of_the_list(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFSCHED_LEASE_DIR", str(tmp_path / "leases"))
    put(ws, "vision", "max_gpus=4", "gpu_hours=10", "period=total", machine=True)
    use = AccountUse(running=Rate(gpus=3, cpus=3), settled={"total": Hours(gpu=2.5)})
    other = page("other", uses={"project vision": use}, used_gpu_s={"vision": 7200.0, "private": 9e9})
    boot = SystemClock()
    FileRegister(str(tmp_path / "leases"), boot.boot_id).publish(replace(other, boot_id=boot.boot_id, at=boot.now()))
    view = by_name(ws)["vision"]
    assert (view.running_gpus, view.max_gpus, view.running) == (3, 4, 0)
    assert view.gpu_hours is not None
    assert (view.gpu_hours.used + view.gpu_hours.granted, view.gpu_hours.limit) == (2.5, 10.0)
    assert view.used_gpu_hours == pytest.approx(2.0, rel=1e-3)
    assert view.share_of_use == 1.0
