"""Samples thinned out: full for an hour, minutes for a week, ten minutes for a year; a bounded file."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from researchflow_tmux.adapters.sample_store import KEEP_S, GpuSeries, SampleStore, series
from researchflow_tmux.domain.resources import GpuReading

T0 = 1_800_000_000  # a whole ten minutes
HOUR, DAY = 3600, 86_400


def reading(util: int | None = 50, used: int | None = 1000, *, uuid: str = "g", index: int = 0) -> GpuReading:
    return GpuReading(
        uuid=uuid,
        index=index,
        name="GPU",
        total_mib=24_576,
        used_mib=used,
        util_pct=util,
        temperature_c=60,
        power_w=200.0,
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "samples.db")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def look(path: str, since_s: float, now_s: float) -> tuple[int, GpuSeries]:
    span_s, found = series(path, at(since_s), at(now_s))
    (gpu,) = found
    return span_s, gpu


def test_every_reading_of_the_last_hour(path: str) -> None:
    store = SampleStore(path)
    for number in range(4):
        store.add(T0 + 5 * number, [reading(util=10 * number)], {"g": 1})
    store.close()
    span_s, gpu = look(path, T0, T0 + 20)
    assert span_s == 0
    assert gpu.at == [at(T0 + 5 * number) for number in range(4)]
    assert gpu.util_pct == [0.0, 10.0, 20.0, 30.0]
    assert (gpu.used_mib[0], gpu.temperature_c[0], gpu.power_w[0], gpu.jobs[0]) == (1000.0, 60.0, 200.0, 1.0)
    assert (gpu.index, gpu.uuid, gpu.name, gpu.total_mib) == (0, "g", "GPU", 24_576)


def test_means_are_there_at_once_and_weigh_every_reading_alike(path: str) -> None:
    store = SampleStore(path)
    for second, util, used in ((0, 100, 8), (5, 0, 2), (10, 20, 2), (65, 60, 4)):
        store.add(T0 + second, [reading(util=util, used=used)], {"g": 2 if second else 0})
    store.close()
    span_s, gpu = look(path, T0 - 2 * HOUR, T0 + 70)
    assert span_s == 60
    assert gpu.at == [at(T0), at(T0 + 60)]
    assert gpu.util_pct == [40.0, 60.0]
    assert (gpu.util_min_pct, gpu.util_max_pct) == ([0.0, 60.0], [100.0, 60.0])
    assert (gpu.used_mib, gpu.used_max_mib) == ([4.0, 4.0], [8.0, 4.0])
    assert gpu.jobs == [1.33, 2.0]
    span_s, gpu = look(path, T0 - 30 * DAY, T0 + 70)
    assert span_s == 600
    assert gpu.util_pct == [45.0], "of four readings, not of two minutes"
    assert (gpu.util_min_pct, gpu.util_max_pct) == ([0.0], [100.0])


def test_what_is_unknown_is_null_and_no_part_of_a_mean(path: str) -> None:
    store = SampleStore(path)
    store.add(T0, [reading(util=None, used=None)], {})
    store.add(T0 + 5, [reading(util=80)], {})
    store.add(T0 + 60, [GpuReading(uuid="g", index=0, name="GPU", error="lost", lost=True)], {})
    store.close()
    _, raw = look(path, T0, T0 + 60)
    assert raw.util_pct == [None, 80.0, None]
    assert raw.total_mib == 24_576, "an unreadable GPU keeps what is known of it"
    _, minutes = look(path, T0 - 2 * HOUR, T0 + 60)
    assert minutes.util_pct == [80.0, None]
    assert minutes.used_mib == [1000.0, None]


def test_old_rows_go_by_themselves_and_the_file_stays_bounded(path: str) -> None:
    store = SampleStore(path)
    store._db.execute("PRAGMA synchronous = OFF")
    for second in range(0, 3 * HOUR, 20):
        store.add(T0 + second, [reading()], {})
    raw, minutes = rows(store, 0), rows(store, 60)
    assert raw <= (HOUR + 1200) / 20 + 1
    assert minutes == 180
    store.add(T0 + 8 * DAY, [reading()], {})
    assert (rows(store, 0), rows(store, 60), rows(store, 600)) == (1, 1, 19)
    store.add(T0 + 400 * DAY, [reading()], {})
    assert (rows(store, 0), rows(store, 60), rows(store, 600)) == (1, 1, 1)
    store.close()
    assert set(KEEP_S) == {0, 60, 600}


def rows(store: SampleStore, span_s: int) -> int:
    (count,) = store._db.execute("SELECT count(*) FROM samples WHERE span_s = ?", (span_s,)).fetchone()
    return int(count)


def test_a_mean_is_never_made_of_what_pruning_left_over(path: str) -> None:
    store = SampleStore(path)
    store.add(T0 + 30, [reading(util=100)], {})
    store.add(T0 + 50, [reading(util=0)], {})
    for second in range(60, HOUR + 1300, 100):
        store.add(T0 + second, [reading(util=10)], {})
    store.close()
    _, gpu = look(path, T0 - 2 * HOUR, T0 + HOUR + 1300)
    assert gpu.util_pct[0] == 50.0


def test_a_clock_that_was_ahead_leaves_nothing_in_the_future(path: str) -> None:
    store = SampleStore(path)
    store.add(T0 + 30 * DAY, [reading()], {})
    store.add(T0, [reading()], {})
    store.add(T0 + 5, [reading()], {})
    assert rows(store, 0) == 2
    store.close()


def test_several_gpus_and_a_new_index(path: str) -> None:
    store = SampleStore(path)
    store.add(T0, [reading(1, uuid="b", index=1), reading(2, uuid="a", index=0)], {})
    store.close()
    store = SampleStore(path)
    store.add(T0 + 5, [reading(3, uuid="b", index=0), reading(4, uuid="a", index=1)], {})
    store.close()
    _, found = series(path, at(T0), at(T0 + 10))
    assert [(gpu.uuid, gpu.index, gpu.util_pct) for gpu in found] == [("b", 0, [1.0, 3.0]), ("a", 1, [2.0, 4.0])]


def test_no_file_and_no_samples(path: str) -> None:
    assert series(path, at(T0), at(T0 + 10)) == (0, [])
    store = SampleStore(path)
    store.add(T0, [reading()], {})
    store.close()
    assert series(path, at(T0 + 100), at(T0 + 200)) == (0, [])
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"this is no database, and never was", b""])
def test_a_damaged_file_is_begun_anew(path: str, damage: bytes) -> None:
    Path(path).write_bytes(damage)
    store = SampleStore(path)
    store.add(T0, [reading()], {})
    store.close()
    assert look(path, T0, T0 + 1)[1].util_pct == [50.0]


def test_a_file_of_another_version_is_begun_anew(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    store = SampleStore(path)
    store.add(T0, [reading()], {})
    store.close()
    assert look(path, T0, T0 + 1)[1].util_pct == [50.0]


def test_a_reader_sees_what_is_there_while_somebody_writes(path: str) -> None:
    store = SampleStore(path)
    store.add(T0, [reading()], {})
    assert look(path, T0, T0 + 1)[1].at == [at(T0)]
    store.add(T0 + 5, [reading()], {})
    assert len(look(path, T0, T0 + 9)[1].at) == 2
    store.close()
