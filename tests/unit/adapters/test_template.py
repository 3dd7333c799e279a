"""Setting up: a new workspace that works, and an old one that loses nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.config_convert import convert
from researchflow_tmux.adapters.config_file import load_settings, parse_settings
from researchflow_tmux.adapters.config_reference import settings_schema
from researchflow_tmux.adapters.sources.configs import scan
from researchflow_tmux.adapters.template import setup, template_dir
from researchflow_tmux.domain.errors import ConfigError, UsageError
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

CONFIGS = sorted(Path(template_dir(), "configs").glob("*.yml"))


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# A new workspace ------------------------------------------------------------------------------------------------------


def test_a_new_workspace_has_everything_and_loads(tmp_path: Path) -> None:
    root = tmp_path / "image classification"
    report = setup(str(root))
    assert set(report.created) == set(content(root))
    assert (report.kept, report.backed_up, report.converted, report.notes) == ([], [], [], [])
    assert load_settings(str(root / "scheduler_config.yml")).settings == Settings(task_name="image_classification")
    assert stat.S_IMODE((root / ".rfsched").stat().st_mode) == 0o700
    assert os.access(root / "scheduler.sh", os.X_OK)
    schema = json.loads((root / ".rfsched" / "scheduler_config.schema.json").read_text())
    assert schema == settings_schema()
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    result = scan(paths, Settings(task_name="t"))
    assert (len(result.drafts), result.problems, result.warnings) == (len(CONFIGS), (), ())


@pytest.mark.parametrize(
    ("folder", "task"),
    [("2024", "2024"), ("true", "true"), ("ünï.x", "n_x"), ("---", "my_experiment"), ("a-b_c", "a-b_c")],
)
def test_the_task_is_named_after_the_folder(tmp_path: Path, folder: str, task: str) -> None:
    setup(str(tmp_path / folder))
    assert load_settings(str(tmp_path / folder / "scheduler_config.yml")).settings.task_name == task


def test_a_workspace_that_is_there_is_not_touched_without_force(tmp_path: Path) -> None:
    setup(str(tmp_path))
    before = content(tmp_path)
    with pytest.raises(UsageError, match="--force"):
        setup(str(tmp_path))
    assert content(tmp_path) == before


def test_doing_it_again_with_force_changes_nothing(tmp_path: Path) -> None:
    setup(str(tmp_path))
    (tmp_path / "configs" / "softmax.yml").unlink()
    (tmp_path / "out" / "x_completed.txt").write_text("")
    before = content(tmp_path)
    report = setup(str(tmp_path), force=True)
    assert content(tmp_path) == before
    assert (report.created, report.backed_up, report.converted) == ([], [], [])


def test_files_of_a_project_are_never_overwritten(tmp_path: Path) -> None:
    for name in ("train.py", "scheduler.sh", ".gitignore"):
        (tmp_path / name).write_text("mine\n")
    report = setup(str(tmp_path))
    for name in ("train.py", "scheduler.sh", ".gitignore"):
        assert (tmp_path / name).read_text() == "mine\n"
    assert not (tmp_path / "configs").exists()
    assert "scheduler_config.yml" in report.created
    assert len(report.notes) == 2


def test_a_directory_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        setup(str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot be written"):
        setup(str(tmp_path / "file" / "below"))


def test_the_report_for_a_terminal_says_everything(tmp_path: Path) -> None:
    old_workspace(tmp_path / "my ws")
    report = setup(str(tmp_path / "my ws"), force=True)
    text = "\n".join(report.lines())
    for word in (*report.created, *report.kept, *report.converted, "scheduler.sh -> scheduler.sh.bak"):
        assert word in text
    for note in report.notes:
        assert note.splitlines()[0] in text
    assert report.lines()[-1] == f"next: cd '{tmp_path}/my ws' && ./scheduler.sh start"


# scheduler.sh ---------------------------------------------------------------------------------------------------------


def echo_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\npwd\nprintf "<%s>" "$@"\n')
    path.chmod(0o755)
    return path


def test_scheduler_sh_passes_its_arguments_from_any_directory(tmp_path: Path) -> None:
    root = tmp_path / "my ws"
    setup(str(root))
    tools = echo_program(tmp_path / "bin" / "rfsched").parent
    (tmp_path / "link").symlink_to(root / "scheduler.sh")
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    for script in (str(root / "scheduler.sh"), str(tmp_path / "link")):
        done = subprocess.run(
            [script, "start", "a b.yml,c", "0,1"], env=env, cwd="/", capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{root}\n<start><a b.yml,c><0,1>"
    done = subprocess.run(["./scheduler.sh", "help"], env=env, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("<--help>")


def test_scheduler_sh_falls_back_to_the_python_of_the_setup(tmp_path: Path) -> None:
    setup(str(tmp_path))
    script = tmp_path / "scheduler.sh"
    assert f"setup_python={sys.executable}\n" in script.read_text()
    python = echo_program(tmp_path / "python")
    script.write_text(script.read_text().replace(sys.executable, str(python)))
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([str(script), "status"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("<-m><researchflow_tmux><status>")
    python.unlink()
    done = subprocess.run([str(script), "status"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "not on the PATH" in done.stderr


# Taking over ----------------------------------------------------------------------------------------------------------

OLD = """\
# my settings
task_name: "ddim"    # why
gpu_count: 2
gpu_counts: me@x.org   # never worked
extra:
  - a
  # inner
  - b

conda_env: "base"
startup_delay: 1
"""


def old_workspace(root: Path, config: str = OLD) -> None:
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "resnet.yml").write_text("lr: 1\n")
    (root / "train.py").write_text("print()\n")
    (root / "scheduler_config.yml").write_text(config)
    (root / "scheduler.sh").write_text("#!/bin/bash\nsource ../scheduler_core.sh\n")
    (root / "scheduler.sh").chmod(0o750)


def test_a_bash_schedulers_workspace_is_taken_over(tmp_path: Path) -> None:
    old_workspace(tmp_path)
    (tmp_path / "scheduler.sh.bak").write_text("older\n")
    before = content(tmp_path)
    report = setup(str(tmp_path), force=True)
    after = content(tmp_path)
    assert report.backed_up == [
        ("scheduler_config.yml", "scheduler_config.yml.bak"),
        ("scheduler.sh", "scheduler.sh.bak2"),
    ]
    assert report.converted == ["scheduler_config.yml", "scheduler.sh"]
    assert report.kept == []
    for name in ("train.py", "configs/resnet.yml", "scheduler.sh.bak"):
        assert after[name] == before[name]
    assert after["scheduler.sh.bak2"] == before["scheduler.sh"]
    assert stat.S_IMODE((tmp_path / "scheduler.sh.bak2").stat().st_mode) == 0o750
    assert after["scheduler_config.yml.bak"].decode() == OLD
    text = after["scheduler_config.yml"].decode()
    assert "# gpu_counts: me@x.org   # never worked\n" in text
    assert "# extra:\n#   - a\n#   # inner\n#   - b\n\nconda_env" in text
    uncommented = [line for line in text.splitlines() if line in OLD.splitlines()]
    assert [line for line in OLD.splitlines() if line in uncommented] == uncommented
    assert load_settings(str(tmp_path / "scheduler_config.yml")).settings.task_name == "ddim"
    notes = "\n".join(report.notes)
    assert "line 4: `gpu_counts` means nothing here and became a comment; did you mean `gpu_count`?" in notes
    assert "startup_delay is needless" in notes
    assert "configs/mlp_8.yml" not in after

    again = setup(str(tmp_path), force=True)
    assert content(tmp_path) == after
    assert (again.backed_up, again.converted, again.created) == ([], [], [])


def test_a_valid_config_stays_byte_for_byte(tmp_path: Path) -> None:
    text = "\ufefftask_name: x # é\r\ngpu_count: '2'"
    old_workspace(tmp_path)
    (tmp_path / "scheduler_config.yml").write_bytes(text.encode())
    report = setup(str(tmp_path), force=True)
    assert (tmp_path / "scheduler_config.yml").read_bytes() == text.encode()
    assert report.kept == ["scheduler_config.yml"]


@pytest.mark.parametrize(
    "text", ["task_name: x\nmax_jobs_per_gpu: two\n", "task_name: [\n", "\tx", "{task_name: x, y: 1}"]
)
def test_what_is_wrong_is_named_and_not_mended(tmp_path: Path, text: str) -> None:
    old_workspace(tmp_path, text)
    report = setup(str(tmp_path), force=True)
    assert (tmp_path / "scheduler_config.yml").read_text() == text
    assert any(note.startswith("to be corrected by hand") for note in report.notes)


def test_a_linked_scheduler_sh_is_replaced_and_its_target_is_not(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    old_workspace(root)
    central = tmp_path / "central.sh"
    (root / "scheduler.sh").rename(central)
    (root / "scheduler.sh").symlink_to(central)
    setup(str(root), force=True)
    assert not (root / "scheduler.sh").is_symlink()
    assert (root / "scheduler.sh.bak").readlink() == central
    assert "scheduler_core" in central.read_text()


KEYS = st.sampled_from(
    [
        "task_name: x",
        "gpu_count: 2",
        "odd: 1",
        "odd2: |\n  a\n\n  b",
        "odd3: >-\n  a",
        "odd4:\n- a",
        "odd5: {a: [1,\n  2]}",
        "odd6:",
        "command: |\n  run",
    ]
)
SPACE = st.sampled_from(["", "\n", "# note\n", "  # note\n\n"])


@given(
    st.lists(st.tuples(SPACE, KEYS), unique_by=lambda item: item[1], max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_unknown_keys_become_comments_and_all_else_stays(
    pieces: list[tuple[str, str]], newline: str, final: bool
) -> None:
    text = "".join(f"{space}{key}\n" for space, key in [("", "log_dir: l"), *pieces, ("", "worker_prefix: w")])
    data = (text if final else text.rstrip("\n")).replace("\n", newline).encode()
    found = convert(data, "c.yml").data
    stripped = [
        line.removeprefix(b"# ")
        for line in found.splitlines(keepends=True)
        if not line.startswith(b"# rfsched has no key")
    ]
    plain = [line.removeprefix(b"# ") for line in data.splitlines(keepends=True)]
    assert stripped == plain
    if any(key == "task_name: x" for _, key in pieces):
        assert parse_settings(found, "c.yml").settings.worker_prefix == "w"
    else:
        with pytest.raises(ConfigError, match="task_name is missing"):
            parse_settings(found, "c.yml")


# The example ----------------------------------------------------------------------------------------------------------


def test_the_data_are_fishers(tmp_path: Path) -> None:
    with open(Path(template_dir(), "data", "iris.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["species"] for row in rows) == {"setosa": 50, "versicolor": 50, "virginica": 50}
    sums = {name: sum(float(row[name]) for row in rows) for name in rows[0] if name != "species"}
    assert {name: round(total / 150, 3) for name, total in sums.items()} == {
        "sepal_length": 5.843,
        "sepal_width": 3.057,
        "petal_length": 3.758,
        "petal_width": 1.199,
    }


@pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_example_really_trains(tmp_path: Path, config: Path) -> None:
    shutil.copytree(template_dir(), tmp_path, dirs_exist_ok=True)
    own = tmp_path / "configs" / config.name
    own.write_text(own.read_text().replace("epoch_seconds: 0.05", "epoch_seconds: 0"))
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "train.py"), "--config_path", str(own)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    result = json.loads((tmp_path / "out" / f"{config.stem}_result.json").read_text())
    marker = (tmp_path / "out" / f"{config.stem}_completed.txt").read_text()
    assert f"Test accuracy: {result['test_accuracy']:.4f}" in marker
    assert result["test_accuracy"] >= (0.6 if config.stem == "low_learning_rate" else 0.9)
    assert result["history"][0]["loss"] > result["history"][-1]["loss"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert sorted(os.listdir(tmp_path / "out")) == [
        ".gitkeep",
        f"{config.stem}_completed.txt",
        f"{config.stem}_result.json",
    ]


def test_the_examples_differ() -> None:
    texts = {path.read_text() for path in CONFIGS}
    assert 4 <= len(texts) == len(CONFIGS) <= 6
