"""A FlowLine script: which workspace it gets, and what its commands do."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from researchflow_tmux.api.gpus import steer
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.flowline import prompt, run_cli
from researchflow_tmux.flowline.places import place_of
from researchflow_tmux.flowline.preparing import prepare
from researchflow_tmux.job.table_function import IMPORTING, load

SCRIPT = """
from researchflow_tmux.flowline import run_cli
def func(dict, gpu_id, sorted_gpu_ids):
    return "true"
def cmp(first, second):
    return first.free_memory - second.free_memory
if __name__ == "__main__":
    run_cli(func, "todo.csv", user_cmp=cmp)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "todo.csv").write_text("lr\n0.1\n")
    (tmp_path / "main_cli.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder: Path, text: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    if text is not None:
        (folder / "main_cli.py").write_text(text)
    return subprocess.run(
        [sys.executable, "main_cli.py"],
        cwd=folder,
        env={**os.environ, **env},
        input="exit\n",
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_gets_a_workspace_beside_its_table(folder: Path) -> None:
    result = script(folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{folder}/todo.csv runs in the workspace {folder}/todo_rfsched" in result.stdout
    settings = Workspace(folder / "todo_rfsched").settings
    assert settings.tables == ["../todo.csv"]
    assert settings.table_function == f"{folder}/main_cli.py:func"
    assert settings.work_dir == str(folder)
    assert settings.python_env == sys.executable
    assert (settings.gpu_memory, settings.max_jobs, settings.max_jobs_per_gpu) == (10_000, 4, "unlimited")
    assert settings.gpu_order == "flowline_order:compare"


def test_what_the_user_changed_in_it_stays(folder: Path) -> None:
    script(folder)
    Workspace(folder / "todo_rfsched").set("max_jobs", "7")
    before = (folder / "todo_rfsched" / "scheduler_config.yml").read_bytes()
    script(folder)
    assert (folder / "todo_rfsched" / "scheduler_config.yml").read_bytes() == before
    script(folder, SCRIPT.replace(", user_cmp=cmp", ""))
    assert Workspace(folder / "todo_rfsched").settings.gpu_order == "spread"
    assert Workspace(folder / "todo_rfsched").settings.max_jobs == 7


def test_the_comparison_is_found_by_another_process(folder: Path) -> None:
    script(folder)
    path = folder / "todo_rfsched" / "flowline_order.py"
    compare: Callable[..., int] = load(f"{path}:compare")
    assert compare(SimpleNamespace(free_memory=3), SimpleNamespace(free_memory=1)) == 2


def test_a_script_that_a_job_imports_does_nothing(folder: Path) -> None:
    result = script(folder, SCRIPT.replace('if __name__ == "__main__":', "if True:"), **{IMPORTING: "1"})
    assert (result.returncode, result.stdout) == (0, "")
    assert not (folder / "todo_rfsched").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"todo.csv"', '"gone.csv"', "gone.csv does not exist"),
        ('"todo.csv"', '"main_cli.py"', "main_cli.py is no table"),
        ("run_cli(func,", "run_cli(lambda *a: 'true',", "must be a function at the top level of a file"),
        ("run_cli(func,", "run_cli(len,", "must be a function at the top level of a file"),
    ],
)
def test_mistakes_are_told_in_words(folder: Path, old: str, new: str, words: str) -> None:
    result = script(folder, SCRIPT.replace(old, new))
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_function_of_a_package_is_named_by_its_module() -> None:
    assert place_of(prepare) == "researchflow_tmux.flowline.preparing:prepare"
    with pytest.raises(UsageError):
        place_of(Workspace.set)


class Typed:
    """What the prompt asks of rfsched when these lines are typed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace = prepare(str(folder / "todo.csv"), f"{folder}/main_cli.py:func", None)
        self.asked: list[list[str]] = []
        self.code = 0
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(prompt, "run", self._run)

    def _run(self, args: list[str]) -> int:
        assert args[:2] == ["-w", self.workspace.paths.root]
        self.asked.append(args[2:])
        return self.code

    def type(self, text: str) -> str:
        out = io.StringIO()
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        self.monkeypatch.setattr(sys, "stdout", out)
        self.code = prompt.Prompt(self.workspace).run()
        return out.getvalue()


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("run", ["start"]),
        ("kill 3", ["cancel", "3"]),
        ("ls", ["status", "--state", "running"]),
        ("gpus", ["gpus"]),
        ("min 2048", ["config", "set", "gpu_memory", "2048"]),
        ("max 2", ["config", "set", "max_jobs", "2"]),
        ("task", ["status", "--state", "queued"]),
        ("status", ["status"]),
    ],
)
def test_flowlines_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, asked: list[str]) -> None:
    typed = Typed(folder, monkeypatch)
    typed.type(f"{line}\nexit\nmax 1\n")
    assert typed.asked == [asked]


def test_gpus_are_toggled_and_stay_as_they_were_after_killgpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = Typed(folder, monkeypatch)
    typed.workspace.set("gpu_count", "simulated:3")
    typed.type("gpu 1\nkillgpu 0\n")
    assert typed.asked == [["gpus", "drain", "1"], ["gpus", "kill", "--yes", "0"], ["gpus", "enable", "0"]]
    steer(typed.workspace, "drain", ["1"])
    typed.asked.clear()
    typed.type("gpu 1\nkillgpu 1\n")
    assert typed.asked == [["gpus", "enable", "1"], ["gpus", "kill", "--yes", "1"]]


def test_words_that_mean_nothing_ask_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = Typed(folder, monkeypatch)
    printed = typed.type("max\nmin x\nkill -1\n\nrum\nhelp\n?\nhelp kill\n")
    assert typed.asked == []
    assert "expected a number, such as: max 4" in printed
    assert "there is no command 'rum'" in printed
    assert "EOF" not in printed


def test_without_a_terminal_and_commands_the_table_runs_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = Typed(folder, monkeypatch)
    typed.type("")
    assert typed.asked == [["start"], ["wait"]]
    typed.code = 3
    typed.type("")
    assert typed.asked[2:] == [["start"]]
    assert typed.code == 3


def test_run_cli_leaves_with_the_exit_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "run", lambda args: 1 if args[2] == "wait" else 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as caught:
        run_cli(load(f"{folder}/main_cli.py:func"), "todo.csv")
    assert caught.value.code == 1
