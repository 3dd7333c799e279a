"""What a job had to do again after it was stopped for others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import PREEMPTED, Ended, Killed
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.policies.preempted import with_loss, with_stake
from tests.unit.engine.samples import NOW, attempt, job

STOPPED = Ended(outcome=Killed(by=PREEMPTED), started_at=NOW, ended_at=NOW + timedelta(seconds=100))


@pytest.mark.parametrize(
    ("resumed_step", "lost_s", "place", "lost_gpu_s"),
    [
        (None, None, None, 100.0),
        (None, None, "/ws/checkpoints/a", 100.0),
        (None, None, "s3://bucket/a", 0.0),
        (7, 30.0, "/ws/checkpoints/a", 30.0),
        (7, 500.0, "/ws/checkpoints/a", 100.0),
        (7, None, "/ws/checkpoints/a", 0.0),
    ],
)
def test_what_the_checkpoint_does_not_have_is_lost(
    resumed_step: int | None, lost_s: float | None, place: str | None, lost_gpu_s: float
) -> None:
    before = replace(job(1, JobState.ACTIVE), preempted_gpu_s=5.0)
    stopped = with_stake(before, replace(attempt(), phase=STOPPED))
    assert stopped.at_stake_gpu_s == 100.0
    follower = replace(attempt(), resumed_step=resumed_step, lost_s=lost_s, checkpoints=place)
    after = with_loss(stopped, follower)
    assert (after.preempted_gpu_s, after.at_stake_gpu_s) == (5.0 + lost_gpu_s, 0.0)
    assert with_loss(after, follower) is after


def test_other_ends_cost_nothing_here() -> None:
    before = job(1, JobState.ACTIVE)
    by_hand = replace(STOPPED, outcome=Killed(by="user"))
    assert with_stake(before, replace(attempt(), phase=by_hand)) is before
