"""From an attempt's directory to an observation, and from a job to its spec."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters.attempt_bench import Bench, log_paths
from researchflow_tmux.adapters.attempt_files import observe, signal_runner
from researchflow_tmux.adapters.attempt_spec import write_spec
from researchflow_tmux.adapters.exit_facts import ended_from
from researchflow_tmux.adapters.job_environment import gpu_variables
from researchflow_tmux.domain.attempt import Attempt, Exited, Killed, LaunchFailed, SlotTaken, TimedOut, UpToDate
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.resources import Allocation, GpuShare
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.ports import ClaimFree, ClaimHeld, Fenced, NotClaimed, Unknown, Unreaped
from researchflow_tmux.runner import claim, kernel, record, spec
from tests.tmux_fixtures import CAPTURED, make_job, plan

TAG = "ws1/1.1"
EXITED = {
    "outcome": "exited",
    "succeeded": True,
    "exit_code": 0,
    "ended_at": 1_700_000_100.0,
    "started_at": 1_700_000_000.0,
}


# Observing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def claimed(folder: str) -> Iterator[claim.Claimed]:
    """A claim that this process holds, as a runner would."""
    taken = claim.take(folder, TAG)
    assert taken is not None
    yield taken
    let_go(taken)
    os.close(taken.exit_fd)


def let_go(taken: claim.Claimed) -> None:
    if taken.lock_fd >= 0:
        os.close(taken.lock_fd)
        taken.lock_fd = -1


def test_nothing_there_is_not_claimed(folder: str) -> None:
    assert observe(folder, TAG) == NotClaimed()
    assert observe(f"{folder}/missing", TAG) == NotClaimed()


def test_a_held_claim(folder: str, claimed: claim.Claimed) -> None:
    seen = observe(folder, TAG)
    assert isinstance(seen, ClaimHeld)
    assert seen.runner_pid == os.getpid()


def test_a_record_wins_over_a_held_claim(folder: str, claimed: claim.Claimed) -> None:
    record.write(claimed.exit_fd, EXITED)
    assert observe(folder, TAG) == ended_from(EXITED)


def test_a_free_claim_without_a_record(folder: str, claimed: claim.Claimed) -> None:
    let_go(claimed)
    seen = observe(folder, TAG)
    assert isinstance(seen, ClaimFree)
    assert seen.survivors == ()
    assert seen.started_at is not None


def test_survivors_are_found_by_their_cookie(folder: str, claimed: claim.Claimed) -> None:
    let_go(claimed)
    child = subprocess.Popen(["/bin/sleep", "600"], env={"RFSCHED_ATTEMPT": TAG})
    try:
        seen = observe(folder, TAG)
        assert isinstance(seen, ClaimFree)
        assert seen.survivors == (child.pid,)
    finally:
        child.kill()
        child.wait()


def test_a_fence_is_no_death(folder: str) -> None:
    assert claim.fence(folder, TAG)
    assert observe(folder, TAG) == Fenced()


def test_a_refusal_ends_the_attempt_and_no_runner_can_claim_it_any_more(folder: str) -> None:
    record.refuse(folder, {"outcome": "launch_failed", "reason": "no space", "ended_at": 5.0, "succeeded": False})
    for _ in range(2):
        seen = observe(folder, TAG)
        assert getattr(seen, "outcome", None) == LaunchFailed(reason="no space", host=True)
    assert claim.take(folder, TAG) is None


def test_a_refusal_is_forgotten_when_another_runner_claimed(folder: str) -> None:
    record.refuse(folder, {"outcome": "launch_failed", "reason": "no space", "ended_at": 5.0, "succeeded": False})
    taken = claim.take(folder, TAG)
    assert taken is not None
    assert isinstance(observe(folder, TAG), ClaimHeld)
    os.close(taken.lock_fd)
    os.close(taken.exit_fd)


def rewrite(folder: str, **changes: Any) -> None:
    """Change the claim in place: the lock is on the file."""
    path = Path(claim.path(folder))
    with path.open("r+") as file:
        content = json.load(file) | changes
        file.seek(0)
        file.write(json.dumps(content))
        file.truncate()


def test_another_machines_claim_is_unknown(folder: str, claimed: claim.Claimed) -> None:
    rewrite(folder, host="elsewhere")
    seen = observe(folder, TAG)
    assert isinstance(seen, Unknown)
    assert "elsewhere" in seen.why


def test_a_claim_of_an_earlier_boot_is_free_whatever_its_lock_says(folder: str, claimed: claim.Claimed) -> None:
    rewrite(folder, boot_id="earlier")
    assert isinstance(observe(folder, TAG), ClaimFree)
    assert signal_runner(folder, 0) is None


def test_a_pid_that_was_given_away_gets_no_signal(folder: str, claimed: claim.Claimed) -> None:
    assert signal_runner(folder, 0) == os.getpid()
    rewrite(folder, start_time=1)
    assert signal_runner(folder, 9) is None


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = observe(str(tmp_path / "file"), TAG)
    assert isinstance(seen, Unknown)
    assert str(tmp_path) in seen.why


def test_unkillable_processes_count_while_they_live(folder: str, claimed: claim.Claimed) -> None:
    child = subprocess.Popen(["/bin/sleep", "600"])
    try:
        record.write(claimed.exit_fd, EXITED | {"unreaped": [child.pid], "ended_at": time.time()})
        seen = observe(folder, TAG)
        assert isinstance(seen, Unreaped)
        assert seen.pids == (child.pid,)
        record.write(claimed.exit_fd, EXITED | {"unreaped": [child.pid]})  # it ended long before this process began
        assert observe(folder, TAG) == ended_from(EXITED | {"unreaped": [child.pid]})
    finally:
        child.kill()
        child.wait()


# The exit record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        (EXITED, Exited(code=0, succeeded=True)),
        (EXITED | {"exit_code": 3, "succeeded": False}, Exited(code=3, succeeded=False)),
        (EXITED | {"by": "marker", "marker": True}, Exited(code=0, succeeded=True, marker=True, by_marker=True)),
        ({"outcome": "killed", "by": "user", "signal": 15}, Killed(by="user", signal=15)),
        ({"outcome": "killed", "by": "signal", "signal": 9}, Killed(by="signal", signal=9)),
        (
            {"outcome": "killed", "by": "signal", "signal": 9, "succeeded": True, "marker": True},
            Exited(code=None, succeeded=True, marker=True),
        ),
        ({"outcome": "timed_out", "reason": "over"}, TimedOut()),
        ({"outcome": "up_to_date", "succeeded": True}, UpToDate()),
        (EXITED | {"succeeded": False, "unmade": ["o"]}, Exited(code=0, succeeded=False, unmade=("o",))),
        ({"outcome": "slot_taken", "reason": "held by x"}, SlotTaken(reason="held by x")),
        ({"outcome": "launch_failed", "reason": "no such file"}, LaunchFailed(reason="no such file")),
    ],
)
def test_outcomes(facts: dict[str, Any], outcome: object) -> None:
    assert ended_from(facts).outcome == outcome


def test_an_outcome_of_a_newer_runner_is_told() -> None:
    outcome = ended_from({"outcome": "teleported"}).outcome
    assert isinstance(outcome, LaunchFailed)
    assert "teleported" in outcome.reason


def test_figures_and_notes() -> None:
    ended = ended_from(
        EXITED
        | {"max_rss_kib": 2048, "cpu_s": 1.5, "reason": "exit 0; 2 processes it left behind were ended"}
        | {"log_dropped_bytes": 10, "unreaped": [7]}
    )
    assert (ended.peak_rss_mib, ended.cpu_s) == (2.0, 1.5)
    assert ended.started_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (
        ended.note
        == "2 processes it left behind were ended; could not kill 7; 10 bytes of its output are not in the log"
    )
    assert ended_from(EXITED | {"reason": "exit 0"}).note == ""


# The spec -------------------------------------------------------------------------------------------------------------


def bench(root: Path, **settings: Any) -> Bench:
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    leased = frozenset({"GPU-a"})
    made = Settings(task_name="t", **settings)
    return Bench(workspace_id="ws1", paths=paths, settings=made, lease_dir="/leases", leased=leased)


def written(made: Bench, attempt: Attempt, job: Job, captured: Any = CAPTURED) -> dict[str, Any]:
    write_spec(made, attempt, job, captured)
    path = Path(made.directory(attempt), "spec.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    spec.read(str(path))  # the runner takes it
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_spec_has_all_the_runner_needs(tmp_path: Path) -> None:
    captured = CAPTURED | {"umask": 0o077, "nice": 5, "affinity": [0], "rlimits": {"NOFILE": [64, 128]}}
    job = make_job(1, "exit 0", marker="/m", request={"time_limit_s": 5.0}, workdir="/w")
    content = written(bench(tmp_path, log_cap="2GiB", stop_grace=3.0), plan(job), job, captured)
    assert content["argv"] == ["/bin/bash", "-c", "exit 0"]
    assert (content["cwd"], content["umask"], content["nice"], content["affinity"]) == ("/w", 0o077, 5, [0])
    assert content["rlimits"] == {"NOFILE": [64, 128]}
    assert content["log"] == {
        "path": f"{tmp_path}/logs/train_logs/j1_a1.log",
        "latest": f"{tmp_path}/logs/train_logs/j1.log",
        "cap_mib": 2048,
    }
    assert (content["time_limit_s"], content["stop_grace_s"], content["leftover_grace_s"]) == (5.0, 3.0, 2.0)
    told = {"rule": "exit_code", "marker": "/m", "grace_s": 10.0, "success": "no_error_only"}
    assert content["completion"] == told
    assert content["leases"] is None, "simulated GPUs are nobody else's"
    assert content["wake"] == f"{tmp_path}/.rfsched/wake"


def test_a_command_that_verifies_is_ready_to_run(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", verify="./check.sh {name} '{output_dir}'", output_dir="/o ut", name="a b")
    completion = written(bench(tmp_path), plan(job), job)["completion"]
    assert completion["verify"] == ["./check.sh", "a b", "/o ut"]
    assert (completion["success"], completion["verify_timeout_s"]) == ("no_error_and_verify", 300.0)
    only = make_job(1, "exit 0", verify="test -s x && true", verify_timeout_s=5.0, success="verify_only")
    completion = written(bench(tmp_path), plan(only), only)["completion"]
    assert completion["verify"][:2] == ["/bin/bash", "-c"]
    assert (completion["success"], completion["verify_timeout_s"]) == ("verify_only", 5.0)
    assert completion["verify_words"] == "test -s x && true"


def test_a_function_that_verifies_gets_its_arguments_in_a_private_file(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", verify="checks:done", variables={"lr": 0.1}, output_dir="/out")
    made, attempt = bench(tmp_path, python_env="/usr/bin/env python3"), plan(job)
    argv = written(made, attempt, job)["completion"]["verify"]
    call = Path(argv[-1])
    assert argv[:2] == ["/usr/bin/env", "python3"]
    assert argv[-2].endswith("verify_call.py")
    assert json.loads(call.read_text()) == {"function": "checks:done", "subject": {"lr": 0.1}, "output_dir": "/out"}
    assert stat.S_IMODE(call.stat().st_mode) == 0o600


def test_a_verification_that_cannot_be_built_is_told_at_the_launch(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", verify="{python} check.py")
    with pytest.raises(LaunchError, match=r"verify: \{python\} check.py` cannot be run"):
        written(bench(tmp_path, python_env="/no/such/python"), plan(job), job)
    without = make_job(1, "exit 0", verify="check {config}")
    with pytest.raises(LaunchError, match="this job has none"):
        written(bench(tmp_path), plan(without), without)


def test_cores_and_limits(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", request={"cpus": 2, "memory_mib": 1024}, env={"MKL_NUM_THREADS": "7"})
    attempt = replace(plan(job), allocation=Allocation(cores=(1, 3)))
    captured = CAPTURED | {"affinity": [0, 1, 2, 3], "env": {"PATH": "/bin", "OMP_NUM_THREADS": "5"}}
    content = written(bench(tmp_path), attempt, job, captured)
    assert content["affinity"] == [1, 3]
    assert (content["limits"]["memory_mib"], content["limits"]["cpus"]) == (1024, 2)
    threads = {name: value for name, value in content["env"].items() if name.endswith("_THREADS")}
    assert threads == {
        "OMP_NUM_THREADS": "5",
        "MKL_NUM_THREADS": "7",
        "OPENBLAS_NUM_THREADS": "2",
        "NUMEXPR_MAX_THREADS": "2",
    }
    shared = make_job(1, "exit 0")
    content = written(bench(tmp_path), plan(shared), shared, captured)
    assert content["affinity"] == [0, 1, 2, 3]
    assert "MKL_NUM_THREADS" not in content["env"]


def test_an_argv_goes_through_no_shell(tmp_path: Path) -> None:
    job = make_job(1, None, argv=["prog", "a b", "$x"])
    assert written(bench(tmp_path), plan(job), job)["argv"] == ["prog", "a b", "$x"]


def test_no_log_and_no_cap(tmp_path: Path) -> None:
    job = make_job(1, "exit 0")
    assert written(bench(tmp_path, enable_logging=False), plan(job), job)["log"] is None
    assert written(bench(tmp_path, log_cap=None), plan(job), job)["log"]["cap_mib"] is None


def test_logs_outside_the_workspace_carry_its_hash(tmp_path: Path) -> None:
    path, latest = log_paths(bench(tmp_path / "ws", log_dir=str(tmp_path / "shared")), "j", 2)
    assert Path(path).parent == tmp_path / "shared" / "train_logs"
    other = replace(bench(tmp_path / "ws", log_dir=str(tmp_path / "shared")), workspace_id="ws2")
    assert log_paths(other, "j", 2) != (path, latest)


def test_leases_name_the_gpus_that_others_may_want(tmp_path: Path) -> None:
    job = make_job(1, "exit 0")
    shares = tuple(
        GpuShare(uuid=uuid, index=index, share=0.5, memory_mib=9000) for index, uuid in enumerate(["GPU-a", "GPU-b"])
    )
    attempt = replace(plan(job), allocation=Allocation(gpus=shares))
    made = replace(bench(tmp_path), totals={"GPU-a": 24_000})
    leases = written(made, attempt, job)["leases"]
    assert leases["dir"] == "/leases"
    assert leases["session"] == attempt.session
    assert str(tmp_path) in leases["holder"]
    assert leases["gpus"] == [{"uuid": "GPU-a", "index": 0, "share": 0.5, "memory_mib": 9000, "total_mib": 24_000}], (
        "what it declared holds for all workspaces of the machine"
    )


def test_the_environment_is_captured_then_the_workspaces_then_the_jobs_then_ours(tmp_path: Path) -> None:
    variables = {"PATH": "/bin", "A": "shell", "B": "shell", "TMUX": "x", "RFSCHED_JOB": "outer", "ODD": "a\udcff"}
    job = make_job(1, "exit 0", env={"B": "job", "RFSCHED_JOB": "faked"}, output_dir="/out", name="my job")
    attempt = replace(plan(job, gpus=(1, 0)), checkpoints="/c/j1", resumed_from="/c/j1/newest")
    env = written(bench(tmp_path, env={"A": "ws", "B": "ws"}), attempt, job, {"env": variables})["env"]
    assert (env["A"], env["B"], env["PATH"], env["ODD"]) == ("ws", "job", "/bin", "a\udcff")
    assert "TMUX" not in env
    ours = {name: value for name, value in env.items() if name.startswith("RFSCHED_")}
    assert ours == {
        "RFSCHED_JOB": "my job",
        "RFSCHED_JOB_ID": "1",
        "RFSCHED_ATTEMPT": "ws1/1.1",
        "RFSCHED_ATTEMPT_NUMBER": "1",
        "RFSCHED_WORKSPACE": str(tmp_path),
        "RFSCHED_OUTPUT_DIR": "/out",
        "RFSCHED_CHECKPOINT_DIR": "/c/j1",
        "RFSCHED_RESUME_FROM": "/c/j1/newest",
        "RFSCHED_METRICS": f"{tmp_path}/.rfsched/attempts/1/1/metrics.jsonl",
        "RFSCHED_PROGRESS": f"{tmp_path}/.rfsched/attempts/1/1/progress.json",
    }
    assert (env["CUDA_DEVICE_ORDER"], env["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", "0,1")


def test_experiment_trackers_call_the_run_as_we_do_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", env={"WANDB_NAME": "mine"}, name="exp")
    made, attempt = bench(tmp_path, env={"MLFLOW_RUN_NAME": "ours"}), replace(plan(job), number=2)
    env = written(made, attempt, job)["env"]
    assert (env["WANDB_NAME"], env["WANDB_RUN_GROUP"], env["MLFLOW_RUN_NAME"]) == ("mine", "t", "ours")
    assert "RFSCHED_RESUME_FROM" not in env
    plain = written(bench(tmp_path), attempt, make_job(1, "exit 0", name="exp"))["env"]
    assert (plain["WANDB_NAME"], plain["MLFLOW_RUN_NAME"]) == ("exp_a2", "exp_a2")


def allocation(*uuids: str) -> Allocation:
    return Allocation(gpus=tuple(GpuShare(uuid=uuid, index=index, share=1.0) for index, uuid in enumerate(uuids)))


@pytest.mark.parametrize(
    ("given", "uuids", "value"),
    [
        ({}, ["GPU-a", "GPU-b"], "0,1"),
        ({}, ["MIG-a", "MIG-b"], "MIG-a,MIG-b"),
        ({}, [], ""),
        ({"V": "7"}, ["GPU-a"], "0"),
        ({"V": "7"}, [], "7"),
    ],
)
def test_the_gpu_variable(given: dict[str, str], uuids: list[str], value: str) -> None:
    assert gpu_variables(allocation(*uuids), "V", given) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "V": value}


def test_the_config_is_kept_and_a_change_is_told(tmp_path: Path) -> None:
    config = tmp_path / "a.yml"
    config.write_text("lr: 1\n")
    digest = "0" * 64
    job = make_job(1, "exit 0", config_path=str(config), key="configs/a.yml", digests={str(config): digest})
    made, attempt = bench(tmp_path), plan(job)
    assert write_spec(made, attempt, job, CAPTURED) == ["configs/a.yml changed since it was queued"]
    assert Path(made.directory(attempt), "config.yml").read_text() == "lr: 1\n"


def test_a_script_that_is_gone_is_a_warning(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", digests={"/gone/train.py": "0" * 64})
    assert write_spec(bench(tmp_path), plan(job), job, CAPTURED) == ["/gone/train.py cannot be read any more"]


def test_a_config_that_is_gone_is_an_error(tmp_path: Path) -> None:
    job = make_job(1, "exit 0", config_path="/gone/a.yml", key="configs/a.yml")
    with pytest.raises(LaunchError, match=r"configs/a.yml is gone"):
        write_spec(bench(tmp_path), plan(job), job, CAPTURED)


def test_a_disk_that_refuses_is_the_stores_error(tmp_path: Path) -> None:
    (tmp_path / ".rfsched").write_text("in the way")
    job = make_job(1, "exit 0")
    with pytest.raises(StoreError, match="cannot be written"):
        write_spec(bench(tmp_path), plan(job), job, CAPTURED)


def test_this_machine_is_named_in_claims(folder: str, claimed: claim.Claimed) -> None:
    assert claim.probe(folder).content["host"] == kernel.hostname()
