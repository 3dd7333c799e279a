"""How many jobs a row should have: cases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from researchflow_tmux.adapters.sources.tables.counts import adopted, is_uncounted, turns
from researchflow_tmux.adapters.sources.tables.intents import intent, settled
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode

AT = datetime(2026, 1, 1, tzinfo=UTC)
QUEUED, HELD, ACTIVE = JobState.QUEUED, JobState.HELD, JobState.ACTIVE
SUCCEEDED, FAILED, CANCELLED, SKIPPED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED
WITHDRAWN = "withdrawn"


def job(state: JobState | str, attempts: int = 1) -> Job:
    reason = Reason(code=ReasonCode.WITHDRAWN) if state == WITHDRAWN else None
    spec = JobSpec(source="table", key="k", name="n", workdir="/", env_digest="", argv=("true",))
    real = CANCELLED if state == WITHDRAWN else JobState(state)
    return Job(id=1, spec=spec, slug="n", state=real, queued_at=AT, reason=reason, attempts=attempts)


@pytest.mark.parametrize(
    ("remaining", "states", "notes", "wanted", "withdrawn", "forgiven"),
    [
        (2, [], {}, (1, 2), (), ()),
        (0, [], {}, (), (), ()),
        (-3, [], {}, (), (), ()),
        (2, [QUEUED, ACTIVE], {}, (1, 2), (), ()),
        # the user raises need_run_num
        (3, [ACTIVE, QUEUED], {}, (1, 2, 3), (), ()),
        # the user resets run_num after both ran
        (2, [SUCCEEDED, SUCCEEDED], {1: "c1", 2: "c1"}, (3, 4), (), ()),
        # the user lowers it: what runs goes on, what waits goes, the last first
        (1, [ACTIVE, QUEUED, HELD], {}, (1,), (2, 3), ()),
        (2, [ACTIVE, QUEUED, HELD], {}, (1, 2), (3,), ()),
        (0, [ACTIVE], {}, (1,), (), ()),
        # raised again: the withdrawn one comes back before a new one is made
        (3, [ACTIVE, WITHDRAWN], {}, (1, 2, 3), (), ()),
        # a failed or cancelled one is not queued again by itself
        (1, [FAILED], {}, (), (), ()),
        (1, [CANCELLED], {}, (), (), ()),
        (1, [SKIPPED], {}, (), (), ()),
        (2, [FAILED], {}, (2,), (), ()),
        # lowered to nothing and raised again: then it is
        (0, [FAILED], {}, (), (), (1,)),
        (1, [FAILED], {1: "f"}, (2,), (), ()),
        # lowered: what has failed goes first, what waits stays
        (1, [FAILED, QUEUED], {}, (2,), (), (1,)),
        # requeued by hand after its success was counted: none of our business
        (0, [QUEUED], {1: "c1"}, (), (), ()),
    ],
)
def test_turns(
    remaining: int,
    states: list[JobState | str],
    notes: dict[int, str],
    wanted: tuple[int, ...],
    withdrawn: tuple[int, ...],
    forgiven: tuple[int, ...],
) -> None:
    found = turns(remaining, {number: job(state) for number, state in enumerate(states, 1)}, notes)
    assert (found.wanted, found.withdrawn, found.forgiven) == (wanted, withdrawn, forgiven)


def test_numbers_of_jobs_that_were_cleaned_away_are_not_used_again() -> None:
    assert turns(1, {}, {3: "c1"}).wanted == (4,)


@pytest.mark.parametrize(
    ("state", "attempts", "note", "uncounted"),
    [
        (SUCCEEDED, 1, None, True),
        (SUCCEEDED, 1, "c1", False),
        (SUCCEEDED, 2, "c1", True),
        (SUCCEEDED, 1, "f", True),
        (SUCCEEDED, 1, "i1:0:1", True),
        (FAILED, 1, None, False),
        (ACTIVE, 2, "c1", False),
    ],
)
def test_a_success_counts_once_for_each_attempt(
    state: JobState, attempts: int, note: str | None, uncounted: bool
) -> None:
    assert is_uncounted(job(state, attempts), note) is uncounted


def test_running_jobs_of_a_vanished_row_belong_to_its_twins() -> None:
    assert adopted(["a", "a", "b"], {"a.1": 1, "b.1": 0}) == {"a.1": 1}


def test_what_was_about_to_be_written_is_told_from_the_number_in_the_table() -> None:
    note = intent(job(SUCCEEDED, 3), 1, 2)
    assert settled(note, 1) is None
    assert settled(note, None) is None
    assert settled(note, 2) == "c3"
    assert settled(note, 0) == "c3"  # the user's own number, which holds
