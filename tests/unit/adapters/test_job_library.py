"""`current_job` within reach of a Python that has never heard of the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from researchflow_tmux.adapters.job_library import path_with_library
from researchflow_tmux.domain.workspace import WorkspacePaths


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return WorkspacePaths(root=str(tmp_path), config=str(tmp_path / "scheduler_config.yml"))


def test_a_bare_python_can_import_it(paths: WorkspacePaths) -> None:
    """`-S`: no site-packages, as in an environment that lacks the package and all it depends on."""
    path = path_with_library(paths, None)
    assert path is not None
    code = "from researchflow_tmux import current_job; print(current_job().name)"
    told = subprocess.run(
        [os.path.realpath(sys.executable), "-S", "-c", code],
        env={"PYTHONPATH": path, "RFSCHED_JOB": "exp1", "RFSCHED_ATTEMPT": "w/1.1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout == "exp1\n", told.stderr


def test_it_comes_after_what_the_user_has_and_holds_nothing_else(paths: WorkspacePaths) -> None:
    path = path_with_library(paths, "/mine:/too")
    assert path == f"/mine:/too:{paths.state}/lib"
    assert os.listdir(f"{paths.state}/lib") == ["researchflow_tmux"]


def test_a_link_of_another_version_is_replaced(paths: WorkspacePaths) -> None:
    path_with_library(paths, None)
    link = Path(paths.state, "lib", "researchflow_tmux")
    right = os.readlink(link)
    link.unlink()
    link.symlink_to("/somewhere/else")
    path_with_library(paths, None)
    assert os.readlink(link) == right


def test_without_a_link_the_users_path_stays_as_it_is(paths: WorkspacePaths) -> None:
    Path(paths.state).write_text("a file where the state directory should be")
    assert path_with_library(paths, "/mine") == "/mine"
    assert path_with_library(paths, None) is None
