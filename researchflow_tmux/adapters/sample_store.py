"""The file `.rfsched/samples.db`: how the GPUs were used over time, thinned out and bounded by itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.sqlite_database import transaction
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.mounts import is_network_fs

VERSION = 1
KEEP_S = {0: 3600, 60: 7 * 86_400, 600: 366 * 86_400}
"""By span: seconds for which its rows are kept. About 63 000 rows of 70 bytes a GPU at 5 s, when used all year."""
SPANS = ((0, 60), (60, 600))
BUSY_S = 2.0
PRUNE_EVERY_S = 600

_THIN = """
INSERT OR REPLACE INTO samples
SELECT :to_s, gpu, :since, sum(util_pct * of_util) / sum(of_util), min(util_min_pct), max(util_max_pct), sum(of_util),
       sum(used_mib * of_used) / sum(of_used), max(used_max_mib), sum(of_used),
       max(temperature_c), avg(power_w), avg(jobs)
FROM samples WHERE span_s = :from_s AND at >= :since AND at <= :at GROUP BY gpu
"""
_SERIES = """
SELECT gpu, at, util_pct, util_min_pct, util_max_pct, used_mib, used_max_mib, temperature_c, power_w, jobs
FROM samples WHERE span_s = ? AND at >= ? AND at < ? ORDER BY gpu, at
"""


class GpuSeries(msgspec.Struct, kw_only=True):
    """One GPU over time: lists of the same length, one entry for each moment. null = unknown."""

    index: int
    uuid: str
    name: str
    total_mib: int | None
    at: list[datetime]
    """Beginnings of the spans."""
    util_pct: list[float | None]
    """Mean utilisation within the span."""
    util_min_pct: list[float | None]
    util_max_pct: list[float | None]
    used_mib: list[float | None]
    """Mean memory in use, by whomever."""
    used_max_mib: list[float | None]
    temperature_c: list[float | None]
    """The highest."""
    power_w: list[float | None]
    """The mean."""
    jobs: list[float | None]
    """Mean number of jobs of this workspace on it."""


class SampleStore:
    """The writing end; one thread of the scheduler uses it. A file that is damaged is begun anew."""

    def __init__(self, path: str) -> None:
        """Open or create. Raises sqlite3.Error or OSError when neither can be done."""
        self._path = path
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            _remove(path)  # no database at all, or a damaged one: it only held means
            self._db = _open(path)
        self._ids: dict[str, tuple[int, GpuReading]] = {}
        self._pruned_at = 0

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def add(self, at_s: float, readings: Sequence[GpuReading], jobs: Mapping[str, int]) -> None:
        """Keep one reading of each GPU; `jobs` = how many of ours are on it, by UUID. Raises sqlite3.Error."""
        at = int(at_s)
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO samples VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(self._id(reading), at, reading, jobs.get(reading.uuid, 0)) for reading in readings],
            )
            self._thin(at)

    def _id(self, reading: GpuReading) -> int:
        known = self._ids.get(reading.uuid)
        facts = (reading.index, reading.name, reading.total_mib)
        if known is not None and facts == (known[1].index, known[1].name, known[1].total_mib):
            return known[0]
        (number,) = self._db.execute(
            'INSERT INTO gpus (uuid, "index", name, total_mib) VALUES (?, ?, ?, ?) ON CONFLICT (uuid) DO UPDATE SET '
            '"index" = excluded."index", name = excluded.name, total_mib = coalesce(excluded.total_mib, total_mib) '
            "RETURNING id",
            (reading.uuid, *facts),
        ).fetchone()
        self._ids[reading.uuid] = (int(number), reading)
        return int(number)

    def _thin(self, at: int) -> None:
        """Make the means of the spans that the reading belongs to anew, so that there is never one that is missing."""
        for from_s, to_s in SPANS:
            self._db.execute(_THIN, {"from_s": from_s, "to_s": to_s, "since": at // to_s * to_s, "at": at})
        if abs(at - self._pruned_at) >= PRUNE_EVERY_S:
            self._pruned_at = at
            for span_s, keep_s in KEEP_S.items():
                # Whole spans only, and what a clock that was wrong has written into the future.
                oldest, latest = (at - keep_s) // 600 * 600, at + 600
                old = "DELETE FROM samples WHERE span_s = ? AND (at < ? OR at > ?)"
                self._db.execute(old, (span_s, oldest, latest))


def series(path: str, since: datetime, until: datetime) -> tuple[int, list[GpuSeries]]:
    """The span in seconds (0 = every reading) and each GPU between two moments, at the finest that reaches back so far.

    `until` is now or later for the finest to be found. No file = nothing was sampled so far. Raises sqlite3.Error.
    """
    first, last = int(since.timestamp()), int(until.timestamp()) + 1
    span_s = next((span for span, keep_s in KEEP_S.items() if last - first <= keep_s), SPANS[-1][1])
    if not os.path.exists(path):
        return span_s, []
    with closing(_read_only(path)) as db:
        gpus = db.execute('SELECT id, "index", uuid, name, total_mib FROM gpus ORDER BY "index", id').fetchall()
        rows = db.execute(_SERIES, (span_s, first // max(span_s, 1) * max(span_s, 1), last)).fetchall()
    found = [_series(gpu[1:], [row[1:] for row in rows if row[0] == gpu[0]]) for gpu in gpus]
    return span_s, [each for each in found if each.at]


def _series(gpu: Sequence[Any], rows: Sequence[Sequence[Any]]) -> GpuSeries:
    index, uuid, name, total_mib = gpu
    columns = list(zip(*rows, strict=True)) if rows else [()] * 9
    times = [datetime.fromtimestamp(at, UTC) for at in columns[0]]
    util, lowest, highest, used, most, temperature, power, jobs = ([_rounded(v) for v in c] for c in columns[1:])
    return GpuSeries(
        index=index,
        uuid=uuid,
        name=name,
        total_mib=total_mib,
        at=times,
        util_pct=util,
        util_min_pct=lowest,
        util_max_pct=highest,
        used_mib=used,
        used_max_mib=most,
        temperature_c=temperature,
        power_w=power,
        jobs=jobs,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _row(gpu: int, at: int, reading: GpuReading, jobs: int) -> tuple[Any, ...]:
    util, used = reading.util_pct, reading.used_mib
    known = (util, util, util, int(util is not None), used, used, int(used is not None))
    return (gpu, at, *known, reading.temperature_c, reading.power_w, jobs)


def _open(path: str) -> sqlite3.Connection:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        network = is_network_fs(path)
        # A power cut may cost the last minutes, never the file; on network file systems there is no shared memory.
        db.execute(f"PRAGMA journal_mode = {'delete' if network else 'wal'}")
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"version {version} is another program's")
        if version == 0:
            with open(os.path.join(os.path.dirname(__file__), "samples.sql"), encoding="utf-8") as file:
                db.executescript(f"BEGIN IMMEDIATE; {file.read()} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _read_only(path: str) -> sqlite3.Connection:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)


def _remove(path: str) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        with suppress(FileNotFoundError):
            os.unlink(name)
