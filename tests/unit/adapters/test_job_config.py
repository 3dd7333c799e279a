"""What a job's own config says to the scheduler, and what it may be besides."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.job_config import JobConfig, parse_job_config
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import JobSection

NOTHING = JobConfig(section=JobSection())


def read(text: str, path: str = "a.yml") -> JobConfig:
    return parse_job_config(text.encode(), path)


def test_the_section_is_read() -> None:
    config = read(
        "lr: 1e-3\nrfsched:\n  gpus: 2\n  time_limit: 90m\n  after: [a, 1]\n  env: {A: 1}\nroot_dir: runs/1\n"
    )
    assert config.section == JobSection(gpus=2, time_limit="90m", after=["a", "1"], env={"A": "1"})
    assert config.root_dir == "runs/1"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- 1\n- 2\n", "text", "rfsched:\n", "a: !custom {b: 1}\n---\nc: 2\n", "a: 1\na: 2"]
)
def test_everything_else_belongs_to_the_script(text: str) -> None:
    assert read(text) == NOTHING


def test_all_problems_of_the_section_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read("rfsched:\n  gpu: 1\n  retries: -1\n  time_limit: soon\n  command: ''\n")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5]
    assert "did you mean `gpus`" in str(caught.value)
    assert "rfsched.retries: expected a whole number" in str(caught.value)


@pytest.mark.parametrize("text", ["rfsched: 2", "rfsched: {}\nrfsched: {}", "root_dir: a\nroot_dir: b"])
def test_a_section_that_is_none_is_a_problem(text: str) -> None:
    with pytest.raises(ConfigError):
        read(text)


def test_defaults_can_be_merged_into_the_section() -> None:
    assert read("d: &d {gpus: 4, priority: 1}\nrfsched:\n  <<: *d\n  gpus: 1\n").section == JobSection(
        gpus=1, priority=1
    )


def test_yaml_that_does_not_parse_is_a_problem_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"a\.yml:2:1"):
        read("a:\n\tb: 1\n")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.toml", "[model]\nlayers = 3\n"),
        ("a.ini", "[x]\ny = [\n"),
        ("a.bin", "\x00\x01"),
        ("a.json", '{"a":\n\t[1]}'),
    ],
)
def test_other_formats_are_the_scripts_business(path: str, text: str) -> None:
    assert read(text, path) == NOTHING


def test_bytes_of_any_kind_are_fine_outside_yaml() -> None:
    assert parse_job_config(bytes(range(256)), "a.pkl") == NOTHING


def test_json_may_have_a_section_too() -> None:
    assert read('{"rfsched": {"gpus": 0}, "root_dir": "r"}', "a.json").section.gpus == 0


@pytest.mark.parametrize("text", ["[rfsched]\ngpus = 2\n[", 'x = [\nrfsched = {}\n{"'])
def test_a_section_in_a_format_that_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="neither YAML nor JSON"):
        read(text, "a.toml")


@pytest.mark.parametrize("text", ["root_dir: {a: 1}", "root_dir:", "root_dir: ''"])
def test_a_root_dir_that_is_no_path_is_the_scripts(text: str) -> None:
    assert read(text) == NOTHING


def test_a_root_dir_that_only_the_script_can_fill_in_is_said() -> None:
    config = read("root_dir: ${oc.env:HOME}/runs")
    assert config.root_dir is None
    assert "marker" in config.warnings[0]


@given(st.binary() | st.text("rfsched:[]{} \n=a1\"'-").map(str.encode), st.sampled_from(["a.yml", "a.toml", "a"]))
def test_no_bytes_raise_anything_but_a_config_error(data: bytes, path: str) -> None:
    with suppress(ConfigError):
        parse_job_config(data, path)
