"""Statistics: hours, waits, failures and waste, each counted once and within the time that is looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.attempt import Exited, Killed, LaunchFailed
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.hindsight.pictures.report import heading, report_tables
from researchflow_tmux.hindsight.pictures.utilisation import shares_svg, utilisation_svg
from researchflow_tmux.hindsight.report import Report, rank, report
from researchflow_tmux.hindsight.shares import shares
from researchflow_tmux.hindsight.spans import spans_of
from researchflow_tmux.hindsight.timeline import Window, window
from researchflow_tmux.hindsight.utilisation import Samples, Utilisation, utilisation
from researchflow_tmux.hindsight.waste import wasted_s
from tests.pasts import NOW, UUIDS, Past, attempt, job, past

FAILED = Exited(code=1, succeeded=False)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def made(it: Past, *, since: datetime | None = None, until: datetime | None = None, **weights: float) -> Report:
    spans = spans_of(it.jobs, it.attempts, NOW, queued=it.queued)
    seen = window(spans, [], NOW, since=since, until=until, ahead=False)
    wasted = wasted_s(spans, it.jobs)
    return report(workspace="/w", spans=spans, wasted_s=wasted, weights=weights, window=seen, waiting=0, zone=UTC)


def two() -> Past:
    """A job of ann that failed once and then succeeded on two GPUs, and one of bob that failed."""
    jobs = {
        1: job(1, "a", JobState.SUCCEEDED, user="ann", project="vision", attempts=2, succeeded_attempt=2),
        2: job(2, "b", JobState.FAILED, user="bob", attempts=1),
    }
    attempts = [
        attempt(1, 1, begin=ago(120), end=ago(90), outcome=FAILED, gpus=(0, 1)),
        attempt(1, 2, begin=ago(80), end=ago(20), gpus=(0, 1)),
        attempt(2, 1, begin=ago(60), end=ago(30), outcome=FAILED, gpus=(2,), share=0.5),
    ]
    return Past(jobs, attempts, {1: [ago(130), ago(90)], 2: [ago(100)]})


def test_hours_are_shares_of_gpus_times_time_and_waste_is_what_led_nowhere() -> None:
    total = made(two()).total
    assert (total.jobs, total.succeeded, total.failed, total.attempts) == (2, 1, 1, 3)
    assert (total.failed_attempts, total.retries) == (2, 1)
    assert total.gpu_hours == pytest.approx(2 * 1.5 + 0.25)
    assert total.wasted_gpu_hours == pytest.approx(2 * 0.5 + 0.25)
    assert total.cpu_hours == pytest.approx(30 / 3600, abs=1e-4)
    assert (total.wait_mean_s, total.wait_p50_s, total.wait_p99_s) == (1200, 600, 2400)


def test_by_user_project_and_gpu() -> None:
    data = made(two())
    assert {each.key: each.gpu_hours for each in data.users} == {"ann": 3.0, "bob": 0.25}
    assert {each.key: each.jobs for each in data.projects} == {"vision": 1, "(no project)": 1}
    assert {each.key: (each.gpu_hours, each.wasted_gpu_hours) for each in data.gpus} == {
        "GPU 0": (1.5, 0.5),
        "GPU 1": (1.5, 0.5),
        "GPU 2": (0.25, 0.25),
    }
    assert data.outcomes == {"failed": 2, "succeeded": 1}


def test_only_what_lies_in_the_time_counts() -> None:
    total = made(two(), since=ago(50), until=ago(40)).total
    assert total.gpu_hours == pytest.approx((2 * 10 + 0.5 * 10) / 60, abs=1e-4)
    assert total.wasted_gpu_hours == pytest.approx(0.5 * 10 / 60, abs=1e-4)
    assert total.wait_mean_s is None
    assert total.attempts == 2


def test_days_end_at_midnight_and_add_up_to_the_whole() -> None:
    begin = datetime(2026, 11, 22, 22, tzinfo=UTC)
    it = Past({1: job(1)}, [attempt(1, begin=begin, end=begin + timedelta(hours=30))], {1: [begin]})
    data = made(it)
    assert [(day.key, day.gpu_hours, day.attempts) for day in data.days] == [
        ("2026-11-22", 2.0, 1),
        ("2026-11-23", 24.0, 1),
        ("2026-11-24", 4.0, 1),
    ]
    assert [day.wait_mean_s for day in data.days] == [0.0, None, None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_division_adds_up_to_the_total(seed: int) -> None:
    data = made(past(80, gpus=4, seed=seed))
    for part in (data.projects, data.users, data.gpus, data.days):
        assert sum(each.gpu_hours for each in part) == pytest.approx(data.total.gpu_hours, abs=0.01)
        assert sum(each.wasted_gpu_hours for each in part) == pytest.approx(data.total.wasted_gpu_hours, abs=0.01)
        assert all(0 <= each.wasted_gpu_hours <= each.gpu_hours + 1e-4 for each in part)
    assert sum(data.outcomes.values()) == data.total.attempts
    assert sum(sum(each.gpu_hours) for each in data.shares.projects) == pytest.approx(data.total.gpu_hours, abs=0.01)


def test_jobs_without_a_gpu_cost_no_gpu_hours_and_have_a_line() -> None:
    it = Past({1: job(1, gpus=0)}, [attempt(1, begin=ago(30), end=ago(10), gpus=())], {})
    assert [(each.key, each.gpu_hours, each.jobs) for each in made(it).gpus] == [("CPU", 0.0, 1)]


def test_what_was_stopped_by_hand_or_never_started_is_no_failed_program() -> None:
    jobs = {1: job(1, state=JobState.CANCELLED), 2: job(2, state=JobState.FAILED)}
    attempts = [
        attempt(1, begin=ago(30), end=ago(10), outcome=Killed(by="user")),
        attempt(2, begin=None, end=ago(10), outcome=LaunchFailed(reason="x")),
    ]
    total = made(Past(jobs, attempts, {})).total
    assert (total.failed_attempts, total.gpu_hours, total.wasted_gpu_hours) == (1, 0.3333, 0.3333)


def test_nothing_at_all_has_no_waits_rather_than_none() -> None:
    total = made(Past({}, [], {})).total
    assert (total.attempts, total.gpu_hours, total.wait_p99_s, total.cpu_hours) == (0, 0.0, None, None)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_rank_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = rank(ordered, part)
    assert sum(value <= found for value in ordered) >= part * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < part * len(ordered)


def test_shares_are_parts_of_what_was_used_beside_what_is_due() -> None:
    spans = spans_of(two().jobs, two().attempts, NOW)
    found = shares(spans, {"vision": 3.0, "idle": 1.0}, Window(since=ago(120), until=ago(20), now=NOW), count=10)
    by = {each.project: each for each in found.projects}
    assert by["vision"].part[0] == 1.0
    assert by["vision"].part[3] is None
    assert by["vision"].part[6] == pytest.approx(0.8)
    assert by["vision"].whole == pytest.approx(3 / 3.25)
    assert {name: each.due for name, each in by.items()} == {"vision": 0.6, "idle": 0.2, "(no project)": 0.2}
    assert [each.project for each in found.projects][-1] == "(no project)"
    for place in range(10):
        column = [each.part[place] for each in found.projects]
        assert all(part is None for part in column) or sum(part or 0 for part in column) == pytest.approx(1)


def samples(*at: float, util: float = 50.0) -> Samples:
    return Samples(
        index=0, uuid=UUIDS[0], name="A100", total_mib=1000,
        at=[ago(minutes) for minutes in at], util_pct=[util for _ in at], used_mib=[500.0 for _ in at],
    )  # fmt: skip


def used(it: Past, *found: Samples) -> Utilisation:
    spans = spans_of(it.jobs, it.attempts, NOW)
    seen = Window(since=ago(120), until=NOW, now=NOW)
    return utilisation(workspace="/w", spans=spans, waits=[(ago(50), ago(40))], samples=found, devices=[], window=seen)


def test_where_there_are_no_samples_utilisation_is_unknown_and_not_nought() -> None:
    gpu = used(two(), samples(100, 99, 98, 97, 60, 59, 58)).gpus[0]
    assert gpu.at == [ago(each) for each in (100, 99, 98, 97, 96, 60, 59, 58, 57)]
    assert [value is None for value in gpu.util_pct] == [False] * 4 + [True] + [False] * 3 + [True]
    assert gpu.mean_util_pct == 50.0
    assert gpu.measured_pct == pytest.approx(7 / 120 * 100, abs=0.1)


def test_slots_are_known_without_any_sample() -> None:
    data = used(two())
    assert [(gpu.index, gpu.mean_util_pct, gpu.at) for gpu in data.gpus] == [
        (0, None, []),
        (1, None, []),
        (2, None, []),
    ]
    assert [(point.at, point.value) for point in data.gpus[2].slots] == [(ago(120), 0), (ago(60), 0.5), (ago(30), 0)]
    assert data.gpus[2].given_pct == 12.5
    assert [(point.at, point.count) for point in data.running][-3:] == [(ago(30), 1), (ago(20), 0), (NOW, 0)]


def test_it_can_be_drawn_and_sent() -> None:
    data, use = made(past(60), vision=2.0), used(two(), samples(9, 8, 7))
    assert "vision" in shares_svg(data.shares, zone=UTC)
    assert "A100" in utilisation_svg(use, zone=UTC)
    assert msgspec.json.decode(msgspec.json.encode(data), type=Report) == data
    assert msgspec.json.decode(msgspec.json.encode(use), type=Utilisation) == use
    assert "Nothing was measured" in utilisation_svg(used(two()), zone=UTC)


def test_tables_have_a_row_for_each_and_say_the_whole() -> None:
    data = made(two())
    tables = {table.title: table for table in report_tables(data)}
    assert set(tables) == {"In all", "By project", "By user", "By GPU", "By day", "How attempts ended"}
    assert all(len(row) == len(table.header) for table in tables.values() for row in table.rows)
    assert "3.25 GPU-hours, 38 % of them wasted" in heading(data, UTC)
