"""`rfsched export`, run in this process on a made-up past."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from researchflow_tmux.api.python import Workspace
from researchflow_tmux.cli.main import run
from researchflow_tmux.domain.errors import UsageError
from tests.pasts import past


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ws")
    (root / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:4\n")
    (root / ".rfsched").mkdir(mode=0o700)
    past(40, running=False).write(str(root / ".rfsched" / "state.db"))
    return root


def export(workspace: Path, *words: str | Path) -> int:
    return run(["-w", str(workspace), "export", *map(str, words)])


def test_the_name_of_the_file_says_the_format(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("t.svg", "t.html", "t.json", "t.png", "t.csv"):
        assert export(workspace, "timeline", tmp_path / name) == 0
    assert ElementTree.parse(tmp_path / "t.svg").getroot().tag.endswith("svg")
    HTMLParser().feed((tmp_path / "t.html").read_text())
    assert json.loads((tmp_path / "t.json").read_text())["schema"] == "rfsched.timeline/1"
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {row["lane"] for row in rows} == {"GPU 0", "GPU 1", "GPU 2", "GPU 3"}
    assert f"{tmp_path}/t.svg: " in capsys.readouterr().out


def test_a_specification_for_other_renderers_holds_its_data(workspace: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.vl.json"
    assert export(workspace, "timeline", path) == 0
    spec = json.loads(path.read_text())
    assert spec["$schema"].endswith("/vega-lite/v5.json")
    rows = spec["data"]["values"]
    fields = {each["field"] for each in spec["encoding"].values() if isinstance(each, dict)}
    assert fields <= set(rows[0])
    assert {row["state"] for row in rows} == set(spec["encoding"]["color"]["scale"]["domain"])
    assert export(workspace, "timeline", path) == 0


def test_only_the_jobs_that_are_meant(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "timeline", "--format", "json", "train*", "--state", "succeeded") == 0
    bars = [bar for lane in json.loads(capsys.readouterr().out)["lanes"] for bar in lane["bars"]]
    assert bars
    assert all(bar["name"].startswith("train") for bar in bars)
    assert export(workspace, "timeline", "--format", "json", "--group", "evaluate", "--by", "job") == 0
    lanes = json.loads(capsys.readouterr().out)["lanes"]
    assert lanes
    assert all(lane["title"].startswith("evaluate") for lane in lanes)


def test_only_the_time_that_is_meant(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    window = ("--since", "2026-11-24T06:00:00Z", "--until", "2026-11-24T09:00:00Z")
    assert export(workspace, "timeline", "-o", "-", "--format", "json", "--waiting", *window) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["since"], data["until"]) == ("2026-11-24T06:00:00Z", "2026-11-24T09:00:00Z")
    bars = [bar for lane in data["lanes"] for bar in lane["bars"]]
    assert bars
    assert all(bar["end"] >= data["since"] and bar["begin"] <= data["until"] for bar in bars)
    assert data["queue"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["timeline"], "name a file"),
        (["timeline", "-o", "picture"], "does not say in which format"),
        (["timeline", "x.svg", "nosuchjob"], "no job 'nosuchjob'"),
        (["timeline", "x.svg", "--since", "whenever"], "is no time"),
        (["timeline", "x.svg", "--since", "1h", "--until", "2h"], "ends before it begins"),
        (["timeline", "x.txt"], "timeline cannot be exported as txt"),
        (["timeline", "x.pdf"], "x.pdf: the name does not say in which format"),
        (["graph", "x.vl.json"], "graph cannot be exported as vega"),
        (["timeline", "/nowhere/x.svg"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    workspace: Path,
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(workspace, *words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["svg", "html", "json", "png", "csv"])
def test_a_file_of_another_kind_is_not_replaced_and_one_of_ours_is(workspace: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    path.write_text('{"schema": "mine"}' if form == "json" else "<svg>mine</svg>\n")
    before = path.read_bytes()
    assert export(workspace, "timeline", path) == 2
    assert path.read_bytes() == before
    assert export(workspace, "timeline", path, "--force") == 0
    assert path.read_bytes() != before
    assert export(workspace, "timeline", path) == 0
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_is_planned_is_part_of_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:2\n")
    (tmp_path / ".rfsched").mkdir(mode=0o700)
    past(40, gpus=2, running=False, waiting=4).write(str(tmp_path / ".rfsched" / "state.db"))
    assert export(tmp_path, "timeline", "--plan", "--format", "json") == 0
    bars = [bar for lane in json.loads(capsys.readouterr().out)["lanes"] for bar in lane["bars"]]
    planned = {bar["name"] for bar in bars if bar["state"] == "planned"}
    assert {f"waiting_{number}" for number in range(41, 45)} <= planned


def test_a_graph_of_the_jobs_that_are_meant(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "graph", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["nodes"] == []
    assert export(workspace, "graph", "--format", "json", "train*", "--stack", "never") == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert nodes
    assert all(node["name"].startswith("train") for node in nodes)
    assert export(workspace, "graph", "--format", "csv", "train*") == 0
    assert capsys.readouterr().out.startswith("id,name,jobs,")


def test_utilisation_says_when_nothing_was_measured(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "utilisation", "--format", "svg") == 0
    assert "Nothing was measured" in capsys.readouterr().out
    assert export(workspace, "utilisation", "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [gpu["mean_util_pct"] for gpu in data["gpus"]] == [None] * 4
    assert all(gpu["given_pct"] > 0 for gpu in data["gpus"])


def test_shares_of_projects_have_a_picture_of_their_own(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "shares", "--format", "svg") == 0
    assert "vision" in capsys.readouterr().out
    assert export(workspace, "shares", "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "rfsched.shares/1"
    assert [each["project"] for each in data["projects"]] == ["language", "vision", "(no project)"]
    assert export(workspace, "shares", "--format", "csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 * len(data["at"])


def test_a_report_is_printed_as_tables(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(workspace, "report") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rfsched report on ")
    columns = next(line for line in lines if line.startswith("PROJECT")).split()
    assert columns[:4] == ["PROJECT", "JOBS", "OK", "FAILED"]
    assert [line.split()[0] for line in lines if line.startswith(("ann", "bob"))] == ["bob", "ann"]


def test_a_report_in_all_its_forms(workspace: Path, tmp_path: Path) -> None:
    for form in ("html", "json", "csv", "txt"):
        assert export(workspace, "report", tmp_path / f"r.{form}") == 0
    assert (tmp_path / "r.html").read_text().count('<div class="picture">') == 3
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == "rfsched.report/1"
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert {row["by"] for row in rows} == {"all", "project", "user", "gpu", "day"}
    assert export(workspace, "report", tmp_path / "r.svg") == 2


def test_python_gives_the_same_data(workspace: Path) -> None:
    it = Workspace(workspace, start=False)
    assert it.report().total.attempts == it.timeline().attempts > 0
    assert {node.name for node in it.graph("train*", stack="never").nodes} == {job.name for job in it.jobs(["train*"])}
    assert [gpu.index for gpu in it.utilisation(since="365d").gpus] == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="no job"):
        it.report("nosuchjob")


def test_an_empty_workspace_has_an_empty_picture(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\n")
    assert export(tmp_path, "timeline", tmp_path / "x.svg") == 0
    assert "Nothing ran" in (tmp_path / "x.svg").read_text()
