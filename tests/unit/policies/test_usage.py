"""Whose part of a GPU it is, peaks and means; unknown stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from researchflow_tmux.domain.attempt import Ended, Exited
from researchflow_tmux.domain.resources import GpuProcess, GpuReading
from researchflow_tmux.domain.usage import GpuUse, Measured, Usage
from researchflow_tmux.policies.usage import added, gpu_use, with_usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS = {10, 11}
Row = tuple[int, int | None, int | None]


def reading(*processes: Row, util_pct: int | None = 80, known: bool = True) -> GpuReading:
    listed = tuple(GpuProcess(pid=pid, used_mib=mib, util_pct=util) for pid, mib, util in processes)
    return GpuReading(uuid="g", index=0, name="GPU", util_pct=util_pct, processes=listed if known else None)


@pytest.mark.parametrize(
    ("seen", "used_mib", "util_pct"),
    [
        (None, None, None),
        (reading(known=False), None, None),
        (reading(), 0, 0.0),
        (reading((10, 500, 30), (11, 300, 20)), 800, 50.0),
        (reading((10, 500, 30), (99, 9000, 60)), 500, 30.0),
        (reading((99, 9000, 60)), 0, 0.0),
        (reading((10, None, 30)), None, 30.0),
        (reading((10, 500, None)), 500, 80.0),  # alone there: the GPU's own figure
        (reading((10, 500, None), (99, 1, None)), 500, None),
        (reading((10, 500, None), util_pct=None), 500, None),
        (reading((10, 500, 70), (11, 100, 70)), 600, 100.0),
        (reading((10, 500, 30), (4711, 1, 1)), None, None),  # a pid of another numbering: nothing can be told
    ],
)
def test_the_part_of_one_gpu(seen: GpuReading | None, used_mib: int | None, util_pct: float | None) -> None:
    found = gpu_use(seen, OURS, lambda pid: pid != 4711)
    assert (found.used_mib, found.util_pct) == (used_mib, util_pct)


def test_over_several_gpus_memory_is_the_most_on_one_and_utilisation_the_mean() -> None:
    both = Measured(gpus={"g": GpuUse(used_mib=500, util_pct=90.0), "h": GpuUse(used_mib=700, util_pct=30.0)})
    assert (both.gpu_mib, both.gpu_util_pct) == (700, 60.0)
    half = Measured(gpus={"g": GpuUse(used_mib=500, util_pct=90.0), "h": GpuUse()})
    assert (half.gpu_mib, half.gpu_util_pct) == (None, None)
    assert (Measured().gpu_mib, Measured().gpu_util_pct) == (None, None)


def test_peaks_and_means_over_measurements_of_which_some_know_nothing() -> None:
    def on_gpu(mib: int | None, util: float | None, cpu: float | None, rss: float | None) -> Measured:
        return Measured(cpu_pct=cpu, rss_mib=rss, gpus={"g": GpuUse(used_mib=mib, util_pct=util)})

    usage: Usage | None = None
    for measured in (
        on_gpu(None, None, None, 50.0),
        on_gpu(100, 40.0, 310.0, 20.0),
        on_gpu(None, None, 5.0, None),
        on_gpu(80, 60.0, 0.0, 70.0),
    ):
        usage = added(usage, measured, NOW)
    assert usage is not None
    assert (usage.samples, usage.gpu_samples) == (4, 2)
    assert (usage.peak_cpu_pct, usage.peak_rss_mib) == (310.0, 70.0)
    assert (usage.peak_gpu_mib, usage.peak_gpu_util_pct, usage.mean_gpu_util_pct) == (100, 60.0, 50.0)
    assert usage.now.cpu_pct == 0.0


def test_an_idle_gpu_is_nought_and_an_unknown_one_is_nothing() -> None:
    idle = added(None, Measured(gpus={"g": GpuUse(used_mib=0, util_pct=0.0)}), NOW)
    assert (idle.peak_gpu_mib, idle.peak_gpu_util_pct, idle.mean_gpu_util_pct) == (0, 0.0, 0.0)
    unknown = added(None, Measured(gpus={"g": GpuUse()}), NOW)
    assert (unknown.peak_gpu_mib, unknown.peak_gpu_util_pct, unknown.mean_gpu_util_pct) == (None, None, None)


def test_what_is_kept_at_the_end() -> None:
    ended = Ended(outcome=Exited(code=0, succeeded=True), ended_at=NOW, peak_rss_mib=12.0)
    assert with_usage(ended, None) is ended
    usage = added(None, Measured(cpu_pct=99.94, rss_mib=70.06, gpus={"g": GpuUse(used_mib=5, util_pct=1 / 3)}), NOW)
    kept = with_usage(ended, usage)
    assert (kept.peak_rss_mib, kept.peak_tree_mib, kept.peak_cpu_pct) == (12.0, 70.1, 99.9)
    assert (kept.peak_gpu_mib, kept.peak_gpu_util_pct, kept.mean_gpu_util_pct) == (5, 0.3, 0.3)
