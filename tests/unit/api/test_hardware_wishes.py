"""What kind of GPU a job needs means the same in every way in, and what makes no sense is refused in each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from researchflow_tmux import UsageError, Workspace
from researchflow_tmux.adapters.config_file import parse_settings
from researchflow_tmux.adapters.job_config import parse_job_config
from researchflow_tmux.adapters.room_settings import hardware_of
from researchflow_tmux.adapters.sources.defaults import wishes
from researchflow_tmux.adapters.sources.pipelines.scan import scan as scan_pipeline
from researchflow_tmux.adapters.sources.sweeps.scan import scan as scan_sweep
from researchflow_tmux.api.command_lines import read
from researchflow_tmux.api.drafting import Wish
from researchflow_tmux.api.wishes import wish_of
from researchflow_tmux.cli.main import cli
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.hardware import NO_HARDWARE, Hardware, hardware
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths
from tests.unit.adapters.jobfiles.world import World
from tests.unit.adapters.tables.desk import Desk

ASKED = hardware(gpu_type="A100|H100", min_gpu_memory="40GiB", compute_capability="8.0", topology="nvlink!")
KEYS = "gpu_type: A100|H100\nmin_gpu_memory: 40GiB\ncompute_capability: 8.0\ntopology: nvlink!\ngpus: 2\n"
INDENTED = "".join(f"  {line}\n" for line in KEYS.splitlines())
SETTINGS = Settings(task_name="t")


def from_config(root: Path) -> Hardware:
    section = parse_job_config(f"rfsched:\n{INDENTED}".encode(), str(root / "a.yml")).section
    found = wishes(SETTINGS, section)["request"]
    assert found.gpus == 2
    return found.hardware  # type: ignore[no-any-return]


def from_job_file(root: Path) -> Hardware:
    world = World(root)
    line = "gpus=2 gpu_type=A100|H100 min_gpu_memory=40GiB compute_capability=>=8.0 topology=nvlink!"
    world.put(f"#@ {line}\necho\n")
    world.look()
    return world.job("a_l2").spec.request.hardware


def from_table(root: Path) -> Hardware:
    desk = Desk(root)
    head = "cmd,rf.gpus,rf.gpu_type,rf.min_gpu_memory,rf.compute_capability,rf.topology\n"
    desk.table("t.csv", f"{head}echo,2,A100|H100,40GiB,8.0,nvlink!\n")
    (draft,) = desk.look().drafts
    return draft.request.hardware


def from_sweep(root: Path) -> Hardware:
    path = root / "s.yml"
    path.write_text(f"command: echo {{x}}\nvariables: {{x: [1]}}\nrfsched:\n{INDENTED}")
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    (job,) = scan_sweep(str(path), paths, SETTINGS, os.environ, 9).jobs
    return job.draft.request.hardware


def from_pipeline(root: Path) -> Hardware:
    path = root / "p.yml"
    path.write_text(f"jobs:\n  a:\n    command: echo\n{''.join(f'    {line}' + chr(10) for line in KEYS.splitlines())}")
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    (job,) = scan_pipeline(str(path), paths, SETTINGS, os.environ, 9).jobs
    return job.draft.request.hardware


def from_python(root: Path) -> Hardware:
    (root / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:2\n")
    workspace = Workspace(root, start=False)
    handle = workspace.submit(
        "true", gpus=2, gpu_type=["A100", "H100"], min_gpu_memory="40GiB", compute_capability=8.0, topology="nvlink!"
    )
    return handle.job.spec.request.hardware


def from_add(root: Path) -> Hardware:
    (root / "scheduler_config.yml").write_text(f"task_name: t\ngpu_count: simulated:2\ntmux_socket: {root}/none\n")
    words = ["--gpus", "2", "--gpu-type", "A100|H100", "--min-gpu-memory", "40GiB"]
    words += ["--compute-capability", "8.0", "--topology", "nvlink!", "--no-start", "--", "true"]
    said = CliRunner().invoke(cli, ["-w", str(root), "add", *words])
    assert said.exit_code == 0, said.output
    (job,) = Workspace(root, start=False).handles()
    return job.job.spec.request.hardware


def from_standard_input(_root: Path) -> Hardware:
    line = b"#@ gpu_type=A100|H100 min_gpu_memory=40GiB compute_capability=8.0 topology=nvlink!\necho\n"
    wish = read(line).commands[0].wish(Wish(gpus=2))
    return hardware_of(SETTINGS, wish)


def from_settings(_root: Path) -> Hardware:
    settings = parse_settings(f"task_name: t\n{KEYS.replace('gpus: 2', '')}".encode(), "s.yml").settings
    assert hardware_of(settings, JobSection(gpu_type="any", min_gpu_memory=0)) == hardware(
        compute_capability="8.0", topology="nvlink!"
    ), "a job takes it back"
    assert hardware_of(settings, gpus=0) == NO_HARDWARE, "a CPU job needs none"
    return hardware_of(settings, JobSection())


WAYS = [value for name, value in sorted(globals().items()) if name.startswith("from_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_in_means_the_same(way: Callable[[Path], Hardware], tmp_path: Path) -> None:
    assert way(tmp_path) == ASKED


BAD = {
    "gpu_type": ("A100,H100", "expected types such as"),
    "min_gpu_memory": ("much", "expected a size"),
    "compute_capability": ("sm_80", "expected the least compute capability"),
    "topology": ("close", "expected `nvlink`"),
}


@pytest.mark.parametrize("key", BAD)
def test_what_makes_no_sense_is_refused_at_its_place(key: str, tmp_path: Path) -> None:
    value, words = BAD[key]
    with pytest.raises(ConfigError, match=f"a.yml:2:.*rfsched.{key}: {words}"):
        parse_job_config(f"rfsched:\n  {key}: {value}\n".encode(), "a.yml")
    with pytest.raises(ConfigError, match=f"s.yml:2:.*{key}: {words}"):
        parse_settings(f"task_name: t\n{key}: {value}\n".encode(), "s.yml")
    with pytest.raises(UsageError, match=f"{key}: {words}"):
        wish_of({key: value}, str(tmp_path))
    said = CliRunner().invoke(cli, ["add", f"--{key.replace('_', '-')}", value, "--", "true"])
    assert (said.exit_code, words in said.output) == (2, True)
    world = World(tmp_path)
    world.put(f"#@ {key}={value}\necho\n")
    world.look()
    assert world.states() == {}


def test_a_cpu_job_that_asks_for_a_kind_of_gpu_is_a_contradiction(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:2\n")
    with pytest.raises(UsageError, match="--gpu-type says which GPU, and the job asks for none"):
        Workspace(tmp_path, start=False).submit("true", gpus=0, gpu_type="A100")


@pytest.mark.parametrize("value", [True, ["A100", 3], {"a": 1}])
def test_python_values_that_are_no_types_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gpu_type: expected"):
        wish_of({"gpu_type": value}, str(tmp_path))
