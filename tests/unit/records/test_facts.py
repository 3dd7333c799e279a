"""What a record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.domain.attempt import Exited, Killed, Lost, Outcome, TimedOut
from researchflow_tmux.records.facts import record
from tests.unit.records import samples

TAG = "w/1.1"


def made(tmp_path: Path, outcome: Outcome | None = None, **fields: Any) -> Any:
    directory = tmp_path / "attempt"
    samples.fill(str(directory), 1)
    end = samples.ended(outcome)
    return record(
        samples.job(str(tmp_path), **fields), samples.attempt(end=end), end, tag=TAG, directory=str(directory)
    )


def test_everything_about_an_attempt(tmp_path: Path) -> None:
    marker = tmp_path / "exp1_completed.txt"
    marker.write_text("acc 0.9")
    samples.fill(str(tmp_path / "attempt"), 1)
    (tmp_path / "attempt" / "code.json").write_text('{"commit": "c0ffee", "dirty": true}')
    job = samples.job(str(tmp_path), marker=str(marker), env={"KEY": "secret"}, group="g")
    end = samples.ended(
        peak_rss_mib=12.34,
        cpu_s=3.0,
        note="n",
        peak_tree_mib=40.5,
        peak_cpu_pct=310.0,
        peak_gpu_mib=11_000,
        peak_gpu_util_pct=97.0,
        mean_gpu_util_pct=81.5,
    )
    found = record(job, samples.attempt(end=end), end, tag=TAG, directory=str(tmp_path / "attempt"))
    assert found.metadata == {"job": "exp1", "attempt": 1, "group": "g", "run": TAG, "config": {"lr": 0.1}}
    extra = found.extra_info
    assert {name: extra[name] for name in ("finished", "succeeded", "outcome", "exit_code", "note", "marker")} == {
        "finished": True,
        "succeeded": True,
        "outcome": "succeeded",
        "exit_code": 0,
        "note": "n",
        "marker": "acc 0.9",
    }
    assert (extra["duration_s"], extra["peak_rss_mib"], extra["cpu_s"]) == (9.0, 12.3, 3.0)
    assert (extra["peak_tree_mib"], extra["peak_cpu_pct"], extra["peak_gpu_mib"]) == (40.5, 310.0, 11_000)
    assert (extra["peak_gpu_util_pct"], extra["mean_gpu_util_pct"]) == (97.0, 81.5)
    assert (extra["queued_at"], extra["ended_at"]) == ("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:10+00:00")
    assert (extra["host"], extra["gpus"], extra["gpu_uuids"]) == ("here", [0], ["GPU-a"])
    assert (extra["command"], extra["environment"]) == ("python train.py", "e" * 8)
    assert extra["metrics"] == {"loss": 1.0}
    assert extra["metrics_range"]["loss"]["count"] == 1
    assert extra["git"] == {"commit": "c0ffee", "dirty": True}
    assert set(found.files) == {"config", "metrics"}
    assert "secret" not in json.dumps([found.metadata, found.extra_info])


@pytest.mark.parametrize(
    ("outcome", "words", "code", "signal"),
    [
        (Exited(code=3, succeeded=False), "failed: exit code 3", 3, None),
        (Killed(by="signal", signal=9), "killed: signal 9", None, 9),
        (TimedOut(limit_s=60.0), "ran into its time limit: 60 s", None, None),
        (Lost(why="rebooted"), "lost: rebooted", None, None),
    ],
)
def test_how_it_ended(outcome: Outcome, words: str, code: int | None, signal: int | None, tmp_path: Path) -> None:
    extra = made(tmp_path, outcome).extra_info
    assert (extra["outcome"], extra["exit_code"], extra["signal"], extra["succeeded"]) == (words, code, signal, False)


def test_an_attempt_that_left_nothing_has_a_record_all_the_same(tmp_path: Path) -> None:
    end = samples.ended(Lost(why="gone"), started_at=None)
    job = samples.job(str(tmp_path), marker=str(tmp_path / "none"), output_dir="/nonexistent")
    found = record(job, samples.attempt(end=end), end, tag=TAG, directory=str(tmp_path / "none"))
    assert found.metadata["config"] is None
    assert (found.extra_info["duration_s"], found.extra_info["git"], found.extra_info["metrics"]) == (None, None, {})
    assert found.files == {}


def test_a_config_with_variables_is_not_copied(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert "config" in found.files
    (tmp_path / "attempt" / "config.yml").write_text("rfsched: {env: {TOKEN: secret}}\n")
    end = samples.ended()
    job, attempt = samples.job(str(tmp_path)), samples.attempt()
    found = record(job, attempt, end, tag=TAG, directory=str(tmp_path / "attempt"))
    assert set(found.files) == {"metrics"}
    assert found.metadata["config"] == {"rfsched": {"env": ["TOKEN"]}}
