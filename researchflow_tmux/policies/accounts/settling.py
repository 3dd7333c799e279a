"""What an attempt used of its accounts when it has ended. Never less than it may have used, and never twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo

from researchflow_tmux.domain.accounts import Grant, Hours
from researchflow_tmux.domain.attempt import Ended
from researchflow_tmux.policies.accounts.periods import spread


def settled(grant: Grant, ended: Ended, elapsed_s: float, zone: tzinfo | None) -> Mapping[str, Hours]:
    """Hours by period; `elapsed_s` = seconds since it was granted, infinite if nobody knows.

    Its runner says how long it ran, by a clock that nobody sets. Where it cannot (it was killed), all counts that may
    have been: until now, or until its runner would have ended it. An attempt that never began used nothing.

    What is counted lies within what was granted, so that whatever a clock does, no period is charged more.
    """
    if ended.started_at is None:
        return {}
    late_s = (ended.started_at - grant.at).total_seconds()
    if ended.ran_s is not None:
        used_s = min(ended.ran_s, elapsed_s)  # less if it was granted something only when it was running already
    else:
        used_s = min(elapsed_s, float("inf") if grant.seconds is None else grant.seconds)
        used_s = used_s if used_s < float("inf") else (ended.ended_at - grant.at).total_seconds()
        late_s = 0.0
    used_s = max(used_s, 0.0)
    if grant.seconds is not None:
        late_s = min(late_s, grant.seconds - used_s)
    return spread(grant.rate, grant.at + timedelta(seconds=max(late_s, 0.0)), used_s, zone)
