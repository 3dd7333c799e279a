"""A pipeline through the installed command: matrix, conditions, files that say what is to be done, and kill -9."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from researchflow_tmux.adapters.template import template_dir
from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

SAY = 'echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"'
PIPELINE = f"""\
name: exp
defaults: {{gpus: 0}}
jobs:
  prepare:
    command: '{SAY}; cat raw/*.csv > clean.csv'
    inputs: raw/*.csv
    outputs: clean.csv
  train:
    needs: [prepare]
    matrix:
      model: [{{value: org/big, nick: big}}, small]
      seed: {{from: 0, to: 2}}
      exclude: [{{model: small, seed: 2}}]
    gpus: 1
    command: '{SAY}; sleep 0.4; (cat clean.csv; echo {{model}}) > {{model.nick}}_{{seed}}.pt'
    inputs: clean.csv
    outputs: '{{model.nick}}_{{seed}}.pt'
  eval:
    needs: [train]
    matrix: {{model: [{{value: org/big, nick: big}}, small]}}
    command: '{SAY}; cat {{model.nick}}_*.pt > {{model.nick}}.txt'
    outputs: '{{model.nick}}.txt'
  alarm: {{needs: [prepare, train], when: failure, command: '{SAY}; echo oh'}}
  tidy: {{needs: [eval, alarm], when: always, command: '{SAY}'}}
"""
TRAININGS = ["exp_train_big_0", "exp_train_big_1", "exp_train_big_2", "exp_train_small_0", "exp_train_small_1"]
EVALS = ["exp_eval_big", "exp_eval_small"]
WORK = ["exp_prepare", *TRAININGS, *EVALS]


@pytest.fixture
def exp(workspace: RealWorkspace) -> RealWorkspace:
    (workspace.root / "raw").mkdir()
    for name in ("a", "b"):
        (workspace.root / "raw" / f"{name}.csv").write_text(f"{name}\n")
    (workspace.root / "pipeline.yml").write_text(PIPELINE)
    return workspace


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_it_runs_through_kills_and_then_only_what_is_out_of_date(exp: RealWorkspace) -> None:
    dry = exp.ok("pipeline", "pipeline.yml", "--dry-run").splitlines()
    assert dry[1].split() == ["exp_prepare", "-", "yes,", "new"]
    assert dry[-1] == "10 jobs: 10 would be queued"
    assert exp.status_or_none() is None

    # kill -9 of the scheduler in the middle, twice; its keeper starts it again
    out = exp.ok("pipeline", "pipeline.yml").splitlines()
    assert out == ["10 jobs: 10 queued", "scheduler started in session t_scheduler"]
    for trainings in (1, 4):
        eventually(lambda: sum(name in exp.runs() for name in TRAININGS) >= trainings, 30.0, what="trainings")  # noqa: B023
        kill9(eventually(exp.scheduler_pid, 20.0, what="a scheduler") or 0)
    assert exp.ok("wait", "@exp") == "10 jobs ended, 9 succeeded, 1 not needed\n"
    once = dict.fromkeys([*WORK, "exp_tidy"], 1)
    assert exp.runs() == once
    assert exp.states()["exp_alarm"] == "skipped"
    assert (exp.root / "small.txt").read_text() == "a\nb\nsmall\n" * 2

    # nothing changed: nothing runs
    assert exp.ok("pipeline", "pipeline.yml") == "10 jobs: 0 queued, 9 up to date, 1 not needed\n"

    # one training's output is gone: it, its evaluation, and what comes after them whatever happens
    (exp.root / "small_1.pt").unlink()
    assert exp.ok("pipeline", "pipeline.yml").splitlines()[0] == "10 jobs: 4 queued, 6 up to date"
    exp.ok("wait", "@exp")
    twice = once | {"exp_train_small_1": 2, "exp_eval_small": 2, "exp_tidy": 2}
    assert exp.runs() == twice

    # asked for by name, what is up to date runs all the same
    exp.ok("pipeline", "pipeline.yml", "--only", "exp_train_big_0", "--force")
    exp.ok("wait", "@exp")
    assert exp.runs() == twice | {"exp_train_big_0": 2}
    dry = exp.ok("pipeline", "pipeline.yml", "--dry-run").splitlines()
    assert dry[-1] == "10 jobs: 2 would be queued, 7 up to date, 1 not needed"
    assert next(line for line in dry if line.startswith("exp_eval_big")).endswith("yes, a job that it needs ran again")


def test_a_failure_skips_what_needs_it_sets_off_the_alarm_and_is_all_that_runs_again(exp: RealWorkspace) -> None:
    file = exp.root / "pipeline.yml"
    change(file, "(cat clean.csv;", "test {model} = small && (cat clean.csv;")
    exp.ok("pipeline", "pipeline.yml")
    said = exp.call("wait", "@exp")
    assert said.returncode == 1
    assert "exp_train_big_0: failed: exit code 1" in said.stdout
    assert "exp_eval_big: an earlier job did not succeed: exp_train_big_" in said.stdout
    states = exp.states()
    assert states["exp_alarm"] == states["exp_tidy"] == states["exp_eval_small"] == "succeeded"
    assert "oh" in exp.log("exp_alarm")

    change(file, "test {model} = small && (cat clean.csv;", "(cat clean.csv;")
    assert exp.ok("pipeline", "pipeline.yml").splitlines()[0] == "10 jobs: 9 queued, 1 up to date"
    assert exp.ok("wait", "@exp") == "10 jobs ended, 9 succeeded, 1 not needed\n"
    assert exp.runs()["exp_prepare"] == 1


def test_files_are_looked_at_when_a_job_would_start(exp: RealWorkspace) -> None:
    """Queued while its input is missing, or new; what it finds when its turn comes is what counts."""
    (exp.root / "chain.yml").write_text(
        "defaults: {gpus: 0}\n"
        "jobs:\n"
        f"  make: {{command: '{SAY}; sleep 0.2; echo 1 > made', outputs: [made]}}\n"
        f"  use: {{needs: make, command: '{SAY}; cp made used', inputs: [made], outputs: [used]}}\n"
        f"  lacks: {{command: '{SAY}', inputs: [nowhere/*.bin]}}\n"
        f"  idle: {{command: '{SAY}', outputs: [never]}}\n"
    )
    exp.ok("pipeline", "chain.yml")
    exp.call("wait")
    assert exp.runs() == {"chain_make": 1, "chain_use": 1, "chain_idle": 1}
    assert exp.reason("chain_lacks").startswith("could not be launched: its input is not there: nowhere/*.bin (below /")
    assert exp.reason("chain_idle") == "ended without its output: never"

    # queued again because `make` is; and `make` finds its output there again when it starts
    text = (exp.root / "made").read_text()
    stat = (exp.root / "made").stat()
    (exp.root / "made").rename(exp.root / "away")
    exp.ok("stop")
    assert exp.ok("pipeline", "chain.yml", "--only", "use", "--no-start").splitlines()[0] == "2 jobs: 2 queued"
    (exp.root / "away").rename(exp.root / "made")
    assert ((exp.root / "made").read_text(), (exp.root / "made").stat().st_mtime_ns) == (text, stat.st_mtime_ns)
    exp.ok("start", "--no-configs")
    exp.ok("wait", "chain_make", "chain_use")
    assert (exp.runs()["chain_make"], exp.runs()["chain_use"]) == (1, 1)
    assert exp.reason("chain_use") == "up to date"

    # by hand means: run it
    exp.ok("requeue", "chain_use")
    exp.ok("wait", "chain_use")
    assert exp.runs()["chain_use"] == 2


def test_what_is_wrong_queues_nothing_and_json_says_all(exp: RealWorkspace) -> None:
    (exp.root / "bad.yml").write_text("jobs:\n  a: {command: x, needs: [b]}\n  b: {command: 'y {z}', needs: [a, c]}\n")
    result = exp.call("pipeline", "bad.yml")
    assert result.returncode == 3
    assert "bad.yml:2:27: jobs need each other in a circle: a → b → a" in result.stderr
    assert "bad.yml:3:" in result.stderr
    assert "b needs 'c', and there is no job of that name" in result.stderr
    result = exp.call("pipeline", "pipeline.yml", "--only", "tran")
    assert (result.returncode, "did you mean 'train'?" in result.stderr) == (2, True)
    assert exp.status_or_none() is None
    found = json.loads(exp.ok("pipeline", "pipeline.yml", "--dry-run", "--json", "--only", "eval"))
    assert (found["schema"], found["queued"], found["name"]) == ("rfsched.pipeline/1", 8, "exp")
    last = found["jobs"][-1]
    assert (last["name"], last["needs"], last["values"]) == ("exp_eval_small", TRAININGS[3:], {"model": "small"})


def test_two_pipelines_of_one_name_are_told_apart(exp: RealWorkspace) -> None:
    exp.ok("pipeline", "pipeline.yml", "--only", "prepare", "--no-start")
    shutil.copy(exp.root / "pipeline.yml", exp.root / "copy.yml")
    said = exp.call("pipeline", "copy.yml", "--dry-run")
    assert said.stderr == "note: the pipeline of pipeline.yml is called exp too: a `name:` tells them apart\n"


def test_files_in_jobs_are_queued_by_start_when_they_appear_and_when_they_change(exp: RealWorkspace) -> None:
    jobs = exp.root / "jobs"
    jobs.mkdir()
    (jobs / "p.yml").write_text("defaults: {gpus: 0}\njobs: {a: {command: 'true'}, b: {command: 'true', needs: [a]}}\n")
    (jobs / "odd.yml").write_text("learning_rate: 1\n")
    said = exp.call("start")
    assert said.returncode == 0, said.stderr
    assert "odd.yml: is neither a pipeline (`jobs:` at the top) nor a sweep" in said.stdout + said.stderr
    assert exp.settled() == {"p_a": "succeeded", "p_b": "succeeded"}

    (jobs / "more").mkdir()
    (jobs / "more" / "s.yml").write_text("command: 'true'\nvariables: {v: [1, 2]}\nrfsched: {gpus: 0}\n")
    eventually(lambda: "s_2" in exp.states(), 10.0, what="the sweep that appeared")
    assert set(exp.settled().values()) == {"succeeded"}

    exp.ok("clean", "--older-than", "0s", "--yes")
    file = jobs / "p.yml"
    file.write_text(file.read_text().replace("[a]}}", "[a]}, c: {command: 'sleep 60'}, d: {command: x, needs: [c]}}"))
    exp.wait_for("p_c", "running")
    file.write_text(file.read_text().replace(", d: {command: x, needs: [c]}", ""))
    exp.wait_for("p_d", "cancelled")
    assert exp.reason("p_d") == "withdrawn: taken out of jobs/p.yml"
    assert exp.states() | {"s_1": "succeeded", "s_2": "succeeded"} == {
        **dict.fromkeys(["p_a", "p_b", "s_1", "s_2"], "succeeded"),
        "p_c": "running",
        "p_d": "cancelled",
    }
    with exp.api.reader() as reader:
        assert {job.name: job.attempts for job in reader.all_jobs()} == {
            "p_a": 1,
            "p_b": 1,
            "p_c": 1,
            "p_d": 0,
            "s_1": 1,
            "s_2": 1,
        }


def test_the_example_of_a_new_workspace_trains(workspace: RealWorkspace) -> None:
    shutil.copytree(template_dir(), workspace.root, dirs_exist_ok=True)
    workspace.configure(python_env=sys.executable)
    for name in ("mlp_8", "mlp_32"):
        change(workspace.root / "configs" / f"{name}.yml", "epoch_seconds: 0.05", "epoch_seconds: 0")
        change(workspace.root / "configs" / f"{name}.yml", "epochs: 60", "epochs: 2")
    workspace.ok("pipeline", "pipeline_example.yml")
    assert workspace.ok("wait") == "5 jobs ended, 4 succeeded, 1 not needed\n"
    assert len((workspace.root / "out" / "comparison.txt").read_text().splitlines()) == 2
    change(workspace.root / "configs" / "mlp_8.yml", "epochs: 2", "epochs: 1")
    said = workspace.ok("pipeline", "pipeline_example.yml", "--dry-run").splitlines()
    assert said[-1] == "5 jobs: 3 would be queued, 2 up to date"
