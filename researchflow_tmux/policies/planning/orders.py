"""The policies: how each one orders the jobs that wait. One formula each.

Everything that waits is ordered by `(lane, s* if urgent else U_p/w_p, −b, K, −uprank, seq)`, the smallest first: the
urgent lane (`urgency`), the share its project has had (`usage`), the priority people gave it, the policy's own key K,
how much work waits for it to end, and the order in which they came. A policy is a K, and which of the others it uses.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from researchflow_tmux.policies.planning.estimates import Estimate

DAY_S = 86_400.0
ALPHA = 10.0
CAP_S = 5 * DAY_S
"""C. How it was chosen: docs/decisions/0012-wide-jobs-one-after-the-other.md."""

Key = Callable[[float, float, "Policy"], float]
"""K of (ready time in s, work in GPU-seconds, the policy's parameters)."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How to order, and what else to do. K must not change while a job waits: nothing is sorted anew."""

    name: str
    words: str
    key: Key
    fair: bool = False
    """Projects take turns by what they have used, each by its weight."""
    backfills: bool = True
    """What fits may start before the first job that does not, if that one is not delayed."""
    reserves: bool = True
    """The first job that does not fit has GPUs kept for it; else whatever fits starts, and wide jobs may starve."""
    urgent: bool = False
    """Jobs that would miss their deadline come first."""
    gathers: bool = False
    """While there is room for a job of more than half of the GPUs, one goes before its turn; K is a time."""
    chains: bool = False
    """Among equals, what most work waits for comes first; else what was submitted first."""
    alpha: float = ALPHA
    cap_s: float = CAP_S


def arrival(ready_s: float, _work: float, _policy: Policy) -> float:
    """K = r: first come, first served."""
    return ready_s


def smallest(_ready_s: float, work: float, _policy: Policy) -> float:
    """K = P50·g: the least work first. The best mean wait, and the largest jobs starve."""
    return work


def largest(_ready_s: float, work: float, _policy: Policy) -> float:
    """K = −P50·g: the largest area first, so that small ones fill the gaps at the end."""
    return -work


def capped_age(ready_s: float, work: float, policy: Policy) -> float:
    """K = r + min(α·P50·g, C): smaller work first, and nothing that comes more than C later can pass."""
    return ready_s + min(policy.alpha * work, policy.cap_s)


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            name="balanced",
            words="fair shares, smaller work first up to an age, backfill, deadlines",
            key=capped_age,
            fair=True,
            urgent=True,
            gathers=True,
            chains=True,
        ),
        Policy(name="fifo", words="first come, first served; nothing passes", key=arrival, backfills=False),
        Policy(name="easy_fifo", words="first come, first served, with backfill", key=arrival),
        Policy(name="sjf", words="the least work first, with backfill; large jobs may starve", key=smallest),
        Policy(name="fair_share", words="fair shares alone, with backfill", key=arrival, fair=True),
        Policy(
            name="makespan",
            words="the largest area first, and nothing kept free: for a batch",
            key=largest,
            chains=True,
            reserves=False,
        ),
    )
}
"""By the name that `policy` and `--policy` take."""


def ordered_by(plugin: str) -> Policy:
    """The policy whose keys a plug-in gives: all the rest (backfill, reservation, caps) is as with the others."""
    return Policy(name=plugin, words="an order of your own, with backfill", key=arrival)


def work_of(gpus: int, estimate: Estimate) -> float:
    """GPU-seconds of one job; a CPU job counts as one GPU, in its own pool."""
    return max(gpus, 1) * estimate.p50_s
