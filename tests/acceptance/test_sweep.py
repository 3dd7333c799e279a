"""A sweep through the installed command: many jobs from one file, and never one of them twice."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from researchflow_tmux.adapters.template import template_dir
from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

SWEEP = """\
command: {root}/job.sh --model {{model}} --lr {{lr}}
layout: "{{model}}/{{lr}}"
variables:
  model:
    - {{value: org/big model, nick: big}}
    - small
  lr: [0.1, 0.01, 1e-3]
"""


def write(workspace: RealWorkspace, **replaced: str) -> None:
    text = SWEEP.format(root=workspace.root)
    for old, new in replaced.items():
        text = text.replace(old, new)
    (workspace.root / "sweep.yml").write_text(text)


def test_a_sweep_runs_once_and_then_only_what_is_new(workspace: RealWorkspace) -> None:
    write(workspace)
    dry = workspace.ok("sweep", "sweep.yml", "--dry-run")
    assert dry.splitlines()[1].split() == ["big_0.1", "big", "0.1", "new"]
    assert dry.splitlines()[-1] == "6 jobs: 6 would be queued"
    assert workspace.status_or_none() is None

    out = workspace.ok("sweep", "sweep.yml").splitlines()
    assert out == ["6 jobs: 6 queued", "scheduler started in session t_scheduler"]
    assert workspace.ok("wait", "@sweep") == "6 jobs ended, 6 succeeded\n"
    expected = [f"{model}_{lr}" for model in ("big", "small") for lr in ("0.1", "0.01", "1e-3")]
    assert list(workspace.states()) == expected
    assert workspace.runs() == dict.fromkeys(expected, 1)
    assert workspace.ok("sweep", "sweep.yml") == "6 jobs: 0 queued, 6 known already\n"

    write(workspace, **{"0.01": "0.01, 0.5"})
    assert workspace.ok("sweep", "sweep.yml") == "8 jobs: 2 queued, 6 known already\n"
    assert workspace.ok("wait") == "8 jobs ended, 8 succeeded\n"
    assert workspace.runs() == dict.fromkeys([*expected, "big_0.5", "small_0.5"], 1)

    write(workspace, **{"    - small\n": ""})
    said = workspace.ok("sweep", "sweep.yml").splitlines()
    assert said[0] == "3 jobs: 0 queued, 3 known already"
    gone = "small_0.1, small_0.01, small_1e-3, big_0.5, small_0.5"
    assert said[1] == f"5 jobs not in the file any more, left alone: {gone}"
    assert len(workspace.states()) == 8


def test_each_job_has_its_own_config(workspace: RealWorkspace) -> None:
    (workspace.root / "base.yml").write_text("# mine\nmodel: {width: 8}\nrfsched: {gpus: 0}\n")
    (workspace.root / "wide.yml").write_text("config: base.yml\nvariables: {model.width: [16, 32]}\n")
    workspace.configure(command='cat {config}; echo "$RFSCHED_OUTPUT_DIR"')
    workspace.ok("sweep", "wide.yml")
    workspace.ok("wait")
    folder = workspace.root / "out" / "wide" / "32"
    assert workspace.ok("logs", "wide_32") == f"# mine\nmodel: {{width: 32}}\nrfsched: {{gpus: 0}}\n{folder}\n"
    assert workspace.job("wide_32")["gpus_wanted"] == 0
    assert (folder / "config_completed.txt").exists()


def test_what_failed_takes_over_the_new_command_and_waits_to_be_asked(workspace: RealWorkspace) -> None:
    (workspace.root / "f.yml").write_text("command: 'false {x}'\nvariables: {x: [1, 2]}\n")
    workspace.ok("sweep", "f.yml")
    workspace.call("wait")
    (workspace.root / "f.yml").write_text("command: 'true {x}'\nvariables: {x: [1, 2]}\n")
    said = workspace.ok("sweep", "f.yml").splitlines()
    assert said[0] == "2 jobs: 0 queued, 2 known already"
    assert said[1].startswith("2 of those known failed and were left alone")
    assert set(workspace.states().values()) == {"failed"}
    workspace.ok("requeue", "--failed")
    assert workspace.ok("wait") == "2 jobs ended, 2 succeeded\n"


def test_what_is_wrong_queues_nothing(workspace: RealWorkspace) -> None:
    write(workspace, lr="rate")
    result = workspace.call("sweep", "sweep.yml", "--max", "5")
    assert result.returncode == 3
    assert "stands for 6 jobs" in result.stderr
    (workspace.root / "bad.yml").write_text("command: echo {modle}\nvariables: {model: [1, 1]}\n")
    result = workspace.call("sweep", "bad.yml")
    assert result.returncode == 3
    assert "bad.yml:1:10: there is no variable `modle`" in result.stderr
    assert "bad.yml:2:24: model has the value 1 twice" in result.stderr
    assert workspace.status_or_none() is None


def test_two_sweeps_do_not_share_a_folder(workspace: RealWorkspace) -> None:
    write(workspace)
    workspace.ok("sweep", "sweep.yml", "--no-start")
    (workspace.root / "other.yml").write_text((workspace.root / "sweep.yml").read_text())
    result = workspace.call("sweep", "other.yml")
    assert result.returncode == 3
    assert "is the folder of big_0.1 (job 1, of sweep.yml)" in result.stderr


def test_json_and_a_folded_table(workspace: RealWorkspace) -> None:
    (workspace.root / "many.yml").write_text("command: echo {x}\nvariables: {x: {from: 1, to: 25}}\n")
    out = workspace.ok("sweep", "many.yml", "--dry-run").splitlines()
    assert (len(out), out[-2]) == (23, "… and 5 more; --all shows them")
    assert len(workspace.ok("sweep", "many.yml", "--dry-run", "--all").splitlines()) == 27
    found = json.loads(workspace.ok("sweep", "many.yml", "--dry-run", "--json"))
    assert (found["schema"], found["new"], found["known"], found["scheduler"]) == ("rfsched.sweep/1", 25, 0, None)
    assert found["jobs"][1]["values"] == {"x": 2}
    assert found["jobs"][1]["command"] == "echo 2"


def test_the_example_of_a_new_workspace_trains_in_folders_of_its_own(workspace: RealWorkspace) -> None:
    shutil.copytree(template_dir(), workspace.root, dirs_exist_ok=True)
    workspace.configure(command="{python} {script} --config_path {config}", python_env=sys.executable)
    quick = "\n  training.epochs: [2]\n  training.epoch_seconds: [0]\n"
    path = workspace.root / "sweep_example.yml"
    assert workspace.ok("sweep", str(path), "--dry-run").splitlines()[-1] == "6 jobs: 6 would be queued"
    path.write_text(path.read_text().replace("count: 3}\n", "count: 2}" + quick).replace("[4, 16]", "[4]"))
    workspace.ok("sweep", str(path))
    assert workspace.ok("wait") == "2 jobs ended, 2 succeeded\n"
    rates = set()
    for folder in Path(workspace.root, "out", "sweep", "4_units").iterdir():
        assert (folder / "config_completed.txt").read_text().startswith("Task: config")
        rates.add(json.loads((folder / "config_result.json").read_text())["config"]["training"]["learning_rate"])
    assert rates == {0.01, 1.0}
