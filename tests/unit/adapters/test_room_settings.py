"""Room in settings and in a job's own section: what it means, and what is wrong with it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from researchflow_tmux.adapters.config_file import load_settings
from researchflow_tmux.adapters.job_config import parse_job_config
from researchflow_tmux.adapters.room_settings import on_this_machine, room_rules, share
from researchflow_tmux.adapters.sources.defaults import request
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.limits import GpuLimits, RoomRules
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.workspace import Settings


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "scheduler_config.yml"
    path.write_text(f"task_name: t\n{text}")
    return load_settings(str(path)).settings


def test_nothing_said_limits_nothing(tmp_path: Path) -> None:
    assert room_rules(settings(tmp_path, "")) == RoomRules()
    assert room_rules(settings(tmp_path, "grace_period: 0\n")) == RoomRules(grace_s=0.0)
    assert room_rules(settings(tmp_path, "gpu_memory:\nmin_free_memory:\ngrace_period:\nmax_util:\n")) == RoomRules()
    assert request(Settings(task_name="t"), parse_job_config(b"lr: 1", "a.yml").section) == ResourceRequest()


def test_all_of_it(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        "gpu_memory: 12GiB\nmax_memory: 80\nmax_util: 79.5\nmin_free_memory: 10000\nmax_processes: 4\n"
        "grace_period: 3m\nmax_jobs: 8\nmax_ram: 60\nkill_ram: 90\ngpu_order: my.order:best\n",
    )
    limits = GpuLimits(max_memory_pct=80, max_util_pct=79.5, min_free_mib=10_000, max_processes=4)
    assert room_rules(found) == RoomRules(
        gpu_memory_mib=12 * 1024,
        limits=limits,
        grace_s=180.0,
        max_jobs=8,
        max_ram_pct=60,
        kill_ram_pct=90,
        order="my.order:best",
    )


def test_what_this_machine_has_to_promise() -> None:
    found = on_this_machine(RoomRules(max_jobs=3))
    assert found.cores == tuple(sorted(os.sched_getaffinity(0)))
    assert found.machine_mib is not None
    assert found.machine_mib > 100
    assert found.max_jobs == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 1.0),
        ("max_jobs_per_gpu: 4\n", 0.25),
        ("max_jobs_per_gpu: unlimited\n", 0.0),
        ("max_jobs_per_gpu: 4\nshare: 0.4\n", 0.4),
        ("max_jobs_per_gpu: unlimited\nshare: 1\n", 1.0),
    ],
)
def test_share(tmp_path: Path, text: str, expected: float) -> None:
    assert share(settings(tmp_path, text)) == expected


def test_a_jobs_own_section() -> None:
    text = b"rfsched: {gpus: 2, share: 0.5, gpu_memory: 1.5GB, max_memory: 50, max_util: 1, min_free_memory: 2GiB}\n"
    found = request(Settings(task_name="t"), parse_job_config(text, "a.yml").section, ("MIG-1",))
    assert found == ResourceRequest(
        gpus=2,
        pinned=("MIG-1",),
        share=0.5,
        gpu_memory_mib=1431,
        limits=GpuLimits(max_memory_pct=50, max_util_pct=1, min_free_mib=2048),
    )


def test_every_problem_at_once_each_at_its_line(tmp_path: Path) -> None:
    bad = {
        "share: 1.5": "share: expected a number above 0 and at most 1, got 1.5",
        "gpu_memory: a lot": "gpu_memory: expected a size such as",
        "max_memory: 120": "max_memory: expected a number above 0 and at most 100, got 120",
        "max_util: 0": "max_util: expected",
        "min_free_memory: 0": "min_free_memory: must be more than 0",
        "max_processes: 0": "max_processes: expected",
        "grace_period: soon": "grace_period: expected a time such as",
        "gpu_order: spred": "did you mean `spread`?",
        "max_jobs: -1": "max_jobs: expected",
        "max_ram: most": "max_ram: expected",
    }
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "".join(f"{line}\n" for line in bad))
    assert [problem.line for problem in caught.value.problems] == list(range(2, 2 + len(bad)))
    for problem, words in zip(caught.value.problems, bad.values(), strict=True):
        assert words in problem.message, problem.message
    with pytest.raises(ConfigError, match=r"a\.yml:2:11: rfsched\.share: expected"):
        parse_job_config(b"rfsched:\n   share: 2\n", "a.yml")


@pytest.mark.parametrize("name", ["spread", "coolest", "mine:best", "pkg.mod_1:_f2"])
def test_orders_that_can_be_meant(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, f"gpu_order: {name}\n").gpu_order == name


def test_limits_that_work_against_each_other_deserve_a_word(tmp_path: Path) -> None:
    path = tmp_path / "scheduler_config.yml"
    path.write_text("task_name: t\nmax_ram: 90\nkill_ram: 80\n")
    assert any("kill_ram is not above max_ram" in text for text in load_settings(str(path)).warnings)


@pytest.mark.parametrize("said", ["on", "off", "50MiB", "50", '"on"'])
def test_the_size_of_the_decision_log(tmp_path: Path, said: str) -> None:
    assert settings(tmp_path, f"decision_log: {said}\n").decision_log == said.strip('"')


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("decision_log: much", "expected `on`, `off` or a size"),
        ("decision_log: 0", "expected `on`, `off` or"),
        ("policy: balnced", "did you mean `balanced`?"),
        ("policy: mine", "or `module:object` or `file.py:object`"),
        ("policy: 'mine: thing'", "expected one of queue, balanced"),
    ],
)
def test_what_a_policy_and_the_decision_log_may_not_be(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        settings(tmp_path, f"{line}\n")


@pytest.mark.parametrize("name", ["queue", "sjf", "mine:Policy", "my.own.module:order", "policies/mine.py:order"])
def test_what_a_policy_may_be(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, f"policy: {name}\n").policy == name
