"""rfsched results: what real jobs left, found, shown, compared, drawn and pruned with the installed command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support import eventually
from tests.workspaces import RFSCHED, RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

TRAIN = r"""
lr=$(sed -n 's/.*learning_rate: //p' "$1")
for step in 1 2 3; do
    echo "{\"loss\": 0.$((4 - step))$lr, \"acc\": 0.$step$lr, \"step\": $step}" >> "$RFSCHED_METRICS"
done
echo "trained with $lr"
echo weights > "$RFSCHED_OUTPUT_DIR/$RFSCHED_JOB.pt"
[ "$lr" != 4 ]
"""


def trained(ws: RealWorkspace, count: int = 4) -> RealWorkspace:
    """A workspace in which `count` trainings have ended; the fourth failed."""
    train = ws.script("train.sh", TRAIN)
    ws.configure(command=f"{train} {{config}}", output_dir="out")
    (ws.root / "out").mkdir(exist_ok=True)
    for number in range(1, count + 1):
        text = f"model: bert\ntraining:\n  learning_rate: {number}\n  epochs: 3\n"
        (ws.root / "configs" / f"exp{number}.yml").write_text(text)
    ws.ok("start", TOKEN="very secret")
    ws.call("wait")
    return ws


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorkspace]:
    """A workspace with four ended trainings, for tests that only look."""
    import tempfile

    from tests.tmux_fixtures import Server

    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:
        server = Server(Path(folder))
        root = tmp_path_factory.mktemp("results") / "ws"
        root.mkdir()
        for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=root, check=True)
        made = RealWorkspace(root, server)
        try:
            yield trained(made)
        finally:
            made.close()
            server.close()


def jobs(output: str) -> list[str]:
    """The first column of a table."""
    return [line.split()[0] for line in output.splitlines()[1:] if line.strip()]


def runs(ws: RealWorkspace, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ws.ok("results", *args, "--json"))["runs"]
    return found


def test_a_table_of_what_differs(done: RealWorkspace) -> None:
    output = done.ok("results")
    assert output.splitlines()[0].split() == ["JOB", "OUTCOME", "TOOK", "learning_rate", "loss", "acc"]
    assert jobs(output) == ["exp1", "exp2", "exp3", "exp4"]
    assert "failed: exit code 1" in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["learning_rate>2"], ["exp3", "exp4"]),
        (["training.learning_rate > 2", "succeeded=true"], ["exp3"]),
        (["loss<0.13", "--sort", "-loss"], ["exp2", "exp1"]),
        (["--sort", "-learning_rate", "--limit", "2"], ["exp4", "exp3"]),
        (["--best", "acc"], ["exp4"]),
        (["--best", "-acc", "--limit", "2"], ["exp1", "exp2"]),
        (["exp1", "exp3"], ["exp1", "exp3"]),
        (["exp[12]", "model~^be"], ["exp1", "exp2"]),
        (["outcome~exit code"], ["exp4"]),
        (["--all-attempts", "exp1"], ["exp1"]),
        (["epochs!=3"], []),
    ],
)
def test_runs_are_found(done: RealWorkspace, args: list[str], found: list[str]) -> None:
    assert jobs(done.ok("results", *args)) == found


def test_columns_csv_and_json(done: RealWorkspace) -> None:
    lines = done.ok("results", "exp2", "--columns", "epochs,acc.max,commit").splitlines()
    assert [line.split()[:3] for line in lines] == [["JOB", "epochs", "acc.max"], ["exp2", "3", "0.32"]]
    rows = list(csv.DictReader(io.StringIO(done.ok("results", "--csv"))))
    assert [(row["job"], row["config.training.learning_rate"], row["metrics.acc"]) for row in rows][:2] == [
        ("exp1", "1", "0.31"),
        ("exp2", "2", "0.32"),
    ]
    [run] = runs(done, "exp2")
    assert (run["config"]["model"], run["metrics"], run["exit_code"]) == ("bert", {"loss": 0.12, "acc": 0.32}, 0)
    assert run["metrics_range"]["loss"] == {"last": 0.12, "min": 0.12, "max": 0.32, "count": 3}
    assert run["git"]["branch"] == "main"
    assert run["command"] == f"{done.root}/train.sh {done.root}/configs/exp2.yml"
    assert Path(run["files"]["metrics"]).read_text().count("\n") == 3
    assert [Path(path).name for path in run["outputs"]] == ["exp2.pt", "exp2_completed.txt"]
    assert "very secret" not in (done.root / "results" / "index.json").read_text()


def test_everything_about_one_run(done: RealWorkspace) -> None:
    output = done.ok("results", "show", "exp2")
    for words in ("attempt 1", "succeeded", "training.learning_rate", "0.12  (min 0.12  max 0.32  count 3)"):
        assert " ".join(words.split()) in " ".join(output.split())
    uuid = runs(done, "exp2")[0]["uuid"]
    assert done.ok("results", "show", uuid[:8]) == output
    assert done.ok("results", "show", "exp2.1") == output


def test_paths_to_open(done: RealWorkspace) -> None:
    paths = done.ok("results", "open", "exp2").splitlines()
    assert Path(paths[0]).read_text().strip() == "trained with 2"
    assert f"{done.root}/out/exp2.pt" in paths
    assert all(os.path.exists(path) for path in paths)


def test_two_runs_side_by_side(done: RealWorkspace) -> None:
    lines = [line.split() for line in done.ok("results", "diff", "exp1", "exp4").splitlines()]
    assert ["CONFIG", "exp1.1", "exp4.1"] in lines
    assert ["training.learning_rate", "1", "4"] in lines
    assert ["loss", "0.11", "0.14"] in lines
    found = json.loads(done.ok("results", "diff", "exp1", "exp4", "--json"))
    assert found["same_config_keys"] == 2
    assert found["environment"] == []


def test_a_picture_and_a_page(done: RealWorkspace) -> None:
    assert done.ok("results", "plot", "loss", "exp1", "exp2", "-o", "a.svg") == "a.svg: 2 runs\n"
    picture = ElementTree.parse(done.root / "a.svg").getroot()
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    done.ok("results", "plot", "acc", "learning_rate>=2", "-o", "page.html")
    text = (done.root / "page.html").read_text()
    assert text.count("<polyline") == 3
    assert "<th>learning_rate</th>" in text
    assert done.ok("results", "plot", "loss", "-o", "-").startswith("<svg")
    done.ok("results", "plot", "acc")
    assert (done.root / "acc.svg").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["plot", "accuracy"], "there are loss, acc"),
        (["plot", "loss", "-o", "a.png"], "name it FILE.svg or FILE.html"),
        (["plot", "loss", "-o", "/nonexistent/a.svg"], "cannot be written"),
        (["plot", "loss", "exp9"], "no run is recorded of a job 'exp9'"),
        (["learnin_rate=1"], "did you mean learning_rate"),
        (["--sort", "nothing_like_it"], "no run has a value called 'nothing_like_it'"),
        (["--columns", "a,b"], "no run has a value called 'a'"),
        (["shwo", "exp1"], "did you mean `rfsched results show`?"),
        (["show", "exp9"], "recorded are: exp1"),
        (["diff", "exp1", "exp9"], "recorded are: exp1"),
        (["prune"], "--older-than 30d"),
        (["prune", "--older-than", "soon"], "--older-than: expected a time"),
        (["prune", "exp1", "--keep-best", "acc"], "not of the form KEY:N"),
    ],
)
def test_what_cannot_be_done_is_said(done: RealWorkspace, args: list[str], words: str) -> None:
    result = done.call("results", *args)
    assert result.returncode == 2
    assert words in result.stderr


def test_help_and_the_workspace_anywhere(done: RealWorkspace) -> None:
    assert "prune" in done.ok("results", "--help")
    assert "QUERY, all of which must hold" in done.ok("results", "list", "--help")
    for args in (["-w", str(done.root), "results", "exp1"], ["results", "exp1", "-w", str(done.root)]):
        output = subprocess.run([RFSCHED, *args], cwd="/", capture_output=True, text=True, check=True).stdout
        assert jobs(output) == ["exp1"]
    assert (
        subprocess.run([RFSCHED, "results", "show", "exp1", "-w", str(done.root)], cwd="/", check=False).returncode == 0
    )


def test_no_results_yet_says_how_to_get_some(workspace: RealWorkspace) -> None:
    result = workspace.call("results")
    assert result.returncode == 2
    assert "no results yet" in result.stderr
    assert "rfsched start" in result.stderr
    assert not (workspace.root / "results").exists()


def test_retries_are_attempts_of_one_job_and_pruning_takes_what_it_says(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(retry_delay=0.0)
    flaky = '[ -e seen ] && echo "{\\"x\\": 1}" >> "$RFSCHED_METRICS" && exit 0; touch seen; exit 3'
    ws.ok("add", "--gpus", "0", "--name", "flaky", "--retries", "2", "--", flaky)
    ws.ok("add", "--gpus", "0", "--name", "plain", "true")
    ws.ok("wait")
    assert [run["attempt"] for run in runs(ws, "flaky")] == [2]
    everything = runs(ws, "--all-attempts", "flaky")
    assert [(run["attempt"], run["outcome"]) for run in everything] == [(1, "failed: exit code 3"), (2, "succeeded")]
    assert everything[0]["command"] == flaky
    assert "ATTEMPT" in ws.ok("results", "--all-attempts")

    before = sorted(str(path) for path in ws.root.joinpath("results").rglob("*"))
    assert "would remove 1 record: flaky.1" in ws.ok("results", "prune", "succeeded=false")
    assert "no run matches" in ws.ok("results", "prune", "--older-than", "1d")
    assert "would remove 2 records" in ws.ok("results", "prune", "--older-than", "0s", "--keep-best", "x:1")
    assert sorted(str(path) for path in ws.root.joinpath("results").rglob("*")) == before
    assert "removed 1 record (flaky.1)" in ws.ok("results", "prune", "succeeded=false", "--yes")
    assert [run["attempt"] for run in runs(ws, "--all-attempts", "flaky")] == [2]
    ws.ok("add", "--gpus", "0", "--name", "later", "true")
    ws.ok("wait")
    assert [run["job"] for run in runs(ws, "--all-attempts")] == ["flaky", "plain", "later"]


def test_without_a_scheduler_the_command_itself_records(workspace: RealWorkspace) -> None:
    ws = workspace
    release = ws.root / "release"
    ws.ok("add", "--gpus", "0", "--name", "long", f"until [ -e {release} ]; do sleep 0.05; done")
    ws.wait_for("long", "running")
    ws.ok("stop")
    assert "no results yet" in ws.call("results").stderr
    release.touch()
    eventually(lambda: not ws.job_pids("long"))
    assert [run["job"] for run in runs(ws)] == ["long"]
    assert [run["job"] for run in runs(ws)] == ["long"]


def test_schedulers_killed_at_any_time_leave_exactly_one_record_for_each_attempt(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(max_jobs_per_gpu=4, restart_lost=False)
    ws.add_configs(24)
    process = ws.scheduler()
    eventually(lambda: (ws.root / ".rfsched" / "lock").exists())
    ws.ok("start")
    for pause in (0.3, 0.15, 0.4, 0.2):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(pause)
        kill9(process.pid)
        process.wait()
        process = ws.scheduler()
    ws.settled()
    found = runs(ws, "--all-attempts")
    assert Counter((run["job"], run["attempt"]) for run in found) == Counter((f"exp{n}", 1) for n in range(1, 25))


def test_results_that_cannot_be_written_fail_no_job_and_are_caught_up(workspace: RealWorkspace) -> None:
    ws = workspace
    (ws.root / "results").write_text("a file in the way")
    ws.ok("add", "--gpus", "0", "--name", "a", "true")
    ws.ok("add", "--gpus", "0", "--name", "b", "true")
    assert set(ws.settled().values()) == {"succeeded"}
    eventually(lambda: "runs cannot be recorded for now" in ws.history())
    assert ws.history().count("cannot be recorded") == 1
    assert "none can be recorded" in ws.call("results").stderr
    (ws.root / "results").unlink()
    assert {run["job"] for run in runs(ws)} == {"a", "b"}
