"""List scheduling, and drawing from an interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.policies.prediction.forward import Span, Task, between, lay_out, spread


def laid(*tasks: Task, gpus: int = 2, cpus: int = 1, **lengths: float) -> dict[int, Span]:
    taken = {task.id: lengths.get(f"j{task.id}", 10.0) for task in tasks}
    return lay_out(tasks, taken, gpu_places=[0.0] * gpus, cpu_places=[0.0] * cpus)


def test_each_takes_what_gets_free_first() -> None:
    found = laid(Task(1, 1), Task(2, 1), Task(3, 1), j1=10.0, j2=4.0)
    assert found == {1: Span(0.0, 10.0), 2: Span(0.0, 4.0), 3: Span(4.0, 14.0)}


def test_a_wide_job_waits_for_all_its_places_and_keeps_them() -> None:
    found = laid(Task(1, 1), Task(2, 2), Task(3, 1), j1=5.0)
    assert found[2] == Span(5.0, 15.0)
    assert found[3].start_s == 15.0


def test_cpu_jobs_have_places_of_their_own() -> None:
    found = laid(Task(1, 2), Task(2, 0), Task(3, 0))
    assert (found[2].start_s, found[3].start_s) == (0.0, 10.0)


def test_needs_and_backoffs_are_waited_for() -> None:
    found = laid(Task(1, 1), Task(2, 1, after=(1, 99)), Task(3, 1, ready_s=30.0))
    assert (found[2].start_s, found[3].start_s) == (10.0, 30.0)
    over = lay_out([Task(1, 1, after=(7,))], {1: 1.0}, gpu_places=[0.0], cpu_places=[], ends={7: 20.0})
    assert over[1].start_s == 20.0


def test_what_is_too_wide_is_left_out() -> None:
    assert set(laid(Task(1, 3), Task(2, 1))) == {2}


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 100.0)), min_size=1, max_size=30))
def test_no_place_is_taken_twice(jobs: list[tuple[int, float]]) -> None:
    tasks = [Task(number, places) for number, (places, _) in enumerate(jobs)]
    lengths = {number: length for number, (_, length) in enumerate(jobs)}
    found = lay_out(tasks, lengths, gpu_places=[0.0] * 3, cpu_places=[0.0])
    for moment in {span.start_s for span in found.values()}:
        using = [task for task in tasks if found[task.id].start_s <= moment < found[task.id].end_s]
        assert sum(task.places for task in using) <= 3
        assert sum(not task.places for task in using) <= 1


@given(st.floats(0.001, 1e6), st.floats(0.01, 1.0), st.floats(1.0, 100.0), st.floats(0.0, 1.0))
def test_what_is_drawn_grows_with_chance(middle: float, less: float, more: float, part: float) -> None:
    low, high = middle * less, middle * more
    assert between(middle, low, high, 0.5) == pytest.approx(middle)
    assert between(middle, low, high, 0.1) == pytest.approx(max(low, 1e-3), rel=1e-6) or low < 1e-3
    assert between(middle, low, high, 0.9) == pytest.approx(high)
    assert between(middle, low, high, part) <= between(middle, low, high, min(part + 0.1, 1.0)) * 1.0001


def test_the_interval_of_fifty_tries_leaves_out_five_on_either_side() -> None:
    assert spread([float(number) for number in range(50)]) == (4.0, 45.0)
    assert spread([7.0]) == (7.0, 7.0)
