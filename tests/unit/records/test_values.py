"""What a record keeps of configs, commands and files, and what it does not."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.adapters.command_shell import conda_lines, module_lines, step_lines
from researchflow_tmux.records.values import MAX_CONFIG_BYTES, outputs, read_config, storable, typed_command
from tests.unit.records.samples import spec


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
        ({1: (1, 2)}, {"1": [1, 2]}),
        (math.inf, "inf"),
        (2**70, str(2**70)),
        ("a\udcff", "a\\udcff"),
        ({"\udcff": 1}, {"\\udcff": 1}),
        (Path("x"), "x"),
    ],
)
def test_values_that_json_can_hold(value: Any, kept: Any) -> None:
    assert storable(value) == kept


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr: 1e-3\nmodel: {name: bert}\n", {"lr": 0.001, "model": {"name": "bert"}}),
        ('{"lr": 0.1}', {"lr": 0.1}),
        ("a: 1\n---\nb: 2\n", {"a": 1}),
        ("# nothing\n", None),
        ("a: [1\n", None),
        ("a: " + "x" * MAX_CONFIG_BYTES, None),
        ("a: &a [1,2,3,4,5,6,7,8]\n", {"a": [1, 2, 3, 4, 5, 6, 7, 8]}),
    ],
)
def test_a_config_as_plain_values(text: str, values: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    assert read_config(str(path)).values == values


def test_variables_for_the_job_are_named_without_their_values(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("lr: 1\nrfsched: {gpus: 2, env: {WANDB_KEY: secret, A: b}}\n")
    found = read_config(str(path))
    assert found.values == {"lr": 1, "rfsched": {"gpus": 2, "env": ["A", "WANDB_KEY"]}}
    assert found.holds_variables


def conda(tmp_path: Path) -> list[str]:
    (tmp_path / "base" / "etc" / "profile.d").mkdir(parents=True)
    (tmp_path / "base" / "etc" / "profile.d" / "conda.sh").touch()
    return conda_lines("my env", {"CONDA_EXE": str(tmp_path / "base" / "bin" / "conda"), "PATH": ""}, True)[0]


def test_the_command_is_what_the_user_typed(tmp_path: Path) -> None:
    typed = "FOO=1 python train.py | tee 'a b'\necho done"
    before = step_lines(["export TOKEN='it''s secret'", "module load cuda\nexport B=secret"])
    for setup in (
        [],
        before,
        module_lines(),
        [*module_lines(), *before],
        conda(tmp_path),
        [*module_lines(), *before, *conda(tmp_path / "2")],
    ):
        for line in (typed, f"exec {typed}"):
            script = "\n".join([*setup, line]) + "\n"
            assert typed_command(spec("/w", argv=(), shell=script)) == typed, setup
    assert typed_command(spec("/w", argv=("python", "a b.py"))) == "python 'a b.py'"


def test_outputs_carry_the_jobs_name_and_are_from_this_run(tmp_path: Path) -> None:
    for name in ("exp1.pt", "exp1_best.pt", "exp10.pt", "exp2.pt", "exp1_old.pt"):
        (tmp_path / name).touch()
    (tmp_path / "exp1").mkdir()
    os.utime(tmp_path / "exp1_old.pt", (1, 1))
    since = (tmp_path / "exp1.pt").stat().st_mtime
    found = outputs(spec("/w", output_dir=str(tmp_path)), since)
    assert [Path(path).name for path in found] == ["exp1", "exp1.pt", "exp1_best.pt"]
    assert outputs(spec("/w", output_dir=str(tmp_path / "none")), since) == []
    assert outputs(spec("/w", output_dir=str(tmp_path)), None) == []
