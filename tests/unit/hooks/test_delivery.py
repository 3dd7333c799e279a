"""One try: what commands and servers get, and how failures are told."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from researchflow_tmux.domain.hooks import HOOK_EVENTS, Hook, HookEvent
from researchflow_tmux.hooks.delivery import deliver
from researchflow_tmux.hooks.facts import sample
from tests.support import eventually
from tests.unit.hooks.web import Web, serving

AT = datetime(2026, 1, 1, tzinfo=UTC)
FACT = sample("failure", "/ws", "bert", "node1", AT)
PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def test_a_server_gets_json_with_headers_from_variables(web: Web, tmp_path: Path) -> None:
    hook = Hook(url=web.url + "/${PART}", headers={"Authorization": "Bearer ${TOKEN}"})
    assert deliver(hook, FACT, {"TOKEN": "t1", "PART": "x"}, str(tmp_path)) is None
    (body,), (headers,) = web.got, web.headers
    assert (body["schema"], body["event"], body["job"]["state"]) == ("rfsched.hook/1", "failure", "failed")
    assert body["text"] == "[bert] this is a test of the hook for failure"
    assert headers["authorization"] == "Bearer t1"
    assert headers["content-type"] == "application/json"


def test_a_login_in_the_url_is_sent_as_one(web: Web, tmp_path: Path) -> None:
    url = web.url.replace("://", "://ann:s%40crt@")
    assert deliver(Hook(url=url), FACT, {}, str(tmp_path)) is None
    assert web.headers[0]["authorization"] == "Basic " + base64.b64encode(b"ann:s@crt").decode()
    problem = deliver(Hook(url="http://ann:s3cret@127.0.0.1:port/s3cret"), FACT, {}, str(tmp_path))
    assert problem is not None
    assert "s3cret" not in problem


def test_a_refusal_is_told_without_secrets(web: Web, tmp_path: Path) -> None:
    web.answers = [503]
    hook = Hook(url=f"{web.url}/secret", headers={"X": "${TOKEN}"})
    problem = deliver(hook, FACT, {"TOKEN": "secret"}, str(tmp_path))
    assert problem == "the answer was 503 Service Unavailable"


def test_no_redirect_takes_the_headers_elsewhere(web: Web, tmp_path: Path) -> None:
    web.answers = [302]
    assert (deliver(Hook(url=web.url), FACT, {}, str(tmp_path)) or "").startswith("the answer was 302")
    assert len(web.got) == 1


def test_a_broken_connection_a_silent_server_and_none_at_all(web: Web, tmp_path: Path) -> None:
    web.answers = [0]
    assert deliver(Hook(url=web.url), FACT, {}, str(tmp_path)) is not None
    web.hang.clear()
    assert "timed out" in (deliver(Hook(url=web.url, timeout_s=0.1), FACT, {}, str(tmp_path)) or "")
    assert "refused" in (deliver(Hook(url="http://127.0.0.1:9/x"), FACT, {}, str(tmp_path)) or "").lower()


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(url="http://h/", headers={"A": "${NO_SUCH}"}), "the variable NO_SUCH is not set"),
        (Hook(url="${NO_SUCH}"), "the variable NO_SUCH is not set"),
        (Hook(url="${FILE}"), "neither http:// nor https://"),
        (Hook(url="http://127.0.0.1:9/", headers={"A": "${BAD}"}), "ValueError"),
    ],
)
def test_what_cannot_be_sent_is_told(hook: Hook, words: str, tmp_path: Path) -> None:
    problem = deliver(hook, FACT, {"FILE": "file:///etc/passwd", "BAD": "a\nb"}, str(tmp_path))
    assert words in (problem or "")
    assert "a\nb" not in (problem or "")


def test_a_command_gets_facts_by_environment_and_stdin_and_none_by_argv(tmp_path: Path) -> None:
    script = 'cat > stdin; env > env; tr "\\0" " " < /proc/$$/cmdline > argv; pwd > where'
    assert deliver(Hook(command=script), FACT, PATH, str(tmp_path)) is None
    assert json.loads((tmp_path / "stdin").read_text())["job"]["name"] == "test"
    env = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert env["RFSCHED_HOOK_EVENT"] == "failure"
    assert (env["RFSCHED_HOOK_JOB"], env["RFSCHED_HOOK_JOB_ID"], env["RFSCHED_HOOK_GPUS"]) == ("test", "1", "0")
    assert env["RFSCHED_HOOK_REASON"] == ""
    assert "bert" not in (tmp_path / "argv").read_text()
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "it was ended by signal 9"),
        ("true", None),  # reads nothing of its input
        ("exec cat > /dev/null", None),
    ],
)
def test_how_commands_end(command: str, problem: str | None, tmp_path: Path) -> None:
    assert deliver(Hook(command=command), FACT, PATH, str(tmp_path)) == problem


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    hook = Hook(command="sleep 300 & echo $! > child; wait", timeout_s=0.3)
    assert deliver(hook, FACT, PATH, str(tmp_path)) == "it did not end within 0.3 s"
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


@pytest.mark.parametrize("event", HOOK_EVENTS)
def test_there_is_a_sample_for_each_event(event: HookEvent) -> None:
    fact = sample(event, "/ws", "t", "h", AT)
    assert json.loads(fact.json())["event"] == event
    assert all(isinstance(value, str) for value in fact.variables().values())
