"""The environment of a job's process."""

from __future__ import annotations

import os
from collections.abc import Mapping

from researchflow_tmux.adapters import job_library
from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job, JobSpec
from researchflow_tmux.domain.resources import Allocation
from researchflow_tmux.runner.reap import COOKIE

METRICS_NAME = "metrics.jsonl"
PROGRESS_NAME = "progress.json"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS")


def environment(bench: Bench, attempt: Attempt, job: Job, captured: Mapping[str, str]) -> dict[str, str]:
    """Return the job's whole environment: captured at submission, then the workspace's, the job's and ours."""
    env = {name: value for name, value in captured.items() if not name.startswith("RFSCHED_")}
    for name in ("TMUX", "TMUX_PANE", "OLDPWD", "_"):
        env.pop(name, None)
    env["PWD"] = job.spec.workdir
    env = thread_variables(job.spec.request.cpus) | env
    given = {**bench.settings.env, **job.spec.env}
    env |= given
    env |= gpu_variables(attempt.allocation, bench.settings.cuda_visible_devices_var, given)
    env |= {
        "RFSCHED_JOB": job.name,
        "RFSCHED_JOB_ID": str(job.id),
        COOKIE: bench.tag(attempt),
        "RFSCHED_ATTEMPT_NUMBER": str(attempt.number),
        "RFSCHED_WORKSPACE": bench.paths.root,
    }
    env |= array_variables(job.spec)
    directory = bench.directory(attempt)
    env |= {
        "RFSCHED_METRICS": os.path.join(directory, METRICS_NAME),
        "RFSCHED_PROGRESS": os.path.join(directory, PROGRESS_NAME),
    }
    optional = {
        "RFSCHED_OUTPUT_DIR": job.spec.output_dir,
        "RFSCHED_CHECKPOINT_DIR": attempt.checkpoints,
        "RFSCHED_RESUME_FROM": attempt.resumed_from,
        job_library.VARIABLE: job_library.path_with_library(bench.paths, env.get(job_library.VARIABLE)),
    }
    env |= {name: value for name, value in optional.items() if value is not None}
    return tracker_names(bench.settings.task_name, f"{job.name}_a{attempt.number}") | env


def array_variables(spec: JobSpec) -> dict[str, str]:
    """Return what tells a job of an array which one it is."""
    array = spec.array
    if array is None:
        return {}
    return {
        "RFSCHED_ARRAY_ID": array.id,
        "RFSCHED_ARRAY_INDEX": str(spec.array_index),
        "RFSCHED_ARRAY_COUNT": str(array.count),
        "RFSCHED_ARRAY_MIN": str(array.first),
        "RFSCHED_ARRAY_MAX": str(array.last),
    }


def thread_variables(cpus: int | None) -> dict[str, str]:
    """Return how many threads libraries start of their own accord; where the user says something, that holds."""
    return {} if cpus is None else dict.fromkeys(THREAD_VARIABLES, str(cpus))


def tracker_names(group: str, run: str) -> dict[str, str]:
    """Return what experiment trackers call the run; for a variable that the user has set, that holds."""
    return {"WANDB_NAME": run, "WANDB_RUN_GROUP": group, "MLFLOW_RUN_NAME": run}


def gpu_variables(allocation: Allocation, variable: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return what tells the job its GPUs.

    Indices are physical: without PCI_BUS_ID, CUDA's "GPU 1" is another card than the driver's. A MIG part has no
    index, so there every device goes by UUID. A CPU job gets an empty list, so that it cannot take a GPU by accident;
    somebody who sets the variable for it on purpose has the last word. With GPUs, the allocation has.
    """
    gpus = allocation.gpus
    if not gpus:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", variable: given.get(variable, "")}
    by_uuid = any(gpu.uuid.startswith("MIG-") for gpu in gpus)
    ordered = sorted(gpus, key=lambda gpu: gpu.index)
    names = [gpu.uuid if by_uuid else str(gpu.index) for gpu in ordered]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", variable: ",".join(names)}
