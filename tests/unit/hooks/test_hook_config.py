"""The forms a hook may be written in, and every problem at its place."""

from __future__ import annotations

import pytest

from researchflow_tmux.adapters.config_file import parse_settings
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.hooks import Hook


def read(text: str) -> dict[str, tuple[Hook, ...]]:
    return parse_settings(f"task_name: t\n{text}".encode(), "c.yml").settings.hooks


def test_all_forms() -> None:
    found = read(
        """
hooks:
  failure: 'notify-send "$RFSCHED_HOOK_TEXT"'
  success: https://example.org/hook?token=1
  oom:
    - ./oom.sh
    - url: "${SLACK_URL}"
      headers: {Authorization: "Bearer ${TOKEN}"}
      timeout: 1m
      retries: 2
  gpu_idle: {command: ./idle.sh, timeout: 5}
  start:
"""
    )
    assert found == {
        "failure": (Hook(command='notify-send "$RFSCHED_HOOK_TEXT"'),),
        "success": (Hook(url="https://example.org/hook?token=1"),),
        "oom": (
            Hook(command="./oom.sh"),
            Hook(url="${SLACK_URL}", headers={"Authorization": "Bearer ${TOKEN}"}, timeout_s=60.0, retries=2),
        ),
        "gpu_idle": (Hook(command="./idle.sh", timeout_s=5.0),),
    }


def test_none() -> None:
    assert read("hooks:\n") == read("hooks: {}\n") == read("") == {}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("hooks: notify", "2:8", "expected lines of `EVENT: command or URL`"),
        ("hooks:\n  fail: x", "3:3", "there is no event 'fail'"),
        ("hooks:\n  oom: x\n  oom: y", "4:3", "hooks.oom is there twice"),
        ("hooks:\n  oom: [[x]]", "3:9", "expected a command, a URL, or a mapping"),
        ("hooks:\n  oom: {timeout: 5}", "3:8", "give either `command` or `url`"),
        ("hooks:\n  oom: {command: x, url: 'http://h'}", "3:8", "give either `command` or `url`"),
        ("hooks:\n  oom: {command: x, headers: {A: b}}", "3:8", "`headers` belong to a `url`"),
        ("hooks:\n  oom: {url: 'ftp://h/x'}", "3:8", "begins with http:// or https://"),
        ("hooks:\n  oom: 'http://'", "3:8", "begins with http:// or https://"),
        ("hooks:\n  oom: 'http://h/a b'", "3:8", "a URL has no blanks"),
        ("hooks:\n  oom: {url: 'http://[h'}", "3:8", "is no URL that can be read"),
        ("hooks:\n  oom: ' '", "3:8", "expected a command, got nothing"),
        ("hooks:\n  oom: {url: 'http://h', timout: 3}", "3:26", "did you mean `timeout`?"),
        ("hooks:\n  oom: {url: 'http://h', timeout: soon}", "3:35", "hooks.oom.timeout: expected"),
        ("hooks:\n  oom: {url: 'http://h', retries: 99}", "3:35", "hooks.oom.retries: expected 0 to 20"),
    ],
)
def test_every_problem_has_its_place(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    told = str(caught.value)
    assert f"c.yml:{place}: " in told
    assert message in told
