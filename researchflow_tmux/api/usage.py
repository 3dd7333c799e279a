"""What jobs use and where GPUs stand, in the form in which it is shown."""

from __future__ import annotations

from researchflow_tmux.api.views import UsageView
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Running, Stopping
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.usage import Usage, Watched


def usages_of(watched: Watched | None) -> dict[AttemptKey, Usage]:
    """What the sampler knows of each attempt that it watches."""
    return {} if watched is None else {job.key: job.usage for job in watched.jobs}


def usage_view(attempt: Attempt, usage: Usage | None) -> UsageView | None:
    """Of a running attempt as last measured, of an ended one as it was kept; None = nothing is known."""
    phase = attempt.phase
    if isinstance(phase, Ended):
        return _kept(phase)
    if usage is None or not isinstance(phase, Running | Stopping):
        return None
    now = usage.now
    return UsageView(
        at=usage.at,
        cpu_pct=now.cpu_pct,
        rss_mib=now.rss_mib,
        gpu_mib=now.gpu_mib,
        gpu_util_pct=now.gpu_util_pct,
        peak_cpu_pct=usage.peak_cpu_pct,
        peak_rss_mib=usage.peak_rss_mib,
        peak_gpu_mib=usage.peak_gpu_mib,
        peak_gpu_util_pct=usage.peak_gpu_util_pct,
        mean_gpu_util_pct=None if usage.mean_gpu_util_pct is None else round(usage.mean_gpu_util_pct, 1),
    )


def _kept(ended: Ended) -> UsageView | None:
    """Of a short attempt nothing was measured: then the kernel's own figure is what there is."""
    peaks = (ended.peak_tree_mib or ended.peak_rss_mib, ended.peak_cpu_pct, ended.peak_gpu_mib, ended.peak_gpu_util_pct)
    if all(peak is None for peak in peaks):
        return None
    return UsageView(
        at=None,
        cpu_pct=None,
        rss_mib=None,
        gpu_mib=None,
        gpu_util_pct=None,
        peak_cpu_pct=ended.peak_cpu_pct,
        peak_rss_mib=peaks[0],
        peak_gpu_mib=ended.peak_gpu_mib,
        peak_gpu_util_pct=ended.peak_gpu_util_pct,
        mean_gpu_util_pct=ended.mean_gpu_util_pct,
    )


def state_of(reason: Reason | None, *, busy: bool) -> str:
    """One word for where a GPU stands; `busy` = jobs of this workspace are on it."""
    match None if reason is None else reason.code:
        case None:
            return "ok"
        case ReasonCode.GPU_LOST:
            return "lost"
        case ReasonCode.DRAINED:
            return "draining" if busy else "drained"
    return "blocked"
