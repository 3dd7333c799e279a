"""The projects and users that a whole machine shares: which file counts, and what a workspace may make of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from researchflow_tmux.adapters import machine_projects
from researchflow_tmux.adapters.config_file import load_settings, parse_settings
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import Settings


def settings(text: str) -> Settings:
    return parse_settings(f"task_name: t\n{text}".encode(), "f").settings


def merged(own: str, common: str) -> Settings:
    return machine_projects.with_machine(settings(own), machine_projects.parse(common.encode(), "m"))


def test_a_workspace_lowers_what_the_machine_says_and_never_raises_it() -> None:
    found = merged(
        "projects: {p: {weight: 9, max_gpus: 2, max_cpus: 99, max_memory: 8GiB, gpu_hours: 5, deadline: 2030-01-01}}",
        "projects: {p: {weight: 2, max_gpus: 4, max_cpus: 16, max_memory: 64GiB, gpu_hours: 50, cpu_hours: 7}}",
    ).projects["p"]
    assert (found.weight, found.max_gpus, found.max_cpus, found.max_memory) == (2, 2, 16, "8GiB")
    assert (found.gpu_hours, found.cpu_hours, found.deadline) == (5, 7, "2030-01-01")


def test_budgets_of_another_period_are_not_comparable_so_the_machines_holds() -> None:
    found = merged("projects: {p: {gpu_hours: 5, period: day}}", "projects: {p: {gpu_hours: 50, period: week}}")
    assert (found.projects["p"].gpu_hours, found.projects["p"].period) == (50, "week")


def test_what_only_one_of_them_names_is_there_too() -> None:
    found = merged("projects: {q: {weight: 3}}\nusers: {ann: {max_gpus: 1}}", "users: {ann: {max_gpus: 3}, bob: {}}")
    assert (found.projects["q"].weight, found.users["ann"].max_gpus, set(found.users)) == (3, 1, {"ann", "bob"})


def test_which_file_counts(tmp_path: Path) -> None:
    chosen, beside = tmp_path / "chosen.yml", tmp_path / "projects.yml"
    environ = {"RFSCHED_LEASE_DIR": str(tmp_path)}
    assert machine_projects.path_of(environ) is None
    assert machine_projects.load(environ) is None
    beside.write_text("projects: {p: {}}\n")
    assert machine_projects.path_of(environ) == str(beside)
    assert machine_projects.path_of({**environ, "RFSCHED_PROJECTS": str(chosen)}) == str(chosen)
    with pytest.raises(ConfigError, match="RFSCHED_PROJECTS names it"):
        machine_projects.load({**environ, "RFSCHED_PROJECTS": str(chosen)})


def test_a_file_beside_the_leases_is_only_taken_from_root_or_from_oneself(tmp_path: Path) -> None:
    beside, elsewhere = tmp_path / "projects.yml", tmp_path / "other.yml"
    elsewhere.write_text("projects: {p: {}}\n")
    beside.symlink_to(elsewhere)
    environ = {"RFSCHED_LEASE_DIR": str(tmp_path)}
    assert machine_projects.path_of(environ) is None, "symbolic links are not followed there"
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that is somebody else's")
    beside.unlink()
    beside.write_text("projects: {p: {}}\n")
    os.chown(beside, 12345, 12345)
    assert machine_projects.path_of(environ) is None


def test_every_problem_of_the_machines_file_is_told_with_its_place(tmp_path: Path) -> None:
    common = tmp_path / "m.yml"
    common.write_text("projects: {p: {weight: 0}}\nuser: {}\nusers: {ann: {max_gpus: x}}\n")
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(str(tmp_path / "scheduler_config.yml"), {"RFSCHED_PROJECTS": str(common)})
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]
    assert "did you mean `users`?" in str(caught.value)
    for text, words in (("[]", "expected `projects:`"), ("projects: 5", "projects: expected")):
        with pytest.raises(ConfigError, match=words):
            machine_projects.parse(text.encode(), "m")
    assert machine_projects.parse(b"# nothing\n", "m").projects == {}


def test_where_a_value_comes_from_names_both_files(tmp_path: Path) -> None:
    common = tmp_path / "m.yml"
    common.write_text("projects: {p: {weight: 2}}\n")
    config = tmp_path / "scheduler_config.yml"
    config.write_text("task_name: t\n")
    loaded = load_settings(str(config), {"RFSCHED_PROJECTS": str(common)})
    assert loaded.settings.projects["p"].weight == 2
    assert loaded.origins["projects"] == f"default and {common}"
    assert loaded.machine is not None
