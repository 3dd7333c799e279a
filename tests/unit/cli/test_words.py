"""Times, counts and names as people read them; moments as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from researchflow_tmux.api.since import moment_of
from researchflow_tmux.api.views import JobView
from researchflow_tmux.api.why import Why
from researchflow_tmux.cli.explaining import _blocks
from researchflow_tmux.cli.layout import render
from researchflow_tmux.cli.output import count, duration, moment, names
from researchflow_tmux.domain.errors import UsageError

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (-3, "0 s"),
        (7.9, "7 s"),
        (59.9, "59 s"),
        (60, "1:00 min"),
        (185, "3:05 min"),
        (7800, "2:10 h"),
        (86_400 * 4 + 3 * 3600, "4 d 3 h"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_moment_is_local_and_as_short_as_can_be() -> None:
    local = NOW.astimezone()
    assert moment(None, NOW) == ""
    assert moment(NOW, NOW) == f"{local:%H:%M:%S}"
    assert moment(NOW - timedelta(days=3), NOW) == f"{local - timedelta(days=3):%b %d %H:%M}"
    assert moment(NOW - timedelta(days=300), NOW).startswith("2025-")


@pytest.mark.parametrize(("number", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_count(number: int, words: str) -> None:
    assert count(number, "job") == words


def test_names_are_folded() -> None:
    assert names(["a", "b"], 2) == "a, b"
    assert names(["a", "b", "c"], 2) == "a, b and 1 more"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-01-30T10:00:00+00:00", datetime(2026, 1, 30, 10, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 30).astimezone()),
    ],
)
def test_since_when(text: str, expected: datetime) -> None:
    assert moment_of(text, NOW) == expected


def test_days_begin_at_local_midnight() -> None:
    today, yesterday = moment_of("today", NOW), moment_of("yesterday", NOW)
    assert (today.astimezone().hour, today.astimezone().minute) == (0, 0)
    assert yesterday.astimezone().date() == NOW.astimezone().date() - timedelta(days=1)


@pytest.mark.parametrize("text", ["", "soon", "-2h", "2026-13-01", "99999999999d"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment_of(text, NOW)


def test_a_command_of_several_lines_is_shown_line_by_line() -> None:
    job = JobView(
        id=1,
        name="a",
        state="queued",
        reason=None,
        reason_code=None,
        until=None,
        gpus=[],
        gpus_wanted=1,
        session=None,
        attempt=0,
        headless=False,
        queued_at=NOW,
        started_at=None,
        ended_at=None,
        elapsed_s=None,
        exit_code=None,
        priority=0,
        group=None,
        retries_used=0,
        log=None,
        source="command",
        key="k",
    )
    found = Why(
        job=job,
        command="cd /data\npython train.py\n",
        attempts=[],
        after=[],
        before=[],
        gpus=[],
        last_line=None,
        advice=[],
    )
    shown = render(_blocks(found, NOW), width=None, colour=False)
    assert shown[1:3] == ["  cd /data", "  python train.py"]
    assert not any("\ufffd" in each for each in shown)
