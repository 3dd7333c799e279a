"""Jobs that were ended in the middle go on from their newest sound checkpoint: installed rfsched, real tmux."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually
from tests.workspaces import RFSCHED, RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

TEMPLATE = Path(__file__).parents[2] / "workspace_template"
TRAINING = """\
model:
  hidden_units: 4
training:
  epochs: 60
  epoch_seconds: 0.06
"""
COUNTS = """\
# Saves three steps more than it found, and then fails, unless there is a file `good`.
import os, sys
from researchflow_tmux import current_job
job = current_job()
found = job.checkpoint.load_latest()
begin = found.step + 1 if found else 1
for step in range(begin, begin + 3):
    job.checkpoint.save({"step": step}, step, wait=True)
print("began with", begin, flush=True)
sys.exit(0 if os.path.exists("good") else 3)
"""
COUNTS_IN_SHELL = f"""\
n=0
[ -z "$RFSCHED_RESUME_FROM" ] || n=$(cat "$RFSCHED_RESUME_FROM/n")
mkdir -p $RFSCHED_JOB
trap 'echo $n > $RFSCHED_JOB/n; {RFSCHED} checkpoint commit $RFSCHED_JOB --step $n; exit 1' USR1
trap 'exit 1' TERM
echo "begins with $n"
while [ $n -lt "$1" ]; do n=$((n + 1)); sleep 0.05; done
"""


def trainings(ws: RealWorkspace, *names: str, **section: Any) -> None:
    """Jobs that train the template's model, all alike."""
    shutil.copy(TEMPLATE / "train.py", ws.root)
    shutil.copytree(TEMPLATE / "data", ws.root / "data", dirs_exist_ok=True)
    for name in names:
        ws.config(name, f"{sys.executable} train.py --config_path {{config}}", TRAINING, **section)


def learned(ws: RealWorkspace, name: str) -> list[dict[str, float]]:
    """What every epoch of a training brought, but for the time it took."""
    result = json.loads((ws.root / "out" / f"{name}_result.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in result["history"]]


def steps_saved(ws: RealWorkspace, name: str) -> list[int]:
    """Steps of a job's checkpoints, the newest first."""
    found = json.loads(ws.ok("checkpoint", "list", name, "--json"))
    return [each["step"] for each in found["checkpoints"]]


def saved(ws: RealWorkspace, name: str) -> None:
    """Wait until a running job has saved a checkpoint."""
    eventually(lambda: list((ws.root / "checkpoints" / name).glob("ckpt-*")), 20.0, f"a checkpoint of {name}")


def test_a_killed_training_ends_with_the_numbers_of_one_that_was_not(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(retry_delay=0.1, restart_lost=True)
    trainings(ws, "calm", "killed", "lost", retries=1)
    ws.ok("start")
    saved(ws, "killed")
    for pid in ws.job_pids("killed"):
        os.kill(pid, signal.SIGKILL)
    saved(ws, "lost")
    kill9(ws.runner("lost"))
    eventually(lambda: ws.job("killed")["attempt"] == 2 and ws.job("killed")["started_at"], 20.0)
    shown = next(line for line in ws.ok("status").splitlines() if line.startswith("killed "))
    assert "attempt 2, from step " in shown
    assert " s lost)" in shown
    assert set(ws.settled().values()) == {"succeeded"}

    jobs = {job["name"]: job for job in json.loads(ws.ok("status", "--json"))["jobs"]}
    assert (jobs["calm"]["attempt"], jobs["calm"]["resumed_step"], jobs["calm"]["lost_s"]) == (1, None, None)
    assert (jobs["killed"]["attempt"], jobs["lost"]["attempt"]) == (2, 2)
    assert 5 <= jobs["killed"]["resumed_step"] < 60
    assert 0 <= jobs["killed"]["lost_s"] < 5
    assert 5 <= jobs["lost"]["resumed_step"] < 60
    assert jobs["lost"]["lost_s"] is None, "its runner left no record of when it ended"
    assert len(learned(ws, "calm")) == 60
    assert learned(ws, "killed") == learned(ws, "lost") == learned(ws, "calm")

    step = jobs["killed"]["resumed_step"]
    assert f"resumed after epoch {step}" in ws.ok("logs", "killed")
    assert f"from step {step}" in ws.ok("history", "killed")
    assert f"from step {step}" in ws.ok("why", "killed")
    assert "3 checkpoints sound, 0 damaged" in ws.ok("checkpoint", "verify", "killed")
    metrics = ws.root / ".rfsched" / "attempts" / str(jobs["calm"]["id"]) / "1" / "metrics.jsonl"
    names = [json.loads(line)["name"] for line in metrics.read_text().splitlines()]
    assert names == ["loss", "accuracy"] * 60


def test_damaged_afresh_and_again(workspace: RealWorkspace) -> None:
    ws = workspace
    (ws.root / "counts.py").write_text(COUNTS)
    ws.config("job", f"{sys.executable} counts.py")
    ws.ok("start")
    ws.wait_for("job", "failed")
    assert steps_saved(ws, "job") == [3, 2, 1]

    folder = ws.root / "checkpoints" / "job"
    newest = max(folder.glob("ckpt-*"))
    (newest / "rfsched-state.json").write_bytes(b"torn")
    shutil.copytree(newest, folder / ".draft-host-1-0123abcd")  # what a writer leaves that died at it
    ws.ok("requeue", "job")
    eventually(lambda: ws.job("job")["attempt"] == 2)
    ws.wait_for("job", "failed")
    assert ws.job("job")["resumed_step"] == 2
    assert "began with 3" in ws.log("job")
    assert f"checkpoint {newest.name}" in ws.ok("history", "job")
    assert "is damaged and passed over" in ws.ok("history", "job")

    ws.ok("requeue", "job", "--fresh")
    eventually(lambda: ws.job("job")["attempt"] == 3)
    ws.wait_for("job", "failed")
    assert (ws.job("job")["resumed_step"], "began with 1" in ws.log("job")) == (None, True)
    assert "begins afresh" in ws.ok("history", "job")

    (ws.root / "good").touch()
    ws.ok("requeue", "job")
    ws.wait_for("job", "succeeded")
    assert (ws.job("job")["resumed_step"], "began with 4" in ws.log("job")) == (3, True)

    ws.ok("requeue", "job")  # what succeeded is done again from the start
    eventually(lambda: ws.job("job")["attempt"] == 5)
    ws.wait_for("job", "succeeded")
    assert (ws.job("job")["resumed_step"], "began with 1" in ws.log("job")) == (None, True)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["job", "job_after_a2", "job_after_a4"]


def test_a_time_limit_and_a_requeue_let_a_program_in_any_language_save(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(stop_grace=8.0, retry_delay=0.1)
    script = ws.script("counts.sh", COUNTS_IN_SHELL)
    ws.config("limited", f"{script} 45", time_limit=1, retries=6)
    ws.config("asked", f"{script} 60")
    ws.ok("start")
    eventually(lambda: "begins with 0" in ws.log("asked"))
    ws.ok("requeue", "asked")
    assert set(ws.settled(40.0).values()) == {"succeeded"}
    limited, asked = ws.job("limited"), ws.job("asked")
    assert limited["attempt"] >= 2
    assert 0 < limited["resumed_step"] < 45
    assert asked["attempt"] == 2
    assert f"begins with {asked['resumed_step']}" in ws.log("asked")


def test_the_template_trains_with_the_standard_library_alone(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "a.yml").write_text(TRAINING.replace("0.06", "0"))
    command = [os.path.realpath(sys.executable), "-I", "-S", "train.py", "--config_path", "a.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a: test accuracy 9" in done.stdout
