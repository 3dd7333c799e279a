"""`start --simulate`: the real engine over a copy of the state; nothing on disk changes."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

from click.testing import CliRunner

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.cli.main import cli
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Planned, Running
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, AttemptStarted, JobChanged, JobSubmitted
from researchflow_tmux.domain.gpus import META_CONDITIONS, GpuCondition, encode_conditions
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuShare, ResourceRequest
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.submitting import Draft, Submission
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.simulating import Stay, simulate

SETTINGS = Settings(task_name="t", gpu_count="simulated:2")


def spec(name: str, **fields: object) -> JobSpec:
    return JobSpec(source="command", key=name, name=name, shell=name, workdir="/", env_digest="e", **fields)  # type: ignore[arg-type]


def paths(root: Path) -> WorkspacePaths:
    return WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))


class Past:
    """A workspace with a history."""

    def __init__(self, root: Path) -> None:
        self.paths = paths(root)
        self.clock = SystemClock()
        Path(self.paths.state).mkdir(mode=0o700)
        self.store = SqliteStore(self.paths.database, boot_id="b")
        self.workload = Workload()

    def ran(self, name: str, seconds: float, *, ago_s: float, ended: bool = True, code: int = 0) -> None:
        """One more attempt of a job."""
        now = self.clock.now()
        job = self.workload.find("command", name)
        if job is None:
            new_id = self.workload.next_job_id
            job = Job(id=new_id, spec=spec(name), slug=name, state=JobState.QUEUED, queued_at=now)
            self.workload.apply(JobSubmitted(job=job), now)
        elif job.state.ended:
            requeued = Reason(code=ReasonCode.REQUEUED)
            self.workload.apply(JobChanged(job_id=job.id, state=JobState.QUEUED, reason=requeued), now)
        began = now - timedelta(seconds=ago_s)
        attempt = Attempt(
            job_id=job.id,
            number=job.attempts + 1,
            allocation=Allocation(gpus=(GpuShare(uuid="simulated-0", index=0, share=1.0),)),
            session=f"t_{name}_gpu0",
            log=None,
            planned_at=began,
            boot_id="b",
            hostname="h",
            phase=Planned(at=began),
        )
        number = attempt.number
        self.workload.apply(AttemptPlanned(attempt=attempt), now)
        self.workload.apply(AttemptStarted(job_id=job.id, number=number, runner_pid=4, started_at=began), now)
        assert isinstance(self.workload.attempts[attempt.key].phase, Running)
        if ended:
            end = began + timedelta(seconds=seconds)
            outcome = Exited(code=code, succeeded=code == 0)
            ended_so = Ended(outcome=outcome, started_at=began, ended_at=end)
            self.workload.apply(AttemptEnded(job_id=job.id, number=number, ended=ended_so), now)
            state = JobState.FAILED if code else JobState.SUCCEEDED
            self.workload.apply(JobChanged(job_id=job.id, state=state, reason=Reason(code=ReasonCode.SUCCEEDED)), now)
        self.store.commit(*self.workload.take_changes(), at=now)
        self.workload.changes_saved()


def drafts(*specs: JobSpec, after: tuple[str, ...] = ()) -> Submission:
    return Submission(drafts=tuple(Draft(spec=found, after_names=after) for found in specs))


def times(stays: list[Stay]) -> dict[str, tuple[int, int]]:
    return {stay.job: (round(stay.start_s), round(stay.end_s)) for stay in stays}


def test_an_empty_workspace_is_guessed(tmp_path: Path) -> None:
    found = simulate(paths(tmp_path), SETTINGS, drafts(*(spec(f"j{number}") for number in range(3))))
    assert times(found.stays) == {"j0": (0, 60), "j1": (0, 60), "j2": (60, 120)}
    assert {stay.length_from for stay in found.stays} == {"assumed"}
    assert (found.makespan_s, found.utilisation_pct) == (120.0, 75.0)
    assert list(tmp_path.iterdir()) == []


def test_lengths_come_from_history_and_running_jobs_count(tmp_path: Path) -> None:
    past = Past(tmp_path)
    for seconds in (100.0, 10.0, 20.0):
        past.ran("known", seconds, ago_s=1000.0)
    past.ran("bad", 500.0, ago_s=1000.0, code=1)
    past.ran("now", 0.0, ago_s=5.0, ended=False)
    past.store.close()
    before = Path(past.paths.database).read_bytes()
    submission = Submission(drafts=(Draft(spec=spec("known")), Draft(spec=spec("new"))), rerun=True)
    found = simulate(past.paths, SETTINGS, submission)
    assert times(found.stays) == {"now": (0, 15), "known": (0, 20), "new": (15, 35)}
    assert {stay.job: stay.length_from for stay in found.stays} == {
        "now": "workspace",
        "known": "job",
        "new": "workspace",
    }
    assert [stay.running for stay in found.stays if stay.job == "now"] == [True]
    assert Path(past.paths.database).read_bytes() == before


def test_what_cannot_run_is_named_with_its_reason(tmp_path: Path) -> None:
    wide = spec("wide", request=ResourceRequest(gpus=3))
    submission = Submission(
        drafts=(Draft(spec=wide), Draft(spec=spec("child"), after_names=("wide",)), Draft(spec=spec("h"), held=True))
    )
    found = simulate(paths(tmp_path), SETTINGS, submission)
    assert {waiting.job: waiting.reason for waiting in found.not_started} == {
        "wide": "cannot run here: it needs 3 GPUs; this workspace has GPUs 0, 1",
        "child": "waits for: wide (queued)",
        "h": "held",
    }
    assert found.makespan_s == 0


def test_a_drained_gpu_is_left_out(tmp_path: Path) -> None:
    past = Past(tmp_path)
    drained = GpuCondition(uuid="simulated-0", index=0, drained_by="ann")
    conditions = {META_CONDITIONS: encode_conditions({drained.uuid: drained})}
    past.store.commit([], [], [], at=past.clock.now(), meta=conditions)
    found = simulate(past.paths, SETTINGS, Submission(drafts=(Draft(spec=spec("a")), Draft(spec=spec("b")))))
    assert [stay.gpus for stay in found.stays] == [[1], [1]]


def test_declared_memory_counts_and_what_is_measured_cannot_be_foreseen(tmp_path: Path) -> None:
    sizes = Settings(
        task_name="t", gpu_count="simulated:24GiB,12GiB", max_jobs_per_gpu="unlimited", max_util=50.0, max_ram=1.0,
        gpu_memory="10GiB", gpu_order="mine:best", grace_period="5m",
    )  # fmt: skip
    large = spec("large", request=ResourceRequest(gpu_memory_mib=13 * 1024))
    found = simulate(paths(tmp_path), sizes, drafts(large, *(spec(f"j{number}") for number in range(3))))
    assert {stay.job: (round(stay.start_s), stay.gpus) for stay in found.stays} == {
        "large": (0, [0]),
        "j0": (0, [1]),
        "j1": (0, [0]),
        "j2": (60, [0]),
    }


def test_cores_and_memory_of_this_machine_are_promised_once(tmp_path: Path) -> None:
    one = spec("one", request=ResourceRequest(gpus=0, cpus=len(os.sched_getaffinity(0))))
    two = spec("two", request=ResourceRequest(gpus=0, cpus=1, memory_mib=1))
    found = simulate(paths(tmp_path), SETTINGS, drafts(one, two))
    assert {stay.job: round(stay.start_s) for stay in found.stays} == {"one": 0, "two": 60}


def test_time_limits_end_jobs_and_dependencies_follow(tmp_path: Path) -> None:
    limited = spec("limited", request=ResourceRequest(time_limit_s=10.0), retries=1)
    submission = Submission(drafts=(Draft(spec=limited), Draft(spec=spec("child"), after_names=("limited",))))
    found = simulate(paths(tmp_path), SETTINGS, submission)
    assert [(stay.job, stay.attempt, stay.start_s, stay.end_s) for stay in found.stays] == [
        ("limited", 1, 0.0, 10.0),
        ("limited", 2, 20.0, 30.0),
    ]


def workspace(root: Path, **configs: str) -> Path:
    (root / "configs").mkdir()
    (root / "scheduler_config.yml").write_text('task_name: t\ngpu_count: simulated:2\ncommand: "true {config}"\n')
    for name, text in configs.items():
        (root / "configs" / f"{name}.yml").write_text(text)
    return root


def test_the_command_prints_a_table_and_changes_nothing(tmp_path: Path) -> None:
    root = workspace(tmp_path, a="x: 1\n", b="x: 2\n", c="x: 3\n")
    before = sorted(root.rglob("*"))
    said = CliRunner().invoke(cli, ["-w", str(root), "start", "--simulate"])
    assert said.exit_code == 0, said.output
    assert "3 jobs done after 2:00 min, GPU slots 75 % used" in said.output
    assert "60 s each, a guess" in said.output
    assert sorted(root.rglob("*")) == before


def test_the_command_as_json_with_pins(tmp_path: Path) -> None:
    root = workspace(tmp_path, a="x: 1\n", b="x: 2\n", c="x: 3\n")
    said = CliRunner().invoke(cli, ["-w", str(root), "start", "--simulate", "--json", "a,b", "1,1"])
    found = json.loads(said.output)
    assert found["schema"] == "rfsched.simulation/1"
    assert [(stay["job"], stay["gpus"], stay["start_s"]) for stay in found["stays"]] == [("a", [1], 0), ("b", [1], 60)]


def test_bad_configs_are_told_as_start_tells_them(tmp_path: Path) -> None:
    root = workspace(tmp_path, a="rfsched:\n  gpus: many\n")
    said = CliRunner().invoke(cli, ["-w", str(root), "start", "--simulate"])
    assert isinstance(said.exception, ConfigError)
