"""`rfsched project`, run in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from researchflow_tmux.adapters.lesson_store import LessonStore
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.cli.main import run
from researchflow_tmux.policies.prediction.accuracy import Made
from tests.pasts import past


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings = "gpu_count: simulated:4\npolicy: balanced\nprojects: {idle: {weight: 3, gpu_hours: 7, period: week}}\n"
    (tmp_path / "scheduler_config.yml").write_text(f"task_name: t\n{settings}tmux_socket: {tmp_path}/none\n")
    (tmp_path / ".rfsched").mkdir(mode=0o700)
    past(40, running=False).write(str(tmp_path / ".rfsched" / "state.db"))
    return tmp_path


def project(root: Path, *words: str) -> int:
    return run(["-w", str(root), "project", *words])


def test_the_list_shows_what_is_left_of_a_budget(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project(root, "list") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("idle"))
    assert row.split() == ["idle", "3", "0", "GPU", "0", "7", "of", "7", "GPU-h", "this", "week"]
    assert project(root, "list", "--json") == 0
    views = {view["name"]: view for view in json.loads(capsys.readouterr().out)["projects"]}
    assert views["idle"]["gpu_hours"]["limit"] == 7.0


def test_a_workspace_without_projects_says_how_to_describe_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\n")
    assert project(tmp_path, "list") == 0
    assert "`rfsched project set NAME weight=2` describes one" in capsys.readouterr().out


def test_set_says_what_it_did_and_every_problem(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project(root, "set", "idle", "max_gpus=2", "gpu_hours=none") == 0
    assert capsys.readouterr().out == "project idle: max_gpus: 2, gpu_hours: none\n"
    assert project(root, "set", "idle", "max_gpu=2", "weight") == 2
    assert "did you mean 'max_gpus'?" in capsys.readouterr().err
    assert project(root, "set", "--user", "ann", "max_gpus=1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["section"] == "users"


def test_the_report_is_by_project_user_and_day_with_predictions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {job.spec.project for job in Workspace(root).jobs() if job.spec.project}
    name = min(names)
    store = LessonStore(Workspace(root).paths.predictions)
    made = [Made(2e9, 1, 1, "n", each, None, "started", "history", 100.0, 110.0, 90.0, 120.0) for each in (name, "x")]
    store.add([], made, 0)
    store.close()
    assert project(root, "report", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rfsched.project-report/1"
    assert {tally["key"] for tally in found["projects"]} >= names
    assert found["accuracy"][0]["predictions"] == 2
    assert project(root, "report", name, "--json") == 0
    one = json.loads(capsys.readouterr().out)
    [own] = [tally for tally in found["projects"] if tally["key"] == name]
    assert (one["name"], one["total"]["gpu_hours"]) == (name, own["gpu_hours"])
    assert one["accuracy"][0]["predictions"] == 1
    assert project(root, "report", name) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"project {name}: rfsched report on ")
    assert "DAY" in shown
    assert "PROJECT" not in shown
    assert "at the start" in shown


def test_a_report_on_nobody_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project(root, "report", "idel") == 2
    assert "did you mean 'idle'?" in capsys.readouterr().err
    assert project(root, "report", "idle") == 0
    assert project(root, "report", "--user", "nobody") == 2
