"""Workloads through the real engine under each policy: what it promises, on workloads made up by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.simulation.replay.comparing import NAMES, QUEUE, Run, policies, run
from researchflow_tmux.simulation.replay.figures import Ran
from researchflow_tmux.simulation.replay.guesses import ERRORS, Guesses
from researchflow_tmux.simulation.replay.marking import with_deadlines, with_preemptible
from researchflow_tmux.simulation.replay.replay import Replayed, replay
from researchflow_tmux.simulation.replay.synthetic import GPUS, synthetic
from researchflow_tmux.simulation.replay.trace import TraceJob, as_projects, fitting, made, stretched
from tests.planner_cases import WEIGHTS, backlog, ran, share_errors

HOUR, DAY = 3600.0, 86_400.0
BALANCED, EASY = POLICIES["balanced"], POLICIES["easy_fifo"]


def jobs(*shapes: tuple[float, float, int], project: str = "") -> list[TraceJob]:
    """(comes at, takes, GPUs) each."""
    return [
        TraceJob(name=f"{project}{number}", submit_s=at_s, duration_s=takes_s, gpus=gpus, project=project)
        for number, (at_s, takes_s, gpus) in enumerate(shapes)
    ]


def through(
    found: Sequence[TraceJob], policy: Policy | None, *, gpus: int = 4, noisy: bool = False, **more: object
) -> Replayed:
    trace = made("t", found)
    return replay(trace, gpus=gpus, policy=policy, estimator=Guesses(trace, noisy=noisy, seed=1), **more)  # type: ignore[arg-type]


def starts(found: Replayed) -> dict[str, float]:
    return {one.job.name: one.start_s for one in found.ran}


def most_used(ran: Sequence[Ran]) -> int:
    """GPUs in use at the busiest moment; what ends makes room for what starts at that time."""
    changes = sorted(change for one in ran for change in ((one.end_s, -one.job.gpus), (one.start_s, one.job.gpus)))
    used = most = 0
    for _, change in changes:
        used += change
        most = max(most, used)
    return most


shapes = st.lists(
    st.tuples(st.floats(0, 10 * DAY), st.floats(60.0, 2 * DAY), st.integers(0, 4)), min_size=1, max_size=40
)


@given(shapes, st.sampled_from(NAMES), st.booleans())
@settings(max_examples=60, deadline=None)
def test_everything_runs_once_and_never_on_more_than_there_is(
    found: list[tuple[float, float, int]], name: str, noisy: bool
) -> None:
    done = through(jobs(*found), POLICIES.get(name), noisy=noisy)
    assert done.unfinished == []
    assert len({one.job.name for one in done.ran}) == len(done.ran) == len(found)
    assert most_used([one for one in done.ran if one.job.gpus]) <= 4
    assert all(one.wait_s >= -1e-6 for one in done.ran)
    assert all(abs(one.end_s - one.start_s - one.job.duration_s) < 1e-3 for one in done.ran)


@given(shapes)
@settings(max_examples=30, deadline=None)
def test_in_strict_order_nothing_overtakes(found: list[tuple[float, float, int]]) -> None:
    done = through([job for job in jobs(*found) if job.gpus], POLICIES["fifo"])
    ordered = sorted(done.ran, key=lambda one: one.job.submit_s)
    assert all(early.start_s <= late.start_s for early, late in pairwise(ordered))


@given(shapes)
@settings(max_examples=30, deadline=None)
def test_without_backfill_nothing_overtakes_what_came_more_than_c_before(found: list[tuple[float, float, int]]) -> None:
    policy = replace(BALANCED, backfills=False, cap_s=DAY)
    ran = through([job for job in jobs(*found) if job.gpus], policy).ran
    for one in ran:
        for other in ran:
            if other.job.submit_s > one.job.submit_s + DAY:
                assert other.start_s >= one.start_s - 1e-6


@given(shapes)
@settings(max_examples=30, deadline=None)
def test_backfill_delays_nobody_whose_turn_it_is(found: list[tuple[float, float, int]]) -> None:
    """With durations known, a job starts no later than if all that came after it did not exist."""
    asked = sorted((replace(job, gpus=max(job.gpus, 1)) for job in jobs(*found)), key=lambda job: job.submit_s)
    half = len(asked) // 2
    first = [asked[0], *(replace(job, gpus=4) for job in asked[1:half])]
    alone, among = starts(through(first, EASY)), starts(through([*first, *asked[max(half, 1) :]], EASY))
    assert {name: among[name] for name in alone} == pytest.approx(alone)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_wide_job_does_not_starve(noisy: bool) -> None:
    """Narrow jobs come for ever, more than fit: the wide one starts when those before it by key are done."""
    narrow = jobs(*((number * 600.0, HOUR * (1 + number % 3), 1) for number in range(2500)))
    wide = TraceJob(name="wide", submit_s=DAY, duration_s=HOUR, gpus=4)
    done = through([*narrow, wide], BALANCED, noisy=noisy)
    start_s = starts(done)["wide"]
    # Ahead of it is at most what came before its key, and of that what was not done when it came; then it waits for
    # the longest that runs. A guess may be a hundred times too long, and puts jobs behind it that would be ahead.
    key_s = wide.submit_s + min(BALANCED.alpha * 4 * HOUR * (1 if not noisy else 100), BALANCED.cap_s)
    ahead = sum(job.duration_s for job in narrow if job.submit_s < key_s)
    assert start_s <= max(ahead / 4, key_s) + 2 * 3 * HOUR
    assert start_s < 2500 * 600.0 / 2, "long before the narrow ones stop coming"


def test_smallest_first_does_let_it_starve() -> None:
    """So the test above can fail."""
    narrow = jobs(*((number * 600.0, HOUR * (1 + number % 3), 1) for number in range(1500)))
    wide = TraceJob(name="wide", submit_s=DAY, duration_s=10 * HOUR, gpus=4)
    assert starts(through([*narrow, wide], POLICIES["sjf"]))["wide"] > 1500 * 600.0


@pytest.mark.parametrize(
    ("name", "weights", "mix", "days", "noisy"),
    [
        ("balanced", WEIGHTS[0], "as made up", 120, False),
        ("balanced", WEIGHTS[0], "as made up", 120, True),
        ("fair_share", WEIGHTS[2], "as made up", 120, False),
        ("balanced", WEIGHTS[3], "wide against narrow", 20, True),
        ("balanced", WEIGHTS[1], "long against short", 10, True),
    ],
)
def test_under_backlog_projects_get_their_weights_within_three_points(
    name: str, weights: dict[str, float], mix: str, days: int, noisy: bool
) -> None:
    asked = backlog(weights, mix, 1, gpus=8, hours=24.0 * days)
    errors = share_errors(ran(asked, name, 8, noisy=noisy, seed=1, weights=weights), weights)
    assert all(abs(points) <= 3 for points in errors.values()), errors


def test_without_fair_shares_nobody_gets_them() -> None:
    """So the test above can fail."""
    asked = backlog(WEIGHTS[0], "one GPU each", 1, gpus=8, hours=10.0)
    errors = share_errors(ran(asked, "sjf", 8, weights=WEIGHTS[0]), WEIGHTS[0])
    assert any(abs(points) > 3 for points in errors.values())


def test_a_deadline_is_met_that_the_order_alone_would_miss() -> None:
    asked = [*jobs(*((0.0, 5 * HOUR, 4) for _ in range(6)))]
    due = TraceJob(name="due", submit_s=1.0, duration_s=6 * HOUR, gpus=4, deadline_s=20 * HOUR)
    for policy, met in ((BALANCED, True), (EASY, False)):
        ended = {one.job.name: one.end_s for one in through([*asked, due], policy).ran}
        assert (ended["due"] <= 20 * HOUR) is met


def test_a_deadline_that_cannot_be_met_delays_nobody() -> None:
    asked = [*jobs(*((0.0, 5 * HOUR, 4) for _ in range(3)))]
    lost = TraceJob(name="lost", submit_s=1.0, duration_s=6 * HOUR, gpus=4, deadline_s=5 * HOUR)
    found = starts(through([*asked, lost], replace(BALANCED, key=EASY.key)))
    assert found["lost"] == pytest.approx(15 * HOUR)


def test_a_cap_holds() -> None:
    asked = jobs(*((0.0, HOUR, 1) for _ in range(20)), project="a") + jobs(
        *((0.0, HOUR, 1) for _ in range(4)), project="b"
    )
    done = through(asked, BALANCED, caps={"a": 2})
    assert most_used([one for one in done.ran if one.job.project == "a"]) == 2
    assert most_used(done.ran) == 4


def test_largest_area_first_ends_a_batch_sooner_than_arrival() -> None:
    asked = jobs(*((0.0, HOUR, 1) for _ in range(8)), (0.0, 4 * HOUR, 2))
    ends = {name: max(one.end_s for one in through(asked, POLICIES[name]).ran) for name in ("makespan", "easy_fifo")}
    assert ends["makespan"] < ends["easy_fifo"]


# -- workloads and guesses ---------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_workload() -> None:
    assert synthetic(jobs=50, gpus=8, seed=3) == synthetic(jobs=50, gpus=8, seed=3)
    assert synthetic(jobs=50, gpus=8, seed=3) != synthetic(jobs=50, gpus=8, seed=4)


def test_made_up_jobs_are_as_the_rule_says() -> None:
    found = synthetic(jobs=4000, gpus=8, seed=1).jobs
    short = sum(job.duration_s < 60_000 for job in found) / 4000
    assert short == pytest.approx(0.8, abs=0.02)
    assert all(60 * 10**1.5 <= job.duration_s <= 600_000 for job in found)
    for gpus, part in GPUS.items():
        assert sum(job.gpus == gpus for job in found) / 4000 == pytest.approx(part, abs=0.02)
    work = sum(job.gpus * job.duration_s for job in found)
    assert work / (8 * found[-1].submit_s) == pytest.approx(1.2, rel=0.1)
    assert max(job.gpus for job in synthetic(jobs=100, gpus=2, seed=1).jobs) == 2


def test_guesses_are_as_wrong_as_the_model_says() -> None:
    trace = synthetic(jobs=5000, gpus=8, seed=1)
    guesses = Guesses(trace, noisy=True, seed=1)
    errors = [abs(guesses._by_name[job.name].p50_s / job.duration_s - 1) for job in trace.jobs]
    for part, low, high in ERRORS:
        assert sum(low <= error < high for error in errors) / 5000 == pytest.approx(part, abs=0.02)


def test_traces_are_stretched_cut_and_given_projects() -> None:
    trace = made("t", [TraceJob(name="a", submit_s=5, duration_s=2, gpus=3, user="u", project="p")])
    assert stretched(trace, 1.5).jobs[0].duration_s == 3.0
    kept, wide = fitting(trace, 2)
    assert (kept.jobs, [job.name for job in wide]) == ((), ["a"])
    assert [as_projects(trace, column).jobs[0].project for column in ("none", "user", "project")] == ["", "u", "p"]


def test_policies_by_name() -> None:
    assert [name for name, _ in policies(["fifo", "balanced"], [DAY, 3 * DAY])] == [
        "fifo",
        "balanced C=1d",
        "balanced C=3d",
    ]
    assert policies([QUEUE]) == [(QUEUE, None)]
    with pytest.raises(UsageError, match="no policy best"):
        policies(["best"])
    with pytest.raises(UsageError, match="balanced"):
        policies(["fifo"], [DAY])


def test_figures_are_the_same_for_the_same_seed() -> None:
    trace = synthetic(jobs=60, gpus=4, seed=2)
    it = Run(trace=trace, gpus=4, noisy=True, seed=5)
    assert run(it, "balanced", BALANCED) == run(it, "balanced", BALANCED)
    assert run(it, "balanced", BALANCED) != run(replace(it, seed=6), "balanced", BALANCED)


def test_running_jobs_make_room_for_deadlines_and_what_that_costs_is_counted() -> None:
    trace = with_deadlines(synthetic(jobs=250, gpus=4, seed=3), 0.15, 3)
    without, with_it = (
        run(Run(trace=with_preemptible(trace, part, 3), gpus=4), "balanced", BALANCED) for part in (0.0, 1.0)
    )
    assert (without.preemptions, without.lost_gpu_hours, without.unfinished) == (0, 0.0, 0)
    assert with_it.deadline_jobs == without.deadline_jobs > 20
    assert with_it.deadline_misses < 0.6 * without.deadline_misses
    assert with_it.unfinished == 0
    assert 0 < with_it.lost_gpu_hours <= with_it.preemptions * 4 * 0.55


def test_a_job_that_was_stopped_takes_as_long_as_the_trace_says_and_what_it_lost() -> None:
    found = [*jobs((0, 10 * HOUR, 1)), TraceJob(name="u", submit_s=HOUR, duration_s=HOUR, deadline_s=3 * HOUR)]
    trace = with_preemptible(made("t", found), 1.0, 0)
    done = replay(trace, gpus=1, policy=BALANCED, estimator=Guesses(trace, noisy=False, seed=0))
    long, urgent = sorted(done.ran, key=lambda one: one.job.name)
    (piece,) = long.stopped
    assert urgent.end_s <= 3 * HOUR
    assert long.resumed_s == urgent.end_s
    assert long.pieces[0] == piece
    worked_s = sum(each.end_s - each.start_s - each.lost_s for each in long.pieces)
    assert worked_s == pytest.approx(10 * HOUR, abs=1e-3)
    assert 60.0 <= piece.lost_s <= 1860.0
