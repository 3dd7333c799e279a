"""Deadlines: which jobs go into the urgent lane now.

A job is urgent when it can still make its deadline (now + P50 ≤ d) and there is no slack left: d − now < κ·W/G + m·P80,
where W is the work of all jobs that can make it and are due no later. In the lane the earliest latest start, s* =
d − P80, comes first. What cannot make its deadline any more leaves the lane, and its room goes to what can: no overload
domino.
"""

from __future__ import annotations

from collections.abc import Iterable

from researchflow_tmux.policies.planning.classes import Entry

KAPPA = 1.0
MARGIN = 2.0


def urgent(entries: Iterable[Entry], gpus: int, now_s: float) -> list[Entry]:
    """The jobs of the urgent lane, the earliest latest start first. `entries`: those with a deadline."""
    due = sorted((entry for entry in entries if feasible(entry, now_s)), key=_due)
    lane = []
    work = 0.0
    for entry in due:
        work += entry.gpu_s
        slack_s = _due(entry)[0] - now_s
        if slack_s < KAPPA * work / max(gpus, 1) + MARGIN * entry.estimate.p80_s:
            lane.append(entry)
    return sorted(lane, key=latest_start)


def feasible(entry: Entry, now_s: float) -> bool:
    """Whether it can still make its deadline, if it starts now."""
    return entry.deadline_s is not None and now_s + entry.estimate.p50_s <= entry.deadline_s


def latest_start(entry: Entry) -> tuple[float, int]:
    """s* = d − P80, and the id for a tie."""
    return (_due(entry)[0] - entry.estimate.p80_s, entry.id)


def passed_back(deadline_s: float, p80_s: float) -> float:
    """The deadline that a job due at `deadline_s` leaves to what it waits for."""
    return deadline_s - p80_s


def _due(entry: Entry) -> tuple[float, int]:
    return (float("inf") if entry.deadline_s is None else entry.deadline_s, entry.id)
