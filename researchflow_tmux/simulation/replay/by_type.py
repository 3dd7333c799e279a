"""Figures of a replay by type of GPU: how each was used, and how long those waited that need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from researchflow_tmux.domain.hardware import parse_types
from researchflow_tmux.policies.hardware import named
from researchflow_tmux.simulation.replay.figures import BACKLOG, OfType, Piece, Ran, mean, part, percentile


def by_type(ran: Sequence[Ran], kinds: Mapping[int, str]) -> list[OfType]:
    """One row for each type, and one for all GPUs and the jobs that run on any; `kinds` = the type by index.

    Nothing where all GPUs are alike.
    """
    names = list(dict.fromkeys(kinds.values()))
    return [_of_type(ran, kinds, name) for name in [*names, ""]] if len(names) > 1 else []


def _of_type(ran: Sequence[Ran], kinds: Mapping[int, str], name: str) -> OfType:
    here = [index for index, kind in kinds.items() if not name or kind == name]
    uses = [(piece, len(set(piece.on).intersection(here))) for one in ran for piece in one.pieces]
    needing = [one for one in ran if one.job.gpus and _needs(one.job.gpu_type, name)]
    last_s = max((one.job.submit_s for one in ran), default=0.0)
    done = sum(used * max(min(piece.end_s, last_s) - piece.start_s, 0.0) for piece, used in uses)
    busy, backlog_s = _while_waiting(ran, uses, BACKLOG)
    wanted, wanted_s = _while_waiting(needing, uses, 1)
    waits = sorted(one.wait_s for one in needing)
    return OfType(
        gpu_type=name or "any",
        gpus=len(here),
        utilisation=part(done, len(here) * last_s),
        utilisation_under_backlog=part(busy, len(here) * backlog_s),
        utilisation_when_wanted=part(wanted, len(here) * wanted_s),
        jobs=len(needing),
        mean_wait_s=mean(waits),
        p99_wait_s=percentile(waits, 99),
    )


def _needs(wanted: str, name: str) -> bool:
    """Whether a job needs GPUs of this type; for an empty name, whether it runs on any."""
    types = parse_types(wanted) if wanted else ()
    return len(types) == 1 and named(types[0], name) if name else not types


def _while_waiting(waiting: Sequence[Ran], uses: Sequence[tuple[Piece, int]], least: int) -> tuple[float, float]:
    """GPU-seconds in use while at least so many of `waiting` waited to start, and for how many seconds they did."""
    changes = [(one.job.submit_s, 1, 0) for one in waiting] + [(one.start_s, -1, 0) for one in waiting]
    for piece, used in uses:
        changes += [(piece.start_s, 0, used), (piece.end_s, 0, -used)]
    busy = span_s = last_s = 0.0
    pending = in_use = 0
    for at_s, waits, more in sorted(changes):
        if pending >= least:
            busy += in_use * (at_s - last_s)
            span_s += at_s - last_s
        pending, in_use, last_s = pending + waits, in_use + more, at_s
    return busy, span_s
