"""The timeline as data: lanes, what is in them, and the stretch of time that is looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree

import msgspec
import pytest

from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.hindsight.pictures.timeline import description, timeline_svg
from researchflow_tmux.hindsight.spans import Expected, spans_of, waiting_of
from researchflow_tmux.hindsight.timeline import MOST_JOBS, By, Timeline, Window, count_points, timeline, window
from tests.pasts import NOW, UUIDS, Past, attempt, job, past


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def made(
    it: Past, by: By = "gpu", *, gpus: int = 0, expected: dict[tuple[int, int], Expected] | None = None
) -> Timeline:
    spans = spans_of(it.jobs, it.attempts, NOW, queued=it.queued, expected=expected)
    waiting = waiting_of(it.jobs.values())
    devices = [GpuDevice(uuid=UUIDS[at], index=at, name="A100", kind="nvml") for at in range(gpus)]
    seen = window(spans, waiting, NOW)
    return timeline(workspace="/w", spans=spans, waiting=waiting, devices=devices, window=seen, by=by)


def test_a_job_on_two_gpus_has_a_bar_on_each_and_an_idle_gpu_has_a_lane() -> None:
    it = Past({1: job(1, gpus=2)}, [attempt(1, begin=ago(50), end=ago(20), gpus=(0, 2))], {})
    data = made(it, gpus=3)
    assert [(lane.title, len(lane.bars)) for lane in data.lanes] == [("GPU 0", 1), ("GPU 1", 0), ("GPU 2", 1)]
    assert data.lanes[0].bars[0].gpus == [0, 2]
    assert (data.jobs, data.attempts, data.since, data.until) == (1, 1, ago(50), ago(20))


def test_jobs_without_a_gpu_have_a_lane_below_the_gpus() -> None:
    it = Past({1: job(1, gpus=0), 2: job(2)}, [attempt(1, begin=ago(50), gpus=()), attempt(2, begin=ago(40))], {})
    assert [(lane.kind, lane.title) for lane in made(it).lanes] == [("gpu", "GPU 0"), ("cpu", "CPU")]


def test_jobs_that_share_a_gpu_are_in_rows_of_its_lane() -> None:
    attempts = [attempt(number, begin=ago(50 - number), end=ago(20), share=0.5) for number in (1, 2, 3)]
    (lane,) = made(Past({n: job(n) for n in (1, 2, 3)}, attempts, {})).lanes
    assert lane.rows == 3
    assert [bar.row for bar in lane.bars] == [0, 1, 2]
    assert lane.bars[0].share == 0.5


@pytest.mark.parametrize("by", ["gpu", "job", "project"])
def test_no_two_bars_of_a_row_overlap(by: By) -> None:
    data = made(past(200, gpus=4, waiting=5), by)
    assert data.lanes
    for lane in data.lanes:
        for row in range(lane.rows):
            own = sorted((bar for bar in lane.bars if bar.row == row), key=lambda bar: (bar.begin, bar.end))
            assert all(one.end <= other.begin for one, other in pairwise(own))


def test_by_job_waiting_is_a_bar_before_what_ran_and_of_what_waits_now() -> None:
    it = Past(
        {1: job(1, "a"), 2: job(2, "b", JobState.QUEUED, queued_at=ago(15)), 3: job(3, "c", JobState.HELD)},
        [attempt(1, begin=ago(50), end=ago(20))],
        {1: [ago(58)], 2: [ago(15)]},
    )
    lanes = {lane.title: lane.bars for lane in made(it, "job").lanes}
    assert [(bar.state, bar.begin, bar.end) for bar in lanes["a"]] == [
        ("waiting", ago(58), ago(50)),
        ("succeeded", ago(50), ago(20)),
    ]
    assert [(bar.state, bar.end, bar.attempt) for bar in lanes["b"]] == [("waiting", NOW, 0)]
    assert [bar.state for bar in lanes["c"]] == ["held"]


def test_by_project_each_has_a_lane_and_those_of_none_the_last() -> None:
    data = made(past(60))
    assert [lane.title for lane in made(past(60), "project").lanes] == ["language", "vision", "(no project)"]
    assert {bar.project for lane in data.lanes for bar in lane.bars} == {"language", "vision", None}


def test_of_too_many_jobs_the_newest_have_a_lane_and_it_is_said() -> None:
    data = made(past(MOST_JOBS + 50, gpus=8), "job")
    assert len(data.lanes) == MOST_JOBS
    assert data.left_out == 50
    assert "newest 1000 of 1050" in timeline_svg(data, zone=UTC)


@pytest.mark.parametrize(
    ("state", "ended", "missed"),
    [
        (JobState.SUCCEEDED, ago(31), False),
        (JobState.SUCCEEDED, ago(29), True),
        (JobState.FAILED, ago(31), True),
        (JobState.ACTIVE, None, True),
    ],
)
def test_a_deadline_is_missed_by_what_has_not_succeeded_by_then(
    state: JobState, ended: datetime | None, missed: bool
) -> None:
    one = job(1, state=state, deadline=ago(30), ended_at=ended)
    data = made(Past({1: one}, [attempt(1, begin=ago(50), end=ended)], {}))
    assert [(each.at, each.missed) for each in data.deadlines] == [(ago(30), missed)]
    own = made(Past({1: one}, [attempt(1, begin=ago(50), end=ended)], {}), "job")
    assert own.deadlines == []
    assert own.lanes[0].deadlines[0].missed is missed


def test_the_window_reaches_to_what_is_expected_but_not_out_of_sight() -> None:
    jobs = {1: job(1, state=JobState.ACTIVE)}
    attempts = [attempt(1, begin=ago(100))]
    near = spans_of(jobs, attempts, NOW, expected={(1, 1): Expected(6600.0)})
    far = spans_of(jobs, attempts, NOW, expected={(1, 1): Expected(1e7)})
    assert window(near, [], NOW).until == NOW + timedelta(minutes=10)
    assert window(far, [], NOW).until == NOW + timedelta(minutes=50)
    assert window(far, [], NOW, until=ago(5)).until == ago(5)
    assert window(far, [], NOW, ahead=False).until == NOW
    assert window([], [], NOW) == Window(since=ago(60), until=NOW, now=NOW)


def test_an_attempt_on_several_gpus_is_counted_once() -> None:
    one = attempt(1, begin=ago(50), end=ago(30), gpus=(0, 1))
    data = made(Past({1: job(1)}, [one], {}))
    assert len(data.lanes) == 2
    assert description(data, UTC).endswith(": 1 succeeded.")


def test_the_queue_is_counted_as_it_grows_and_shrinks() -> None:
    jobs = {1: job(1)}
    seen = window(spans_of(jobs, [attempt(1, begin=ago(60))], NOW), [], NOW)
    points = count_points([(ago(90), ago(50)), (ago(40), ago(20)), (ago(30), NOW), (ago(95), ago(70))], seen)
    told = [(round((NOW - point.at).total_seconds() / 60), point.count) for point in points]
    assert told == [(60, 0), (60, 1), (50, 0), (40, 1), (30, 2), (20, 1), (0, 1)]


@pytest.mark.parametrize("by", ["gpu", "job", "project"])
@pytest.mark.parametrize("count", [0, 1, 5, 60])
def test_it_can_be_drawn_and_sent_whatever_there_is(by: By, count: int) -> None:
    data = made(past(count, gpus=3, waiting=count // 5), by)
    tree = ElementTree.fromstring(timeline_svg(data, zone=UTC))
    assert description(data, UTC) in [each.text for each in tree]
    again = msgspec.json.decode(msgspec.json.encode(data), type=Timeline)
    assert again == data
    assert b'"schema":"rfsched.timeline/1"' in msgspec.json.encode(data)


def test_only_waiting_jobs_can_be_drawn() -> None:
    it = past(0, waiting=5)
    assert "Nothing ran" in timeline_svg(made(it), zone=UTC)
    assert len(made(it, "job").lanes) == 5
