"""Configs as jobs: which files are meant, what each draft says, and every problem at once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources import ScanResult
from researchflow_tmux.adapters.sources.configs import scan
from researchflow_tmux.adapters.sources.selection import natural_key, read_pins, split_list
from researchflow_tmux.domain.job import JobSpec
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from tests.pasts import past


class Workspace:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        (root / "train.py").write_text("print()\n")
        (root / "configs").mkdir()

    def config(self, name: str, text: str = "lr: 1\n") -> Path:
        path = self.root / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def scan(self, names: str | None = None, pins: str | None = None, **settings: object) -> ScanResult:
        made = Settings(task_name="t", **settings)  # type: ignore[arg-type]
        return scan(self.paths, made, None if names is None else split_list(names), split_list(pins))


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def names(result: ScanResult) -> list[str]:
    return [draft.name for draft in result.drafts]


def test_a_draft_says_everything(ws: Workspace) -> None:
    path = ws.config(
        "a.yml",
        "rfsched: {gpus: 2, env: {A: x}, time_limit: 2h, retries: 1, priority: 5, after: [b], completion: marker}\n",
    )
    (draft,) = ws.scan("a", env={"A": "w", "B": "w"}).drafts
    assert (draft.source, draft.key, draft.name) == ("config", "configs/a.yml", "a")
    assert draft.argv[1:] == (str(ws.root / "train.py"), "--config_path", str(path))
    assert draft.workdir == str(ws.root)
    assert draft.env == {"A": "x", "B": "w"}
    assert draft.request == ResourceRequest(gpus=2, time_limit_s=7200.0)
    assert (draft.completion, draft.retries, draft.priority, draft.after) == ("marker", 1, 5, ("b",))
    assert draft.marker == str(ws.root / "out" / "a_completed.txt")
    digest = hashlib.sha256(b"print()\n").hexdigest()
    assert draft.digests == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest(),
        str(ws.root / "train.py"): digest,
    }
    spec = draft.to_spec("e", after=(3,), group="g")
    assert (spec.env_digest, spec.after, spec.group, spec.config_path) == ("e", (3,), "g", str(path))
    assert msgspec.json.decode(msgspec.json.encode(spec), type=JobSpec) == spec


def test_bare_start_means_all_in_natural_order(ws: Workspace) -> None:
    for name in ("exp10.yml", "exp2.yml", "Exp1.yml", "notes.txt", ".hidden.yml", "sub/deep.yml"):
        ws.config(name)
    (ws.root / "configs" / "dir.yml").mkdir()
    assert names(ws.scan()) == ["Exp1", "exp2", "exp10"]
    assert names(ws.scan(config_pattern="**/*.yml")) == ["Exp1", "exp2", "exp10", "deep"]


def test_the_workspaces_own_config_is_no_job(ws: Workspace) -> None:
    (ws.root / "scheduler_config.yml").write_text("task_name: t\n")
    (ws.root / "a.yml").write_text("")
    assert names(ws.scan(config_dir=".")) == ["a"]


def test_names_as_people_type_them(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yml", "b.yaml", "sub/c.yml", "d e ü.yml"):
        ws.config(name)
    elsewhere = ws.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f.yml").write_text("")
    monkeypatch.chdir(elsewhere)
    result = ws.scan(f"a, b ,sub/c.yml,d e ü,f.yml,{ws.root}/configs/../elsewhere/f.yml,configs/a.yml")
    assert names(result) == ["a", "b", "c", "d e ü", "f"]
    assert [problem.message for problem in result.problems] == [
        f"{ws.root}/configs/../elsewhere/f.yml is named twice (item 5 and 6)",
        "configs/a.yml is named twice (item 1 and 7)",
    ]


def test_pins_go_by_position_and_may_be_missing(ws: Workspace) -> None:
    for name in "abc":
        ws.config(f"{name}.yml")
    result = ws.scan("a,b,c", "1,,")
    assert [draft.request.pinned for draft in result.drafts] == [(1,), (), ()]
    result = ws.scan("a,b,c", ",0")
    assert [draft.request.pinned for draft in result.drafts] == [(), (0,), ()]
    result = ws.scan("a,b,c", "MIG-5c89852c-d268-5c1f,GPU-3,")
    assert [draft.request.pinned for draft in result.drafts] == [("MIG-5c89852c-d268-5c1f",), ("GPU-3",), ()]
    assert result.problems == ()


def test_all_problems_of_a_command_line_at_once(ws: Workspace) -> None:
    ws.config("heavy_model.yml")
    ws.config("bad.yml", "a: [\n")
    ws.config("cpu.yml", "rfsched: {gpus: 0}")
    ws.config("two.yml", "rfsched: {gpus: 2, grp: x}")
    result = ws.scan("heavy_model,heavy_modle,,bad,heavy_model.yml,cpu,two", "0,x,1,1,1,1,1,9")
    assert names(result) == ["heavy_model"]
    text = "\n".join(map(str, result.problems))
    for words in (
        "there is no config heavy_modle",
        "did you mean heavy_model.yml",
        "item 3 of the list of configs is empty",
        "heavy_model.yml is named twice",
        "item 2 of the list of GPUs is 'x'",
        "8 GPUs are given for 7 configs",
        "bad.yml:2:1: not valid YAML",
        "is a CPU job (`gpus: 0`) and cannot be pinned to GPU 1",
        "unknown key `rfsched.grp`",
    ):
        assert words in text


def test_a_missing_script_is_said_once(ws: Workspace) -> None:
    (ws.root / "train.py").unlink()
    for name in "abc":
        ws.config(f"{name}.yml")
    result = ws.scan()
    assert len(result.problems) == 1
    assert "script_path" in str(result.problems[0])
    assert names(ws.scan(command="echo {config}")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"work_dir": "nowhere"}, "nowhere does not exist"),
        ({"config_dir": "nowhere"}, "nowhere does not exist"),
        ({"python_env": "/x/py"}, "/x/py"),
    ],
)
def test_what_concerns_all_configs_is_said_once(ws: Workspace, settings: dict[str, str], words: str) -> None:
    ws.config("a.yml")
    ws.config("b.yml")
    (problem,) = ws.scan(**settings).problems
    assert words in str(problem)


def test_who_only_adds_jobs_needs_no_directory_of_configs(ws: Workspace) -> None:
    (ws.root / "configs").rmdir()
    assert "configs does not exist" in str(ws.scan().problems[0])
    (ws.root / ".rfsched").mkdir(mode=0o700)
    past(0, running=False).write(ws.paths.database)
    assert "configs does not exist" in str(ws.scan().problems[0])
    os.unlink(ws.paths.database)
    past(3, running=False).write(ws.paths.database)
    result = ws.scan()
    assert (result.drafts, result.problems) == ((), ())
    assert "no configs to queue" in result.warnings[0]
    assert "nowhere does not exist" in str(ws.scan(config_dir="nowhere").problems[0])


def test_an_empty_directory_is_worth_a_word_and_no_problem(ws: Workspace) -> None:
    result = ws.scan()
    assert (result.drafts, result.problems) == ((), ())
    assert "nothing to queue" in result.warnings[0]


def test_links(ws: Workspace) -> None:
    real = ws.config("real.yml")
    (ws.root / "configs" / "link.yml").symlink_to(real)
    (ws.root / "configs" / "dead.yml").symlink_to("nowhere")
    result = ws.scan()
    assert names(result) == ["link", "real"]
    assert "link to a file that does not exist" in str(result.problems[0])


def test_a_name_that_is_not_utf_8(ws: Workspace) -> None:
    path = os.path.join(os.fsencode(ws.root), b"configs", b"\xff.yml")
    Path(os.fsdecode(path)).write_text("")
    (problem,) = ws.scan().problems
    assert "rename" in str(problem)
    str(problem).encode()


def test_retries_follow_the_settings_unless_the_config_says(ws: Workspace) -> None:
    ws.config("a.yml")
    ws.config("b.yml", "rfsched: {retries: 7}")
    assert [draft.retries for draft in ws.scan().drafts] == [0, 7]
    assert [draft.retries for draft in ws.scan(auto_restart_failed=True, max_retries=2).drafts] == [2, 7]


def test_a_root_dir_moves_the_marker(ws: Workspace) -> None:
    ws.config("a.yml", "root_dir: runs/x\n")
    (draft,) = ws.scan(command="echo {output_dir}").drafts
    assert draft.marker == str(ws.root / "runs" / "x" / "a_completed.txt")
    assert draft.argv == ("echo", str(ws.root / "runs" / "x"))


def test_task_name_is_filled_in(ws: Workspace) -> None:
    ws.config("a.yml").rename(ws.root / "a.yml")
    (ws.root / "t").mkdir()
    (ws.root / "a.yml").rename(ws.root / "t" / "a.yml")
    (ws.root / "t.py").write_text("")
    (draft,) = ws.scan(config_dir="${task_name}", script_path="${task_name}.py").drafts
    assert draft.argv[1] == str(ws.root / "t.py")


def test_two_configs_of_one_stem_do_not_share_a_marker(ws: Workspace) -> None:
    ws.config("x/a.yml")
    ws.config("y/a.yml")
    result = ws.scan("x/a.yml,y/a.yml")
    assert names(result) == ["a", "a"]
    assert [draft.key for draft in result.drafts] == ["configs/x/a.yml", "configs/y/a.yml"]
    assert [draft.marker for draft in result.drafts] == [None, None]
    assert "exit codes alone" in result.warnings[0]
    assert len(ws.scan("x/a.yml,y/a.yml", completion="marker").problems) == 2


def test_a_config_of_another_format_is_a_job_too(ws: Workspace) -> None:
    ws.config("a.toml", "[model]\nlayers = 3\n")
    ws.config("b.toml", "[model\n")
    assert names(ws.scan(config_pattern="*.toml")) == ["a", "b"]
    assert names(ws.scan("a", config_pattern="*.toml")) == ["a"]


@pytest.mark.parametrize(
    ("text", "items"), [(None, []), ("", []), ("a", ["a"]), (" a , b,", ["a", "b"]), ("a,,b", ["a", "", "b"])]
)
def test_lists_as_typed(text: str | None, items: list[str]) -> None:
    assert split_list(text) == items


@given(st.lists(st.text("ab12٣² é", max_size=6)))
def test_any_names_can_be_sorted(texts: list[str]) -> None:
    assert len(sorted(texts, key=natural_key)) == len(texts)


@given(st.lists(st.text(max_size=5) | st.integers() | st.none(), max_size=5), st.integers(0, 5))
def test_any_pins_give_one_pin_a_config(pins: list[str | int | None], count: int) -> None:
    read, _ = read_pins(pins, count)
    assert len(read) == count
    assert all(pin is None or isinstance(pin, str) or pin >= 0 for pin in read)
