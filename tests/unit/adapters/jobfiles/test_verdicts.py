"""The mark that stands there, the mark we left, and the job: what follows from each combination."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from researchflow_tmux.adapters.sources.jobfiles.notes import GONE, Note, decode, end_of
from researchflow_tmux.adapters.sources.jobfiles.verdicts import Verdict, judge
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
V = Verdict


def job(state: JobState, reason: ReasonCode | None = None) -> Job:
    spec = JobSpec(source="jobfile", key="f#1.1", name="j", shell="x", workdir="/", env_digest="e")
    ended_at = NOW if state.ended else None
    said = None if reason is None else Reason(code=reason)
    return Job(id=1, spec=spec, slug="j", state=state, queued_at=NOW, ended_at=ended_at, reason=said, attempts=1)


END_US = end_of(job(JobState.FAILED))
WAITS, RUNS = job(JobState.QUEUED), job(JobState.ACTIVE)
DONE, FAILED = job(JobState.SUCCEEDED), job(JobState.FAILED)


@pytest.mark.parametrize(
    ("now", "noted", "ended_us", "of", "expected"),
    [
        # nobody's
        ("", "", 0, None, V.QUEUE),
        ("#", "#", 0, None, V.ACCEPT),
        ("?", "?", 0, None, V.ACCEPT),
        ("", "#", 0, None, V.QUEUE),  # taken away from a line of another tool, or of a job that was cleaned away
        ("", "#", 5, None, V.QUEUE),
        ("!", "!", 0, None, V.STRANGER),
        ("", "", 5, None, V.FORGOTTEN),  # ended, and never shown
        ("", "!", 5, None, V.FORGOTTEN),
        # waiting
        ("", "", 0, WAITS, V.CHECK),
        ("", "#", 5, WAITS, V.CHECK),  # again, and queued by now
        ("#", "", 0, WAITS, V.WITHDRAW),
        ("?", "", 0, WAITS, V.WITHDRAW),
        ("!", "", 0, WAITS, V.WRITE),  # written before a retry, and not noted
        ("#", "#", 5, WAITS, V.WRITE),  # `rfsched requeue`
        ("?", "!", 0, WAITS, V.WRITE),
        # running
        ("", "", 0, RUNS, V.WRITE),
        ("!", "", 0, RUNS, V.ACCEPT),
        ("", "!", 0, RUNS, V.WRITE),
        ("#", "!", 0, RUNS, V.WRITE),
        # ended
        ("!", "!", 0, DONE, V.WRITE),
        ("", "", 0, DONE, V.WRITE),  # a short one: never shown as running
        ("", "!", 0, DONE, V.WRITE),
        ("", "#", END_US, DONE, V.AGAIN),
        ("", "?", END_US, FAILED, V.AGAIN),
        ("", "#", END_US - 1, DONE, V.WRITE),  # again, and ended once more meanwhile
        ("#", "", 0, DONE, V.ACCEPT),  # written, and not noted
        ("#", "?", END_US, FAILED, V.ACCEPT),  # somebody's own word
        ("?", "?", END_US - 1, DONE, V.WRITE),  # of an earlier end
        ("", GONE, END_US, DONE, V.AGAIN),
        ("", GONE, 0, DONE, V.WRITE),
        ("", "", 0, job(JobState.CANCELLED, ReasonCode.WITHDRAWN), V.AGAIN),
        ("#", "", 0, job(JobState.CANCELLED, ReasonCode.WITHDRAWN), V.ACCEPT),
        ("?", "?", END_US, job(JobState.SKIPPED), V.ACCEPT),
    ],
)
def test_verdict(now: str, noted: str, ended_us: int, of: Job | None, expected: Verdict) -> None:
    assert judge(now, Note(mark=noted, label="1", ended_us=ended_us), of) is expected


def test_a_note_is_read_as_it_was_written() -> None:
    for note in (Note(mark="", label="1"), Note(mark="-", label="2_3", ended_us=END_US, archived=True)):
        assert decode(note.encode()) == note


@pytest.mark.parametrize("text", ["", "|", "x", "#|1|later", "#|1|²"])
def test_a_note_that_cannot_be_read_says_nothing(text: str) -> None:
    assert decode(text) == Note(mark="", label="0")


def test_an_end_is_told_to_the_microsecond() -> None:
    assert timedelta(microseconds=END_US) == NOW - datetime(1970, 1, 1, tzinfo=UTC)
