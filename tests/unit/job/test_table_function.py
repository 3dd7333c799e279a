"""The launcher of rows whose command a Python function makes, as a job runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from researchflow_tmux.job import table_function

ROW = {"parameters": {"lr": 0.001, "n": 64, "empty": None}, "name": "base", "cmd": "train"}
GOOD = """
import json
from helper import word
def func(dict, gpu_id, sorted_gpu_ids):
    print("asked")
    return f"echo {word} '{json.dumps(dict)}' {gpu_id} {sorted_gpu_ids} {dict['empty']} {dict['name']} $X"
def two(param_dict, gpu_id):
    return "echo " + " ".join(f"--{k} {v}" for k, v in param_dict.items()) + f" on {gpu_id}"
def nothing(dict, gpu_id, sorted_gpu_ids): pass
def wrong(dict, gpu_id, sorted_gpu_ids): return 1 / 0
def missing(dict, gpu_id, sorted_gpu_ids): return "x" + dict["absent"]
def leaves(dict, gpu_id, sorted_gpu_ids): raise SystemExit(0)
if __name__ == "__main__":
    raise AssertionError("this is no script now")
"""


def launch(folder: Path, place: str, gpus: str = "3,1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, table_function.__file__, place, "GPUS", json.dumps(ROW)],
        cwd=folder,
        env={**os.environ, "GPUS": gpus, "X": "from the job"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "main_cli.py").write_text(GOOD)
    (tmp_path / "scripts" / "helper.py").write_text("word = 'helped'\n")
    (tmp_path / "errors.py").write_text(GOOD.replace("from helper import word", "word = 'own'"))
    return tmp_path


def test_a_function_in_a_file_makes_the_command(folder: Path) -> None:
    result = launch(folder, f"{folder}/scripts/main_cli.py:func")
    words = 'asked\nhelped {"lr": 0.001, "n": 64} 3 [3, 1] None base from the job\n'
    assert (result.stdout, result.stderr, result.returncode) == (words, "", 0)


def test_a_module_of_the_working_directory_is_found_whatever_its_name(folder: Path) -> None:
    assert launch(folder, "errors:func").stdout.startswith("asked\nown ")


def test_a_function_of_two_arguments_and_a_job_without_gpu(folder: Path) -> None:
    assert launch(folder, f"{folder}/scripts/main_cli.py:two", "").stdout == "--lr 0.001 --n 64 on None\n"


def test_a_mig_part_is_named_by_its_uuid(folder: Path) -> None:
    assert launch(folder, f"{folder}/scripts/main_cli.py:two", "MIG-a").stdout.endswith("on MIG-a\n")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("nothing", "returned None; it must return the command, a text"),
        ("wrong", "raised ZeroDivisionError: division by zero"),
        ("missing", "raised KeyError: 'absent'"),
        ("leaves", "raised SystemExit: 0"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_a_function_that_makes_no_command_fails_with_a_clear_last_line(folder: Path, name: str, last: str) -> None:
    result = launch(folder, f"{folder}/scripts/main_cli.py:{name}")
    assert result.returncode == table_function.FAILED
    line = result.stderr.splitlines()[-1]
    assert line.startswith("rfsched: no command for this row: ")
    assert last in line
