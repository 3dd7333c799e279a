"""`rfsched simulate`: figures for people and programs, the same for the same arguments; wrong input is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from researchflow_tmux.cli.main import cli
from researchflow_tmux.domain.errors import ConfigError, PolicyError, UsageError

LAB = """job_id,submit_s,duration_s,num_gpus,project,deadline_s
big,0,36000,4,vision,
wide,60,7200,8,vision,
s1,120,1800,1,text,
s2,180,14400,1,text,15000
never,200,0,1,text,
"""


def simulate(*args: str) -> Result:
    return CliRunner().invoke(cli, ["simulate", *args])


def data(*args: str) -> dict[str, Any]:
    said = simulate("--json", *args)
    assert said.exit_code == 0, said.output
    found = json.loads(said.output)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def lab(tmp_path: Path) -> str:
    path = tmp_path / "lab.csv"
    path.write_text(LAB)
    return str(path)


def test_json_has_the_documented_keys(lab: str) -> None:
    found = data("--trace", lab, "--policy", "easy_fifo")
    assert found["schema"] == "rfsched.simulate/1"
    assert (found["policy"], found["gpus"], found["jobs"], found["left_out"]) == ("easy_fifo", 8, 4, 1)
    assert (found["mean_wait_s"], found["max_wait_s"], found["makespan_s"]) == (8985.0, 35940.0, 43200.0)
    assert (found["deadline_jobs"], found["deadline_misses"]) == (1, 0)
    assert 0 < found["utilisation"] <= found["utilisation_of_bound"] <= 1
    assert "at" not in found
    assert "compared" not in found


def test_the_same_arguments_print_the_same_bytes() -> None:
    args = ("--jobs", "80", "--estimates", "noisy", "--json", "--policy", "balanced", "--policy", "sjf")
    assert simulate(*args).output == simulate(*args).output
    assert simulate(*args).output != simulate(*args, "--seed", "1").output


def test_policies_side_by_side(lab: str) -> None:
    found = data("--trace", lab, "--compare")
    assert [row["policy"] for row in found["compared"]] == [
        "balanced",
        "fifo",
        "easy_fifo",
        "sjf",
        "fair_share",
        "makespan",
        "queue",
    ]
    waits = {row["policy"]: row["mean_wait_s"] for row in found["compared"]}
    assert waits["fifo"] == waits["queue"] > waits["easy_fifo"]
    caps = data("--trace", lab, "--age-cap", "12h,3d")
    assert [row["policy"] for row in caps["compared"]] == ["balanced C=0.5d", "balanced C=3d"]


def test_the_table_says_what_was_left_out(lab: str) -> None:
    said = simulate("--trace", lab, "--gpus", "4", "--projects", "project", "--policy", "fifo", "--policy", "balanced")
    assert said.exit_code == 0
    assert "lab.csv: 3 jobs on 4 GPUs, durations known beforehand" in said.output
    assert "left out: 1 job for more than 4 GPUs" in said.output
    assert "left out: 1 line of jobs that never ran" in said.output
    assert "fifo: shares vision 100.0 %, text 0.0 %" in said.output
    assert "balanced: 1 of 1 deadlines missed" in said.output


def test_stretch_and_weights(lab: str) -> None:
    assert data("--trace", lab, "--stretch", "2", "--policy", "fifo")["makespan_s"] > 80_000
    said = data("--jobs", "40", "--projects", "project", "--weight", "a=2.5")
    assert said["jobs"] == 40


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--weight", "a"), "'a' is not NAME=N"),
        (("--weight", "a=-1"), "'a=-1' is not NAME=N"),
        (("--age-cap", "soon"), "got 'soon'"),
        (("--stretch", "0"), "--stretch and --load must be above 0"),
        (("--stretch", "nan"), "--stretch and --load must be above 0"),
        (("--load", "0"), "--stretch and --load must be above 0"),
        (("--deadlines", "nan"), "nan is not a number"),
        (("--gpus", "0"), "expected a number of GPUs"),
        (("--gpus", "-1"), "expected a number of GPUs"),
        (("--gpus", "4xMany"), "'Many' is no type of GPU"),
        (("--gpus", "2xA100", "--gpu-type", "A100=2"), "a part is at most 1"),
        (("--gpus", "2xA100", "--gpu-type", "H100=0.5"), "no GPU is of type 'H100': there are 2 × A100"),
        (("--gpus", "2xA100", "--gpu-type", "A100"), "'A100' is not TYPE=PART"),
        (("--estimates", "good"), "'good' is not one of"),
    ],
)
def test_wrong_options_are_named(args: tuple[str, ...], words: str) -> None:
    said = simulate(*args)
    assert said.exit_code == 2
    assert words in said.output


def test_wrong_policies_and_files_are_named(tmp_path: Path) -> None:
    assert isinstance(simulate("--policy", "best").exception, UsageError)
    assert isinstance(simulate("--trace", str(tmp_path / "no.csv")).exception, ConfigError)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies of one's own in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "def least_work(job):\n    return job.expected_s * max(job.gpus, 1)\n\n\n"
        "def broken(job, facts):\n    return facts.nothing\n"
    )


def figures_of(*args: str) -> dict[str, Any]:
    found = data("--jobs", "80", *args)
    assert isinstance(found.pop("policy"), str)
    return found


@pytest.mark.usefixtures("own")
def test_a_policy_of_ones_own_is_simulated_and_one_that_says_the_same_as_a_built_in_does_the_same() -> None:
    assert figures_of("--policy", "own:least_work") == figures_of("--policy", "sjf")
    assert figures_of("--policy", "own.py:least_work") == figures_of("--policy", "own:least_work")
    rows = data("--jobs", "30", "--compare", "--policy", "own:least_work")["compared"]
    assert [row["policy"] for row in rows][-2:] == ["queue", "own:least_work"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own:broken", r"own\.py:6: AttributeError: .*nothing"),
        ("own:nix", r"own\.py has no nix; it has least_work, broken"),
        ("none:nix", "No module named 'none'"),
    ],
)
def test_a_policy_of_ones_own_that_fails_ends_its_simulation(name: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        raise simulate("--jobs", "20", "--policy", name).exception or AssertionError("it did not fail")


def test_types_of_gpus_have_rows_of_their_own(tmp_path: Path) -> None:
    said = data("--gpus", "2xA100,6xT4", "--gpu-type", "A100=0.3", "--daily", "--jobs", "60")
    assert [(kind["gpu_type"], kind["gpus"]) for kind in said["types"]] == [("A100", 2), ("T4", 6), ("any", 8)]
    assert said["types"][0]["jobs"] + said["types"][2]["jobs"] == said["jobs"] == 60
    shown = simulate("--gpus", "2xA100,6xT4", "--gpu-type", "A100=0.3", "--daily", "--jobs", "60").output
    assert "WANTED" in shown
    trace = tmp_path / "typed.csv"
    trace.write_text("job_id,submit_s,duration_s,num_gpus,gpu_type\na,0,60,1,A100\nb,0,60,3,A100\nc,0,60,1,\n")
    said = data("--trace", str(trace), "--gpus", "2xA100,2xT4")
    assert (said["jobs"], said["too_wide"]) == (2, 1), "three A100 are more than there are"
    trace.write_text("job_id,submit_s,duration_s,num_gpus,gpu_type\na,0,60,1,A100|\n")
    found = simulate("--trace", str(trace)).exception
    assert isinstance(found, ConfigError)
    assert "gpu_type: expected types such as" in str(found)
    assert isinstance(simulate("--trace", str(trace), "--gpu-type", "A100=1").exception, SystemExit)
