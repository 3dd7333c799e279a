"""Runs and histories for the tests of records. As a program: `python -m tests.unit.records.samples ROOT` catches up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Outcome
from researchflow_tmux.domain.events import AttemptEnded
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import Allocation, GpuShare
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records.catching_up import catch_up
from researchflow_tmux.records.runs import Run, _run

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def run(
    job: str = "exp1",
    attempt: int = 1,
    *,
    job_id: int | None = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    succeeded: bool = True,
    **extra: Any,
) -> Run:
    """A run as it is read from its record."""
    number = job_id if job_id is not None else int("0" + "".join(filter(str.isdigit, job)))
    ranges = {name: {"last": value, "min": value, "max": value, "count": 1} for name, value in (metrics or {}).items()}
    entry = {
        "uuid": f"{number:08x}-{attempt:04x}",
        "metadata": {"job": job, "attempt": attempt, "run": f"w/{number}.{attempt}", "config": dict(config or {})},
        "extra_info": {"succeeded": succeeded, "metrics": dict(metrics or {}), "metrics_range": ranges, **extra},
        "attachments": {},
    }
    found = _run(entry)
    assert found is not None
    return found


def workspace(root: Path) -> WorkspacePaths:
    """A workspace directory with its state directory."""
    (root / ".rfsched").mkdir(parents=True)
    (root / "scheduler_config.yml").write_text("task_name: t\n")
    return WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))


def spec(root: str, name: str = "exp1", **fields: Any) -> JobSpec:
    """A job of a config."""
    config = os.path.join(root, "configs", f"{name}.yml")
    given = {"argv": ("python", "train.py"), "workdir": root, "env_digest": "e" * 8, "config_path": config, **fields}
    return JobSpec(source="config", key=f"configs/{name}.yml", name=name, **given)


def job(root: str, number: int = 1, **fields: Any) -> Job:
    """A job that succeeded."""
    name = f"exp{number}"
    return Job(id=number, spec=spec(root, name, **fields), slug=name, state=JobState.SUCCEEDED, queued_at=NOW)


def ended(outcome: Outcome | None = None, **fields: Any) -> Ended:
    """Nine seconds of run."""
    given = {"started_at": NOW + timedelta(seconds=1), "ended_at": NOW + timedelta(seconds=10), **fields}
    return Ended(outcome=outcome or Exited(code=0, succeeded=True), **given)


def attempt(job_id: int = 1, number: int = 1, end: Ended | None = None) -> Attempt:
    """An attempt on GPU 0 that has ended."""
    return Attempt(
        job_id=job_id,
        number=number,
        allocation=Allocation(gpus=(GpuShare(uuid="GPU-a", index=0, share=1.0),)),
        session=f"t_exp{job_id}_gpu0",
        log=f"/logs/exp{job_id}.log",
        planned_at=NOW,
        boot_id="b",
        hostname="here",
        phase=end or ended(),
    )


def history(paths: WorkspacePaths, numbers: range, attempts: int = 1) -> None:
    """Jobs with ended attempts, each with a config and metrics in its directory, in a real database."""
    store = SqliteStore(paths.database, boot_id="b")
    for number in numbers:
        tries = [attempt(number, at) for at in range(1, attempts + 1)]
        for each in tries:
            fill(paths.attempt_dir(number, each.number), number)
        events = [AttemptEnded(job_id=number, number=each.number, ended=ended()) for each in tries]
        store.commit(events, [job(paths.root, number)], tries, at=NOW)
    store.close()


def fill(directory: str, number: int) -> None:
    """What an attempt leaves in its directory."""
    os.makedirs(directory)
    Path(directory, "config.yml").write_text(f"lr: 0.{number}\n")
    Path(directory, "metrics.jsonl").write_text(json.dumps({"loss": 1 / number, "step": 1}) + "\n")


if __name__ == "__main__":
    root = sys.argv[1]
    print("begins", flush=True)
    print(catch_up(WorkspacePaths(root=root, config=os.path.join(root, "scheduler_config.yml"))), flush=True)
