"""The grace period: after a start or an end on a GPU its figures lag behind, so nothing starts there for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.limits import NO_LIMITS, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode

AUTOMATIC_S = 60.0
"""Where only thresholds limit how many jobs share a GPU, a start must show in them before the next one."""


class Touched(msgspec.Struct, frozen=True):
    """The last start or end of a job of ours on a GPU."""

    at: datetime
    ended: bool = False


def grace_s(rules: RoomRules, share: float, *, ended: bool) -> float:
    """Seconds for which nothing starts after a start, or an end.

    Not said: none, as slots bound what is shared; but `AUTOMATIC_S` after a start where jobs are unlimited in number
    (`share` 0) and thresholds hold them back.
    """
    if rules.grace_s is not None:
        return rules.grace_s
    return AUTOMATIC_S if share <= 0 and rules.limits != NO_LIMITS and not ended else 0.0


def settling(index: int, touched: Touched | None, rules: RoomRules, share: float, now: datetime) -> Reason | None:
    """The grace period that runs on GPU `index`; None = none does.

    One that would last longer than a whole period was begun before the clock was set back: it is over.
    """
    if touched is None:
        return None
    length = timedelta(seconds=grace_s(rules, share, ended=touched.ended))
    until = touched.at + length
    if not now < until <= now + length:
        return None
    what = "the last job there ended" if touched.ended else "a job started there"
    text = f"GPU {index}: {what} less than {length.total_seconds():g} s ago (grace_period)"
    return Reason(code=ReasonCode.GRACE, text=text, until=until)


META_TOUCHED = "gpus_touched"
"""In the state's meta table, what a new scheduler must know of the starts and ends before it."""


def encode_touched(touched: Mapping[str, Touched]) -> str:
    """By UUID, as it is stored."""
    return msgspec.json.encode(touched, order="sorted").decode()


def decode_touched(stored: str | None) -> dict[str, Touched]:
    """What `encode_touched` made; None = nothing. Raises msgspec.MsgspecError."""
    return {} if not stored else msgspec.json.decode(stored, type=dict[str, Touched])
