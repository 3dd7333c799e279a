"""What a user installs: the wheel holds everything and works in an environment of its own.

Nothing is taken from the network when uv's cache has the packages of uv.lock, as it has after `uv sync`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import researchflow_tmux
from tests.tmux_fixtures import Server

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"researchflow_tmux": "researchflow_tmux", "workspace_template": "researchflow_tmux/workspace_template"}
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on PATH"),
]


def uv(*arguments: str, **environment: str) -> None:
    """Run uv on its cache alone; on the network when the cache lacks something."""
    for offline in ("1", "0"):
        answer = subprocess.run(
            ["uv", *arguments, "--quiet"],
            cwd=ROOT,
            env=os.environ | {"UV_OFFLINE": offline} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if answer.returncode == 0:
            return
    pytest.fail(f"uv {' '.join(arguments)}:\n{answer.stderr}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", str(folder))
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of an environment that has the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    uv("venv", "--python", sys.executable, str(folder))
    uv("sync", "--frozen", "--no-dev", "--no-install-project", UV_PROJECT_ENVIRONMENT=str(folder))
    uv("pip", "install", "--no-deps", "--python", str(folder / "bin" / "python"), str(wheel))
    return folder / "bin"


def run(*command: str | Path, cwd: Path, timeout_s: float = 60) -> str:
    """The output of a program that does not see this work tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    answer = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s
    )
    assert answer.returncode == 0, f"{command}: exit code {answer.returncode}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def test_the_wheel_holds_all_that_is_needed_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    # Whatever the package folder holds is in it; tests and documents are not.
    for folder, place in PLACES.items():
        for path in shipped(folder):
            assert f"{place}/{path.relative_to(ROOT / folder)}" in packed
    assert "researchflow_tmux/py.typed" in packed
    assert any(name.startswith("researchflow_tmux/workspace_template/") for name in packed)
    assert any(name.endswith("/licenses/LICENSE") for name in packed)
    assert not [name for name in packed if name.startswith(("tests/", "docs/")) or "__pycache__" in name]


def shipped(folder: str) -> list[Path]:
    """The files of a folder, without what Python and editors leave there."""
    return [
        path
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in (".py", ".sql", ".yml", ".md", ".txt")
    ]


def test_an_installed_rfsched_tells_its_version(installed: Path, tmp_path: Path) -> None:
    assert researchflow_tmux.__version__ in run(installed / "rfsched", "version", cwd=tmp_path)


def test_an_installed_rfsched_has_help(installed: Path, tmp_path: Path) -> None:
    assert re.search(r"usage: .*rfsched", run(installed / "rfsched", "--help", cwd=tmp_path), re.IGNORECASE)


def test_the_installed_package_is_the_wheel_and_brings_the_template(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.resources as r, researchflow_tmux as p;"
        "print(p.__file__); print(r.files(p).joinpath('workspace_template').is_dir())"
    )
    place, has_template = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent)
    assert has_template == "True"


@pytest.mark.tmux
def test_the_main_job_runs_through_the_wheel(installed: Path, tmp_path: Path) -> None:
    """Real trainings on 2 simulated GPUs × 2 slots, a scheduler killed in the middle, every job exactly once."""
    with private_server() as server:
        told = run(installed / "rfsched", "demo", "--socket", server.socket, cwd=tmp_path, timeout_s=150)
    assert "the scheduler is dead" in told
    assert "it is back after" in told
    assert "8 of 8 trainings succeeded, each in exactly one attempt" in told
    results = [json.loads(path.read_text()) for path in (tmp_path / "demo-workspace/out").glob("*_result.json")]
    assert len(results) == 8
    for result in results:  # shown are the accuracies that the trainings really reached
        assert f"{result['test_accuracy']:.1%}" in told
        assert result["test_accuracy"] > 0.5
    assert "demo-workspace/out" in told


@contextlib.contextmanager
def private_server() -> Iterator[Server]:
    """A tmux server for one test; ended whatever happens."""
    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.close()


def test_versions_agree(wheel: Path) -> None:
    """The version is written in two places: pyproject.toml and the package."""
    assert wheel.name.split("-")[1] == researchflow_tmux.__version__
