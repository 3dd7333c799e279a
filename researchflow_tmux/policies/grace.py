"""The grace period: after a start or an end on a GPU its figures lag behind, so nothing starts there for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode

AUTOMATIC_S = 60.0
"""Where only thresholds limit how many jobs share a GPU, a start must show in them before the next one."""


class Touched(msgspec.Struct, frozen=True):
    """The last start or end of a job of ours on a GPU."""

    at: datetime
    ended: bool = False


def settling(index: int, touched: Touched | None, length_s: float, now: datetime) -> Reason | None:
    """The grace period of `length_s` that runs on GPU `index`; None = none does.

    One that would last longer than a whole period was begun before the clock was set back: it is over.
    """
    if touched is None:
        return None
    length = timedelta(seconds=length_s)
    until = touched.at + length
    if not now < until <= now + length:
        return None
    what = "the last job there ended" if touched.ended else "a job started there"
    text = f"GPU {index}: {what} less than {length.total_seconds():g} s ago (grace_period)"
    return Reason(code=ReasonCode.GRACE, text=text, until=until)


def settling_for_all(index: int, touched: Touched | None, rules: RoomRules, now: datetime) -> Reason | None:
    """The grace period that the settings ask for: nothing at all starts on the GPU while it runs."""
    return None if rules.grace_s is None else settling(index, touched, rules.grace_s, now)


def settling_for_limits(index: int, touched: Touched | None, rules: RoomRules, now: datetime) -> Reason | None:
    """The one where the settings say nothing: after a start, for jobs that only thresholds hold back.

    Such a job would else follow before the one ahead of it shows in what is measured. Where slots bound how many jobs
    share a GPU there is no need for it.
    """
    if rules.grace_s is not None or touched is None or touched.ended:
        return None
    return settling(index, touched, AUTOMATIC_S, now)


META_TOUCHED = "gpus_touched"
"""In the state's meta table, what a new scheduler must know of the starts and ends before it."""


def encode_touched(touched: Mapping[str, Touched]) -> str:
    """By UUID, as it is stored."""
    return msgspec.json.encode(touched, order="sorted").decode()


def decode_touched(stored: str | None) -> dict[str, Touched]:
    """What `encode_touched` made; None = nothing. Raises msgspec.MsgspecError."""
    return {} if not stored else msgspec.json.decode(stored, type=dict[str, Touched])
