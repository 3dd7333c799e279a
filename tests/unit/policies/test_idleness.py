"""When a GPU counts as idle, told once each time."""

from __future__ import annotations

from researchflow_tmux.policies.idleness import IdleGpus

NEVER = float("inf")


def test_a_gpu_is_told_once_when_it_has_been_free_for_long_enough() -> None:
    idle = IdleGpus()
    assert idle.see(["a", "b"], 100.0, 60.0) == {}
    assert idle.due_s(130.0, 60.0) == 30.0
    assert idle.see(["a"], 130.0, 60.0) == {}, "b is in use again"
    assert idle.see(["a", "b"], 165.0, 60.0) == {"a": 65.0}
    assert idle.see(["a", "b"], 170.0, 60.0) == {}, "told already"
    assert idle.due_s(170.0, 60.0) == 55.0, "b began anew at 165"
    assert idle.see(["a", "b"], 230.0, 60.0) == {"b": 65.0}
    assert idle.due_s(230.0, 60.0) == NEVER


def test_used_and_free_again_it_may_become_idle_again() -> None:
    idle = IdleGpus()
    idle.see(["a"], 0.0, 10.0)
    assert idle.see(["a"], 10.0, 10.0) == {"a": 10.0}
    assert idle.see([], 20.0, 10.0) == {}
    assert idle.see(["a"], 30.0, 10.0) == {}
    assert idle.see(["a"], 40.0, 10.0) == {"a": 10.0}


def test_nothing_is_idle_while_it_is_switched_off_and_what_it_saw_still_counts() -> None:
    idle = IdleGpus()
    assert idle.see(["a"], 0.0, None) == {}
    assert idle.see(["a"], 1e6, None) == {}
    assert idle.due_s(1e6, None) == NEVER
    assert idle.see(["a"], 1e6, 60.0) == {"a": 1e6}
