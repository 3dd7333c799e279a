"""The demo of all ways in: jobs from a job file, a table, a sweep, a pipeline and Python share two simulated GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

import msgspec

from researchflow_tmux.api import demo
from researchflow_tmux.api.views import JobView
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.job import JobState

FILES: Mapping[str, str] = {
    "fit.py": '''\
"""Trains one classifier of iris species: python fit.py --rate 0.1 --hidden 8 --seed 0"""

import argparse
import json
import os
import random

from train import FEATURES, Network, load_data, train


def fit(rate=0.1, hidden=8, seed=0, epochs=15):
    """Return the share of flowers that it did not see and recognises."""
    rng = random.Random(seed)
    data, test = load_data(FEATURES)
    options = {"learning_rate": rate, "epochs": epochs, "epoch_seconds": 0.1}
    return train(Network(len(FEATURES), hidden, rng), data, test, options, rng)[-1]["test"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    accuracy = fit(**vars(parser.parse_args()))
    print(f"test accuracy {accuracy:.1%}")
    with open(f"out/{os.environ['RFSCHED_JOB']}_result.json", "w") as file:
        json.dump({"test_accuracy": accuracy}, file)
''',
    "jobs/commands.txt": """\
## A job file: one command a line. Its marks show how each one stands.
{python} fit.py --rate 0.3
{python} fit.py --rate 0.03
#@ name=first priority=5
{python} fit.py --hidden 16
""",
    "jobs/todo.csv": """\
name,rate,hidden,need_run_num,cmd
narrow,0.1,2,1,{python} fit.py
twice,0.2,4,2,{python} fit.py
""",
    "jobs/grid.yml": """\
# A sweep: every combination of these is a job.
command: "{python} fit.py --rate {rate} --hidden {hidden}"
variables:
  rate: [0.05, 0.5]
  hidden: [4, 12]
""",
    "jobs/report.yml": """\
# A pipeline: these need each other.
name: report
jobs:
  check:
    command: "test -s data/iris.csv"
    gpus: 0
  fit:
    needs: [check]
    matrix: {seed: [1, 2]}
    command: "{python} fit.py --seed {seed}"
  best:
    needs: [fit]
    gpus: 0
    command: "cat out/report_fit_*_result.json > out/report.txt"
    outputs: [out/report.txt]
""",
    "submit.py": '''\
"""Functions as jobs: each runs in a session of its own, and its result comes back."""

from fit import fit
from researchflow_tmux import Workspace, job


@job(gpus=1)
def attempt(hidden):
    return fit(hidden=hidden, seed=3)


workspace = Workspace(".")
handles = [attempt.having(name=f"python_{hidden}").submit(workspace, hidden) for hidden in (6, 24)]
for handle in handles:
    print(f"{handle.name} returned {handle.result():.1%}", flush=True)
''',
}
"""What the workspace has beside the template's training script; `{python}` in a job file is filled in."""


class Done(msgspec.Struct, kw_only=True):
    """One job, and where it came from."""

    name: str
    came_from: str
    gpus: str
    attempts: int
    state: str
    accuracy: float | None

    @property
    def good(self) -> bool:
        """It succeeded and ran exactly once."""
        return self.state == JobState.SUCCEEDED and self.attempts == 1


def prepare(directory: str, socket: str | None) -> Workspace:
    """Make the workspace. Raises UsageError when there is something in the directory already."""
    workspace = demo.prepare(directory, socket)
    shutil.rmtree(os.path.join(directory, "configs"))
    for name, text in FILES.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("{python}", sys.executable) if name.endswith(".txt") else text)
    return workspace


def submit_from_python(workspace: Workspace) -> subprocess.Popen[str]:
    """Run `submit.py` as a user would; it prints what its functions return and ends with the last of them."""
    return subprocess.Popen(
        [sys.executable, "submit.py"],
        cwd=workspace.paths.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(workspace: Workspace) -> list[Done]:
    """What became of every job, in the order of their ids."""
    accuracies = {result.name: result.accuracy for result in demo.results(workspace)}
    return [
        Done(
            name=job.name,
            came_from=_came_from(job),
            gpus=",".join(map(str, job.gpus)) or "cpu",
            attempts=job.attempt,
            state=job.state,
            accuracy=accuracies.get(job.name),
        )
        for job in workspace.status().jobs
    ]


def _came_from(job: JobView) -> str:
    """The file in which it is written."""
    file = job.key.partition("#")[0]
    return file if os.sep in file else "submit.py"
