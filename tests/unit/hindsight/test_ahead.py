"""What is planned stands in the timeline where and when it should start, over nothing else."""

from __future__ import annotations

from datetime import UTC, timedelta
from itertools import pairwise

import pytest

from researchflow_tmux.domain.job import JobState
from researchflow_tmux.hindsight.ahead import Planned, with_plan
from researchflow_tmux.hindsight.pictures.timeline import timeline_svg
from researchflow_tmux.hindsight.spans import spans_of, waiting_of
from researchflow_tmux.hindsight.timeline import By, Timeline, timeline, window
from tests.pasts import NOW, attempt, job


def after(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)


def base(by: By) -> Timeline:
    jobs = {
        1: job(1, "ran", project="vision"),
        2: job(2, "waits", JobState.QUEUED),
        3: job(3, "cpu", JobState.QUEUED, gpus=0),
    }
    spans = spans_of(jobs, [attempt(1, begin=NOW - after(60), end=NOW - after(10))], NOW)
    waiting = waiting_of(jobs.values())
    seen = window(spans, waiting, NOW)
    return timeline(workspace="/w", spans=spans, waiting=waiting, devices=[], window=seen, by=by)


def planned(number: int, begin: float, end: float, *gpus: int, **fields: object) -> Planned:
    one = job(number, f"job_{number}", JobState.QUEUED, **fields)
    return Planned(job=one, begin=NOW + after(begin), end=NOW + after(end), gpus=gpus)


@pytest.mark.parametrize(
    ("by", "titles"),
    [
        ("gpu", ["GPU 0", "GPU 1", "CPU", "on any GPU"]),
        ("project", ["vision", "(no project)"]),
        ("job", ["ran", "waits", "cpu", "job_4", "job_5"]),
    ],
)
def test_each_has_its_lane(by: By, titles: list[str]) -> None:
    ahead = [
        planned(2, 0, 20, 0),
        planned(4, 5, 30, 1),
        planned(3, 1, 2, gpus=0),
        planned(5, 30, 40),
    ]
    data = with_plan(base(by), ahead, given=False)
    assert [lane.title for lane in data.lanes] == titles
    bars = [bar for lane in data.lanes for bar in lane.bars if bar.state == "planned"]
    assert {bar.job for bar in bars} == {2, 3, 4, 5}
    assert data.until == NOW + after(40)
    for lane in data.lanes:
        for row in range(lane.rows):
            own = sorted((bar for bar in lane.bars if bar.row == row), key=lambda bar: bar.begin)
            assert all(one.end <= other.begin for one, other in pairwise(own))
    assert "planned" in timeline_svg(data, zone=UTC)


def test_a_job_on_several_gpus_is_planned_on_each() -> None:
    data = with_plan(base("gpu"), [planned(2, 0, 20, 0, 1)], given=False)
    assert [(lane.title, sum(bar.state == "planned" for bar in lane.bars)) for lane in data.lanes] == [
        ("GPU 0", 1),
        ("GPU 1", 1),
    ]


def test_what_is_far_ahead_is_out_of_sight_and_a_given_end_stays() -> None:
    far = [planned(2, 0, 20, 0), planned(4, 600, 700, 0)]
    assert with_plan(base("gpu"), far, given=False).until == NOW + after(180)
    assert with_plan(base("gpu"), far, given=True).until == NOW
    assert with_plan(base("gpu"), [], given=False) == base("gpu")
