"""May a job start on a GPU as it is now? Pure; each row of tests/unit/policies/test_admission.py is a case.

What is unknown never counts as free: a limit on a figure that could not be read refuses. The exception are places for
jobs with no GPU behind them, which have nothing to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.domain.limits import NO_LIMITS, NO_RULES, GpuLimits, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.units import counted
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.window import WINDOW_S

MIB_PER_GIB = 1024
MOST_WORDED = 8
"""GPUs whose reasons are told; where there are more, their number."""
DRIVERS_OWN_MIB = 512
"""An idle GPU has up to about this much in use."""


class Need(msgspec.Struct, frozen=True):
    """What a job asks of each of its GPUs."""

    share: float
    memory_mib: int = 0
    limits: GpuLimits = NO_LIMITS

    @property
    def plain(self) -> bool:
        """True = only slots matter."""
        return not self.memory_mib and self.limits is NO_LIMITS


def need_of(request: ResourceRequest, share: float, rules: RoomRules = NO_RULES) -> Need:
    """The job's own words, and the workspace's where it has none; `share` = what one job gets by default."""
    memory_mib = rules.gpu_memory_mib if request.gpu_memory_mib is None else request.gpu_memory_mib
    limits = request.limits.over(rules.limits)
    return Need(
        share if request.share is None else request.share, memory_mib, NO_LIMITS if limits == NO_LIMITS else limits
    )


class Refusal(msgspec.Struct, frozen=True):
    """Why a job may not start on a GPU; put into words only when somebody wants to know."""

    word: Callable[[], Reason]
    passing: bool
    """It ends when jobs of ours end, or after a known time: worth keeping the GPU for a job that waits for several."""


def admits(view: GpuView, need: Need) -> bool:
    """Whether the job may start here now."""
    return view.admits(need.share) and (need.plain or next(_shortages(view, need), None) is None)


def refusal(view: GpuView, need: Need) -> Refusal | None:
    """Why the job may not start here; reservations and slots aside, which are the caller's to word."""
    if view.blocked is not None:
        return _known(view.blocked, passing=False)
    found = list(_shortages(view, need))
    lasting = next((each for each in found if not each.passing), None)
    if lasting is not None:
        return lasting
    if found or view.settles is None:
        return found[0] if found else None
    return _known(view.settles, passing=True)


def fits_when_empty(view: GpuView, need: Need) -> bool:
    """Whether the GPU could ever hold what the job declares; unknown = it could."""
    return view.total_mib is None or need.memory_mib <= view.total_mib


def _shortages(view: GpuView, need: Need) -> Iterator[Refusal]:
    if need.memory_mib:
        yield from _declared(view, need.memory_mib)
    limits = need.limits
    if limits is NO_LIMITS or not (view.measured or view.device.leased):
        return
    if view.settles_limits is not None and need.share <= 0:
        yield _known(view.settles_limits, passing=True)
    if limits.max_memory_pct is not None or limits.min_free_mib is not None:
        yield from _memory(view, limits)
    if limits.max_processes is not None:
        yield from _processes(view, limits.max_processes)
    if limits.max_util_pct is not None:
        yield from _busy(view, limits.max_util_pct)


def _declared(view: GpuView, memory_mib: int) -> Iterator[Refusal]:
    if view.total_mib is None or view.in_use_mib is None:
        if view.measured or view.device.leased:
            yield _unknown(view, lambda: f"its memory is not known, and the job needs {gib(memory_mib)} of it")
        return
    total_mib = view.total_mib
    free_mib = total_mib if _unused(view) else total_mib - view.in_use_mib
    if memory_mib > free_mib:
        yield _short(
            view,
            lambda: f"{gib(max(free_mib, 0))} of {gib(total_mib)} neither used nor promised, {gib(memory_mib)} needed",
            passing=memory_mib <= free_mib + view.ours_mib,
        )


def _unused(view: GpuView) -> bool:
    """Nobody is on it, and what is in use is the driver's own: a job may be promised all of it."""
    nobody = not view.jobs and not view.other_holders and not view.processes
    return nobody and view.in_use_mib is not None and view.in_use_mib <= DRIVERS_OWN_MIB


def _memory(view: GpuView, limits: GpuLimits) -> Iterator[Refusal]:
    if view.total_mib is None or view.in_use_mib is None:
        yield _unknown(view, lambda: "its memory is not known, and there is a limit on it")
        return
    total_mib, in_use_mib = view.total_mib, view.in_use_mib
    most_pct, least_mib = limits.max_memory_pct, limits.min_free_mib
    used_pct = 100.0 * in_use_mib / total_mib if total_mib else 100.0
    if most_pct is not None and used_pct >= most_pct:
        yield _short(
            view,
            lambda: (
                f"{gib(in_use_mib)} of {gib(total_mib)} in use or promised ({used_pct:.0f} %), "
                f"limit {most_pct:g} % (max_memory)"
            ),
        )
    free_mib = total_mib - in_use_mib
    if least_mib is not None and free_mib < least_mib:
        yield _short(
            view,
            lambda: (
                f"{gib(max(free_mib, 0))} of {gib(total_mib)} free, at least {gib(least_mib)} wanted (min_free_memory)"
            ),
        )


def _processes(view: GpuView, most: int) -> Iterator[Refusal]:
    number = view.processes
    if number is None:
        text = "its processes are not known, and there is a limit on their number (max_processes)"
        yield _unknown(view, lambda: text)
    elif number >= most:
        yield _short(view, lambda: f"{counted(number, 'process', 'processes')} on it, limit {most} (max_processes)")


def _busy(view: GpuView, most_pct: float) -> Iterator[Refusal]:
    util_pct = view.util_pct
    if util_pct is not None:
        if util_pct >= most_pct:
            span = f"{WINDOW_S:g} s"
            yield _short(view, lambda: f"{util_pct:.0f} % busy over the last {span}, limit {most_pct:g} % (max_util)")
    elif view.util_known_at is not None:
        text = f"how busy it is must be seen for {WINDOW_S:g} s first (max_util)"
        yield _short(view, lambda: text, until=view.util_known_at)
    else:
        yield _unknown(view, lambda: "how busy it is cannot be read, and there is a limit on it (max_util)")


def _known(reason: Reason, *, passing: bool) -> Refusal:
    return Refusal(lambda: reason, passing)


def _short(view: GpuView, fact: Callable[[], str], *, passing: bool = False, until: datetime | None = None) -> Refusal:
    index = view.device.index
    return Refusal(lambda: Reason(code=ReasonCode.THRESHOLD, text=f"GPU {index}: {fact()}", until=until), passing)


def _unknown(view: GpuView, fact: Callable[[], str]) -> Refusal:
    index = view.device.index
    return Refusal(lambda: Reason(code=ReasonCode.UNREADABLE, text=f"GPU {index}: {fact()}"), passing=False)


def together(refusals: Sequence[Refusal]) -> Reason:
    """The reasons of several GPUs as one: GPUs with the same one are named together, and the first gives the kind."""
    reasons = [refusal.word() for refusal in refusals[:MOST_WORDED]]
    by_fact: dict[str, list[str]] = {}
    for reason in reasons:
        gpu, _, fact = reason.text.partition(": ")
        index = gpu.removeprefix("GPU ")
        known = index.isdecimal() and fact
        by_fact.setdefault(fact if known else reason.text, []).extend([index] if known else [])
    texts = [f"GPU {', '.join(indices)}: {fact}" if indices else fact for fact, indices in by_fact.items()]
    rest = len(refusals) - len(reasons)
    more = f"; and {counted(rest, 'GPU')} more" if rest else ""
    ends = [reason.until for reason in reasons if reason.until is not None]
    return Reason(code=reasons[0].code, text="; ".join(texts) + more, until=min(ends, default=None))


def gib(mib: float) -> str:
    """`12.0 GiB`."""
    return f"{mib / MIB_PER_GIB:.1f} GiB"
