"""The picture of `rfsched gpus`: what stands in it, and that it fits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from researchflow_tmux.adapters.sample_store import GpuSeries
from researchflow_tmux.api.gpu_history import GpuHistory, busy_pct, columns
from researchflow_tmux.api.gpus import GpuDetail, GpusView, JobOnGpu, OtherProcess
from researchflow_tmux.cli.gpu_blocks import matrix, past, picture
from researchflow_tmux.cli.layout import cell_width, render

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def gpu(index: int, **more: Any) -> GpuDetail:
    fields: dict[str, Any] = {
        "index": index,
        "uuid": f"GPU-{index}",
        "name": "NVIDIA A100-SXM4-80GB",
        "kind": "nvml",
        "state": "ok",
        "reason": None,
        "reason_code": None,
        "slots": 2,
        "used_mib": 40_960,
        "total_mib": 81_920,
        "util_pct": 97,
        "util_mean_pct": 88.4,
        "temperature_c": 60,
        "power_w": 301.4,
        "read_at": NOW,
        "error": None,
        "jobs": [JobOnGpu(id=1, name="exp1", attempt=1, used_mib=9000, util_pct=50.0)],
        "leases": [],
        "others": [],
    }
    return GpuDetail(**(fields | more))


def view(*gpus: GpuDetail, **more: Any) -> GpusView:
    fields: dict[str, Any] = {"note": "2 GPUs", "problems": [], "scheduler": True}
    return GpusView(at=NOW, workspace="/w", task_name="t", gpus=list(gpus), **(fields | more))


def shown(found: GpusView, width: int | None = None) -> str:
    return "\n".join(render(picture(found, width), width=width, colour=False))


STRANGER = OtherProcess(pid=4711, user="ann", command="python train.py --lr 0.1", used_mib=20_480)
FULL = view(
    gpu(0, leases=["bob: other workspace"]),
    gpu(1, state="draining", reason="drained: GPU 1 (by ann)", reason_code="drained"),
    gpu(2, state="lost", reason="lost: GPU 2 (GPU is lost)", used_mib=None, util_pct=None, temperature_c=None, jobs=[]),
    gpu(3, state="blocked", reason="GPU filled by others: GPU 3: 20.0 of 80.0 GiB", others=[STRANGER], jobs=[]),
)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_it_fits_the_terminal_and_shows_more_on_a_wider_one(width: int) -> None:
    lines = shown(FULL, width).splitlines()
    assert max(map(cell_width, lines)) <= width
    head = next(line for line in lines if line.startswith("GPU "))
    assert ("POWER" in head, "NAME" in head) == (width >= 96, width >= 110)
    assert ("█" in shown(FULL, width)) == (width >= 130)
    if width >= 80:
        row = next(line for line in lines if line.startswith("0 "))
        assert "40.0/80.0 GiB" in row
        assert ("97 %" in row, "88 %" in row, "60 °C" in row, "2/2" in row) == (True, True, True, True)


def test_every_state_is_told_with_its_reason_and_the_others_with_user_and_command() -> None:
    text = shown(FULL)
    for words in (
        "drained: GPU 1 (by ann)",
        "lost: GPU 2 (GPU is lost)",
        "GPU filled by others: GPU 3: 20.0 of 80.0 GiB",
        "GPU 3   4711  ann   20.0 GiB  python train.py --lr 0.1",
        "exp1, [bob: other workspace]",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (view(gpu(0), scheduler=False), "no scheduler is running"),
        (view(note="No GPU here can be read: only CPU jobs run"), "only CPU jobs run"),
        (
            view(gpu(0), problems=["/w/available_gpus.txt:1:3: 'x' is no GPU\n    hint: write"]),
            "txt:1:3: 'x' is no GPU",
        ),
        (view(gpu(0, error="Unknown Error", used_mib=None)), "GPU 0 cannot be read: Unknown Error"),
        (view(gpu(0, slots=None)), "1/∞"),
        (view(gpu(0, others=[OtherProcess(pid=1, user=None, command=None, used_mib=None)])), "(hidden)"),
        (view(gpu(0, others=[STRANGER] * 25)), "… and 5 more"),
    ],
)
def test_words(found: GpusView, words: str) -> None:
    assert words in shown(found)


def test_without_readings_the_columns_for_them_are_left_out() -> None:
    bare = dict.fromkeys(("used_mib", "total_mib", "util_pct", "util_mean_pct", "temperature_c", "power_w"))
    head = next(line for line in shown(view(gpu(0, **bare))).splitlines() if line.startswith("GPU"))
    assert head.split() == ["GPU", "NAME", "STATE", "SLOTS", "JOBS"]


# -- over time


def series(*values: float | None, every_s: float = 60.0) -> GpuSeries:
    times = [NOW - timedelta(hours=1) + timedelta(seconds=every_s * at) for at in range(len(values))]
    same: list[float | None] = [1024.0] * len(values)
    return GpuSeries(
        index=0,
        uuid="g",
        name="GPU",
        total_mib=2048,
        at=times,
        util_pct=list(values),
        util_min_pct=list(values),
        util_max_pct=list(values),
        used_mib=same,
        used_max_mib=same,
        temperature_c=same,
        power_w=same,
        jobs=same,
    )


def history(*gpus: GpuSeries) -> GpuHistory:
    return GpuHistory(since=NOW - timedelta(hours=1), until=NOW, workspace="/w", span_s=60, gpus=list(gpus))


def test_means_and_parts_of_the_time() -> None:
    gpu = series(0.0, 100.0, None, 50.0, every_s=900.0)
    assert busy_pct(gpu) == 50.0
    assert busy_pct(series(None)) is None
    assert columns(gpu, NOW - timedelta(hours=1), NOW, 4) == [0.0, 100.0, None, 50.0]
    assert columns(gpu, NOW - timedelta(hours=1), NOW, 2) == [50.0, 50.0]


@pytest.mark.parametrize("width", [None, 40, 80, 160])
def test_the_past_is_a_strip_that_fits(width: int | None) -> None:
    lines = render(past(history(series(*[100.0] * 30)), width), width=width, colour=False)
    assert max(map(cell_width, lines)) <= (width or 80)
    assert "█" in lines[-1]
    assert "100 %" in lines[-1]
    assert "≤ 1.0 GiB" in lines[-1]


def test_nothing_sampled_is_said() -> None:
    (line,) = render(past(history(), 80), width=None, colour=False)
    assert "nothing was sampled" in line


def test_the_matrix_tells_how_gpus_are_connected_and_what_the_words_mean() -> None:
    found = [gpu(0, links={1: "NV4", 3: "SYS"}), gpu(1, links={0: "NV4"}), gpu(3)]
    text = "\n".join(render(matrix(found), width=None, colour=False))
    assert [row.split()[:4] for row in text.splitlines()[:4]] == [
        ["GPU", "0", "1", "3"],
        ["0", "·", "NV4", "SYS"],
        ["1", "NV4", "·", "?"],
        ["3", "?", "?", "·"],
    ]
    assert text.splitlines()[-1] == "NV = so many NVLinks; SYS = between NUMA nodes"
    unknown = render(matrix([gpu(0)]), width=None, colour=False)
    assert list(unknown) == ["how these GPUs are connected is not known"]


def test_the_compute_capability_has_a_column_where_it_is_known() -> None:
    assert "8.0" in shown(view(gpu(0, compute_capability="8.0")), None)
    assert " CC " not in shown(view(gpu(0)), None)
