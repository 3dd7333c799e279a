"""One value changes; every other byte stays."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.config_edit import edit, set_value
from researchflow_tmux.adapters.config_file import load_settings, parse_settings
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import Settings

CONFIG = """\
# a comment at the top
task_name:   "exp"     # aligned

gpu_count: auto # how many
conda_env:   # none yet
max_jobs_per_gpu: 2
before:
  - module load cuda
  - export A=1

env: {A: "1", B: 2}   # a mapping
command: |
  {python} {script} \\
    --config_path {config}

# the end
time_limit: 90m
"""


def change(text: str, key: str, value: str) -> str:
    return edit(text.encode(), "c.yml", key, value)[0].decode()


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("task_name", "new", '"exp"     #', "new     #"),
        ("gpu_count", "2", "gpu_count: auto #", "gpu_count: 2 #"),
        ("gpu_count", "[0, 2]", "auto", "[0, 2]"),
        ("conda_env", "torch", "conda_env:   #", "conda_env: torch   #"),
        ("max_jobs_per_gpu", "unlimited", "max_jobs_per_gpu: 2", "max_jobs_per_gpu: unlimited"),
        ("before", "[]", "before:\n  - module load cuda\n  - export A=1\n", "before: []\n"),
        ("env", "{C: 3}", '{A: "1", B: 2}', "{C: 3}"),
        ("time_limit", "2d", "90m", "2d"),
        ("time_limit", "", "90m", "null"),
        ("command", "python x.py", "|\n  {python} {script} \\\n    --config_path {config}\n", "python x.py\n"),
        ("log_dir", "logs two", "time_limit: 90m\n", "time_limit: 90m\nlog_dir: logs two\n"),
    ],
)
def test_only_the_value_changes(key: str, value: str, before: str, after: str) -> None:
    assert CONFIG.count(before) == 1
    assert change(CONFIG, key, value) == CONFIG.replace(before, after)


def test_old_and_new_are_told() -> None:
    assert edit(CONFIG.encode(), "c.yml", "gpu_count", "3")[1:] == ("auto", "3")
    assert edit(CONFIG.encode(), "c.yml", "log_dir", "x")[1:] == ("", "x")


@pytest.mark.parametrize(
    "value",
    ["", "12", "1e-3", "true", "null", "a: b", "x # y", "- a", "---", "{python} {x}", "'", '"', "a\nb", "*x", "é"],
)
def test_any_text_arrives_as_it_was_typed(value: str) -> None:
    settings = parse_settings(change(CONFIG, "worker_prefix", value).encode(), "c.yml").settings
    assert settings.worker_prefix == value


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("max_jobs_per_gpu", "two", "expected a whole number"),
        ("max_jobs_per_gpu", "2 # two", "comment"),
        ("max_jobs_per_gpu", "2\nlog_dir: x", "one line"),
        ("max_jobs_per_gpus", "2", "did you mean `max_jobs_per_gpu`"),
        ("task_name", "", "not empty"),
        ("before", "[a", "not valid YAML"),
        ("env", "A: 1", "YAML"),
        ("time_limit", "soon", "`90m`"),
    ],
)
def test_what_is_not_valid_leaves_the_file_alone(tmp_path: Path, key: str, value: str, words: str) -> None:
    path = tmp_path / "c.yml"
    path.write_text(CONFIG)
    inode = path.stat().st_ino
    with pytest.raises(ConfigError) as caught:
        set_value(str(path), key, value)
    assert words in str(caught.value)
    assert path.read_text() == CONFIG
    assert path.stat().st_ino == inode


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("task_name: x\nbefore:\n  - a\n  # why\n  - b\n", "before"),
        ("task_name: x\nbefore: # why\n  - a\n", "before"),
        ("task_name: &n x\nworker_prefix: *n\n", "task_name"),
        ("{task_name: x}", "log_dir"),
    ],
)
def test_what_cannot_be_done_safely_is_refused(text: str, key: str) -> None:
    with pytest.raises(ConfigError, match="by hand"):
        change(text, key, "[a]" if key == "before" else "y")


def test_an_alias_is_replaced_where_it_stands() -> None:
    text = "task_name: &n x\nworker_prefix: *n # c\n"
    assert change(text, "worker_prefix", "y") == "task_name: &n x\nworker_prefix: y # c\n"


def test_a_block_at_the_end_keeps_its_value() -> None:
    text = "task_name: x\ncommand: |-\n  a\n  b"
    changed = change(text, "log_dir", "l")
    assert parse_settings(changed.encode(), "c.yml").settings.command == "a\nb"


def test_a_block_that_a_newline_would_lengthen_stays_last() -> None:
    text = "task_name: x\ncommand: |\n  a"
    assert change(text, "log_dir", "l") == "task_name: x\nlog_dir: l\ncommand: |\n  a"


def test_two_bad_values_can_be_mended_one_by_one() -> None:
    text = "task_name: x\nmax_jobs_per_gpu: two\nkeep_sessions: few\n"
    text = change(text, "max_jobs_per_gpu", "2")
    assert parse_settings(change(text, "keep_sessions", "3").encode(), "c.yml").settings.keep_sessions == 3


def test_mode_and_link_survive(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yml", tmp_path / "c.yml"
    real.write_text(CONFIG)
    real.chmod(0o640)
    link.symlink_to(real)
    set_value(str(link), "gpu_count", "4")
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert load_settings(str(real)).settings.gpu_count == 4
    assert sorted(os.listdir(tmp_path)) == ["c.yml", "real.yml"]


SPACE = st.sampled_from(["", "\n", "# note: a\n", "   \n", "# ünïcode 😀\n"])
TAIL = st.sampled_from(["", "  # why", " "])
VALUES = {
    "gpu_count": ["auto", "2", '"3"', "[0, 1]", ""],
    "conda_env": ["", "base", "'x y'", '"é"'],
    "env": ["{}", "{A: 1}", "\n  A: 1\n  B: x y", ""],
    "before": ["[]", "[a, b]", "\n- a\n- b", ""],
    "command": ["run {config}x", "|\n  a\n  b", ">-\n  a\n  b", '"a \\" b"'],
    "log_cap": ["1GiB", ""],
}
NEW = {
    "gpu_count": ["simulated:2", "7", "[1]"],
    "conda_env": ["", "new env", "a: b"],
    "env": ["{}", "{Z: 9}"],
    "before": ["[]", "[x]"],
    "command": ["one # two", "three"],
    "log_cap": ["2GiB", "5"],
    "log_dir": ["elsewhere"],
}


@given(data=st.data(), newline=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), final=st.booleans())
def test_no_byte_that_is_not_ours_changes(data: st.DataObject, newline: str, bom: bool, final: bool) -> None:
    keys = data.draw(st.permutations([*VALUES, "task_name"]))
    pieces = []
    for key in keys:
        value = data.draw(st.sampled_from(VALUES.get(key, ["t"])))
        tail = "" if "\n" in value else data.draw(TAIL)
        pieces.append((key, data.draw(SPACE), f"{key}:", f" {value}" if value else "", tail))
    text = "".join(f"{space}{head}{value}{tail}\n" for _, space, head, value, tail in pieces) + data.draw(SPACE)
    text = (text if final else text.rstrip("\n")).replace("\n", newline)
    raw = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    before = parse_settings(raw, "c.yml").settings

    key = data.draw(st.sampled_from(list(NEW)))
    value = data.draw(st.sampled_from(NEW[key]))
    changed, _, new = edit(raw, "c.yml", key, value)

    after = parse_settings(changed, "c.yml").settings
    for name in Settings.__struct_fields__:
        if name != key:
            assert getattr(after, name) == getattr(before, name)
    if key in VALUES:
        old_value = next(piece[3] for piece in pieces if piece[0] == key).replace("\n", newline)
        place = 0 if text.startswith(f"{key}:") else text.index(f"\n{key}:") + 1
        expected = f"{text[:place]}{key}: {new}{text[place + len(key) + 1 + len(old_value) :]}"
    else:
        line = f"{key}: {new}"
        if not text or text.endswith("\n"):
            expected = f"{text}{line}{newline}"
        elif pieces[-1][3].startswith((" |", " >")):
            place = text.rindex("command:")
            expected = f"{text[:place]}{line}{newline}{text[place:]}"
        else:
            expected = f"{text}{newline}{line}"
    assert changed == (b"\xef\xbb\xbf" if bom else b"") + expected.encode()


@given(st.text(), st.sampled_from(list(Settings.__struct_fields__)), st.text(max_size=20))
def test_no_text_raises_anything_but_a_config_error(text: str, key: str, value: str) -> None:
    with suppress(ConfigError):
        edit(f"task_name: x\n{text}".encode(), "c.yml", key, value)
