"""The status picture and the scheduler's screen: what stands in them, and that they fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from researchflow_tmux.api.plan_views import PlannedGroup
from researchflow_tmux.api.views import GpuView, JobView, SchedulerView, StatusView, UsageView
from researchflow_tmux.cli.layout import cell_width, render
from researchflow_tmux.cli.live_table import screen, share
from researchflow_tmux.cli.status_blocks import NO_FOLD, STATES, Fold, peak_words, picture
from researchflow_tmux.cli.times import when

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def job(number: int, state: str, **more: Any) -> JobView:
    fields: dict[str, Any] = {
        "id": number,
        "name": f"exp{number}",
        "state": state,
        "reason": None,
        "reason_code": None,
        "until": None,
        "gpus": [0] if state == "running" else [],
        "gpus_wanted": 1,
        "session": f"t_exp{number}_gpu0" if state == "running" else None,
        "attempt": 1 if state == "running" else 0,
        "headless": False,
        "queued_at": NOW,
        "started_at": NOW - timedelta(seconds=90) if state == "running" else None,
        "ended_at": None,
        "elapsed_s": 90.0 if state == "running" else None,
        "exit_code": None,
        "priority": 0,
        "group": None,
        "retries_used": 0,
        "log": None,
        "source": "config",
        "key": f"configs/exp{number}.yml",
    }
    return JobView(**(fields | more))


def gpu(index: int, **more: Any) -> GpuView:
    fields: dict[str, Any] = {
        "index": index,
        "uuid": f"GPU-{index}",
        "name": "NVIDIA A100-SXM4-80GB",
        "kind": "nvml",
        "slots": 2,
        "jobs": ["exp1", "exp2"],
        "others": [],
        "blocked": None,
        "state": "ok",
        "used_mib": 40_960,
        "total_mib": 81_920,
        "util_pct": 97,
        "temperature_c": 60,
        "power_w": 300.0,
    }
    return GpuView(**(fields | more))


def view(
    jobs: list[JobView],
    gpus: list[GpuView] | None = None,
    *,
    running: bool = True,
    halted: str | None = None,
    seen_at: datetime | None = None,
) -> StatusView:
    started_at = NOW - timedelta(hours=2)
    return StatusView(
        at=NOW,
        workspace="/w",
        task_name="t",
        counts={state: sum(each.state == state for each in jobs) for state in STATES},
        jobs=jobs,
        gpus=gpus or [],
        scheduler=SchedulerView(
            running=running, session="t_scheduler", started_at=started_at, halted=halted, seen_at=seen_at
        ),
    )


def shown(found: StatusView, fold: Fold = NO_FOLD, width: int | None = None, *, everything: bool = False) -> str:
    return "\n".join(render(picture(found, width=width, fold=fold, everything=everything), width=width, colour=False))


def usage(**more: Any) -> UsageView:
    fields: dict[str, Any] = dict.fromkeys(UsageView.__struct_fields__)
    return UsageView(**(fields | {"at": NOW, "cpu_pct": 104.2, "rss_mib": 613.0} | more))


@pytest.mark.parametrize("width", [None, 80, 109, 110, 160])
def test_what_jobs_use_is_shown_where_there_is_room(width: int | None) -> None:
    busy = job(1, "running", usage=usage(gpu_mib=9000, gpu_util_pct=72.0))
    other = job(2, "running", usage=usage(cpu_pct=None, rss_mib=5000.0))
    text = shown(view([busy, other, job(3, "running")]), width=width)
    if width is None or width < 110:
        assert "GPU MEM" not in text
        return
    rows = [line.split() for line in text.splitlines() if line.startswith(("RUNNING", "exp"))]
    assert rows[0] == ["RUNNING", "ID", "ELAPSED", "GPU", "CPU", "RAM", "GPU", "GPU", "MEM", "SESSION"]
    assert rows[1][4:12] == ["0", "104", "%", "613", "MiB", "72", "%", "8.8"]
    assert rows[2][4:8] == ["0", "4.9", "GiB", "t_exp2_gpu0"], "what is unknown is blank"


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    text = shown(view([job(1, "running", usage=usage(rss_mib=None))]), width=120)
    assert "CPU" in text
    assert "RAM" not in text
    assert "GPU MEM" not in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, ""),
        (usage(), ""),
        (usage(peak_cpu_pct=310.0, peak_rss_mib=4300.0), "CPU 310 %, RAM 4.2 GiB"),
        (
            usage(peak_gpu_util_pct=97.0, mean_gpu_util_pct=81.4, peak_gpu_mib=11_571),
            "GPU 97 % (mean 81 %), GPU memory 11.3 GiB",
        ),
    ],
)
def test_peaks_in_words(found: UsageView | None, words: str) -> None:
    assert peak_words(found) == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (view([]), "no jobs so far"),
        (view([], running=False), "no scheduler is running: `rfsched start` starts it"),
        (view([job(1, "queued")], running=False), "`rfsched start` goes on with them"),
        (view([]), "running since"),
        (view([], halted="tmux does not answer"), "nothing is launched just now: tmux does not answer"),
        (view([], seen_at=NOW - timedelta(minutes=5)), "it last wrote down what it sees 5:00 min ago"),
        (view([job(1, "running"), job(2, "queued"), job(3, "failed")]), "1 running, 1 waiting, 1 failed"),
        (view([job(1, "running")]), "exp1     1   1:30 min  0    t_exp1_gpu0"),
        (view([job(1, "running", attempt=2)]), "(attempt 2)"),
        (
            view([job(1, "running", attempt=2, resumed_step=1200, lost_s=38.2)]),
            "(attempt 2, from step 1200, 38 s lost)",
        ),
        (view([job(1, "running", attempt=3, resumed_step=1200)]), "(attempt 3, from step 1200)"),
        (view([job(1, "running", started_at=None)]), "starting"),
        (view([job(1, "running", headless=True)]), "gone; it runs on"),
        (view([job(1, "running", gpus=[])]), "cpu"),
        (
            view([job(1, "queued", reason="all slots are taken: GPU 0: a", reason_code="capacity")]),
            "all slots are taken",
        ),
        (
            view(
                [
                    job(
                        1,
                        "queued",
                        reason="waits before the next try: failed: exit code 1",
                        reason_code="backoff",
                        until=NOW + timedelta(seconds=38),
                    )
                ]
            ),
            "next try in 38 s: failed: exit code 1",
        ),
        (view([job(1, "held", reason="held: by ann", reason_code="held")]), "held: by ann"),
        (view([job(1, "failed", reason="failed: exit code 7", ended_at=NOW, elapsed_s=5.0)]), "5 s   exit code 7"),
        (view([job(1, "succeeded")]), "1 job succeeded"),
        (view([], [gpu(0)]), "GPU 0  NVIDIA A100-SXM4-80GB  2/2 slots  40.0/80.0 GiB   97 %  60 °C  exp1, exp2"),
        (view([], [gpu(0, slots=None, jobs=[])]), "0/∞ slots"),
        (view([], [gpu(0, used_mib=None, total_mib=None, util_pct=None, jobs=[])]), "2 slots"),
        (
            view([], [gpu(0, jobs=[], blocked="GPU filled by others: python pid 7")]),
            "GPU filled by others: python pid 7",
        ),
        (view([], [gpu(0, jobs=["a"], others=["ann: /home/ann/w"])]), "a, [ann: /home/ann/w]"),
    ],
)
def test_what_status_says(found: StatusView, words: str) -> None:
    assert words in shown(found)


def test_long_lists_are_folded_and_say_how_to_see_all() -> None:
    found = view([job(number, "queued", reason="starts next") for number in range(1, 501)])
    assert "… and 490 more waiting; --full shows them" in shown(found, Fold())
    assert "more" not in shown(found, NO_FOLD)


def test_ended_jobs_are_listed_when_asked_for() -> None:
    found = view([job(1, "succeeded", ended_at=NOW), job(2, "cancelled", ended_at=NOW, reason="cancelled: by hand")])
    assert "exp1" not in shown(found)
    assert "exp1" in shown(found, everything=True)
    assert "cancelled: by hand" in shown(found, everything=True)


def test_piped_text_has_no_bars_and_a_terminal_has_them() -> None:
    found = view([job(1, "running")], [gpu(0)])
    assert not set(shown(found)) & set("█░│─┌")
    assert "███████░░░░░░░" in shown(found, width=120)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (160, 45)])
@pytest.mark.parametrize(("running", "waiting", "gpus"), [(0, 0, 0), (2, 3, 2), (40, 500, 8), (1, 0, 16)])
def test_the_screen_fits(size: tuple[int, int], running: int, waiting: int, gpus: int) -> None:
    width, height = size
    jobs = [job(number, "running", name="実験" * 30) for number in range(running)]
    jobs += [job(number, "queued", reason="all slots are taken: GPU 0") for number in range(min(waiting, height))]
    events = [("12:00:00", f"exp{number}: running", "") for number in range(50)]
    blocks = screen(view(jobs, [gpu(index) for index in range(gpus)]), waiting, events, width, height)
    lines = render(blocks, width=width, colour=False)
    assert max(map(cell_width, lines)) <= width
    assert len(lines) <= height - 1


@pytest.mark.parametrize(
    ("lines", "totals", "expected"),
    [
        (100, (3, 4, 5), (3, 4, 5)),
        (100, (0, 0, 0), (0, 0, 0)),
        (14, (2, 2, 2), (2, 2, 2)),
        (20, (100, 100, 100), (6, 3, 3)),
        (3, (9, 9, 9), (0, 0, 1)),
        (4, (9, 9, 9), (1, 0, 0)),
        (0, (9, 9, 9), (0, 0, 0)),
    ],
)
def test_room_is_shared(lines: int, totals: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert share(lines, *totals) == expected


# -- ends to come ------------------------------------------------------------------------------------------------------


def with_ends() -> StatusView:
    end = NOW + timedelta(hours=2)
    facts = {"eta_at": end, "eta_low_at": end - timedelta(minutes=20), "eta_high_at": end + timedelta(hours=1)}
    jobs = [job(1, "running", progress_pct=41.6, **facts), job(2, "running"), job(3, "queued")]
    found = view(jobs)
    whole = PlannedGroup(name="everything", kind="queue", jobs=3, eta_at=end, eta_low_at=end, eta_high_at=end)
    part = PlannedGroup(name="g", kind="group", jobs=2, eta_at=end, eta_low_at=None, eta_high_at=None)
    found.totals = [whole, part, msgspec.structs.replace(part, name="same", jobs=3)]
    return found


def test_running_jobs_say_how_far_they_are_and_when_they_should_end() -> None:
    roomy = "\n".join(render(picture(with_ends(), width=140, fold=Fold()), width=140, colour=False))
    at, low, high = (when(NOW + timedelta(minutes=each), NOW) for each in (120, 100, 180))
    assert f"≈ {at} ({low}–{high})" in roomy
    assert "42 %" in roomy
    narrow = "\n".join(render(picture(with_ends(), width=80, fold=Fold()), width=80, colour=False))
    assert f"≈ {at}  " in narrow
    assert f"({low}" not in narrow
    piped = "\n".join(render(picture(with_ends(), width=None, fold=Fold()), width=None, colour=False))
    assert "ENDS" not in piped, "what is piped keeps its columns"


def test_the_queue_says_when_it_is_through() -> None:
    shown = render(picture(with_ends(), width=100, fold=Fold()), width=100, colour=False)
    assert sum(" ends ≈ " in text for text in shown) == 2, "a group that is all of it is not said twice"
    assert any(text.startswith("all of it ends ≈ ") for text in shown)
    assert any(text.startswith("group g ends ≈ ") for text in shown)
