"""`set` as people write it, in words and in Python: everything that is wrong is said at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux import UsageError, Workspace
from researchflow_tmux.api.setting import setting_of, told_apart

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    settings = "task_name: t\ngpu_count: simulated:1\npolicy: balanced\nprojects: {vision: {}}\n"
    (tmp_path / "scheduler_config.yml").write_text(f"{settings}tmux_socket: {tmp_path}/none\n")
    return Workspace(tmp_path, start=False)


def test_words_are_jobs_or_values() -> None:
    words = ["exp1", "priority=5", "@lr=0.1", "lr=0.1,seed=2", "dedline=x", "deadline="]
    assert told_apart(words) == (
        ["exp1", "@lr=0.1", "lr=0.1,seed=2"],
        [("priority", "5"), ("dedline", "x"), ("deadline", "")],
    )


def test_texts_become_values() -> None:
    given = [("priority", "-3"), ("deadline", "2026-02-01T10:00+00:00"), ("project", "none"), ("preemptible", "Yes")]
    found, problems = setting_of([*given, ("time_limit", "1h30m"), ("retries", "2")], NOW)
    assert problems == []
    assert found.given() == {
        "priority": -3,
        "deadline": datetime(2026, 2, 1, 10, tzinfo=UTC),
        "project": None,
        "preemptible": True,
        "time_limit_s": 5400.0,
        "retries": 2,
    }


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("priority", "high", "priority: expected a whole number, got 'high'"),
        ("priority", "", "priority: expected a value"),
        ("retries", "-1", "retries: expected a whole number from 0 on"),
        ("preemptible", "maybe", "preemptible: expected yes or no, got 'maybe'"),
        ("time_limit", "0", "time_limit: must be more than 0"),
        ("time_limit", "soon", "time_limit: expected a time such as"),
        ("deadline", "tomorrow", "deadline: expected a date or a moment"),
        ("deadline", "2025-12-31", "deadline: 2025-12-31 is over"),
        ("priorty", "5", "no value 'priorty' of a job can be set; did you mean 'priority'?"),
    ],
)
def test_each_wrong_value_is_named(key: str, text: str, said: str) -> None:
    _, [problem] = setting_of([(key, text)], NOW)
    assert problem.startswith(said)


def test_all_problems_come_at_once_and_nothing_is_changed(ws: Workspace) -> None:
    ws.submit("true", name="a")
    with pytest.raises(UsageError) as caught:
        ws.set_words(["a", "nojob", "priority=5", "priority=6", "retries=x"])
    lines = str(caught.value).splitlines()[:-1]  # the last one is a hint
    assert [line.partition(":")[0] for line in lines] == ["no job 'nojob'", "priority is there twice", "retries"]
    with pytest.raises(UsageError, match="set it of which jobs"):
        ws.set_words(["priority=5"])
    with pytest.raises(UsageError, match="set what"):
        ws.set_words(["a"])
    assert ws.job("a").spec.priority == 0


def test_jobs_by_glob_and_group_with_notes_about_projects(ws: Workspace) -> None:
    ws.submit_many(["true", "true"], name="exp", group="g")
    ws.submit("true", name="other")
    done = ws.set_words(["@g", "ot*", "project=vison"])
    assert done.changed == ["exp", "exp", "other"]
    assert done.notes == ["there is no project 'vison' so far (did you mean 'vision'?): it weighs 1 and has no caps"]
    assert ws.set_words(["@g", "project=vision"]).notes == []
    ws.set("policy", "queue")
    [note] = ws.set_words(["@g", "project=vision"]).notes
    assert "only when a `policy` is chosen" in note


def test_from_python(ws: Workspace) -> None:
    handle = ws.submit("true", name="a")
    due = datetime(2030, 1, 1)  # noqa: DTZ001 - what users write: local time
    assert handle.set(priority=4, deadline=due, time_limit="2h", preemptible=True)
    assert not handle.set(priority=4, deadline=due)
    spec = handle.job.spec
    assert (spec.priority, spec.deadline, spec.request.time_limit_s) == (4, due.astimezone(), 7200.0)
    assert handle.set(deadline=None)
    assert handle.job.spec.deadline is None
    assert ws.set_jobs(["a"], retries=3).changed == ["a"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"priority": "5"}, "priority: expected a whole number, got '5'"),
        ({"priority": True}, "priority: expected a whole number, got True"),
        ({"deadline": 5}, "deadline: expected a date or a moment"),
        ({"preemptible": "yes"}, "preemptible: expected True or False"),
        ({"prio": 5, "when": "x"}, "no value 'prio' of a job can be set; did you mean 'priority'?\nno value 'when'"),
        ({"priority": None}, "priority: expected a value"),
    ],
)
def test_wrong_values_from_python(ws: Workspace, values: dict[str, Any], said: str) -> None:
    handle = ws.submit("true", name="a")
    with pytest.raises(UsageError) as caught:
        handle.set(**values)
    assert str(caught.value).startswith(said)
