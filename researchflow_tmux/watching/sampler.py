"""The sampler: a thread beside the scheduler's loop that measures GPUs and jobs while there are any to measure."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from researchflow_tmux.adapters import usage_file
from researchflow_tmux.adapters.sample_store import SampleStore
from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import GpuDevice, GpuReading
from researchflow_tmux.domain.usage import GpuNow, JobUsage, Usage, Watched
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.policies.window import MAX_GAP_S, UtilisationWindow
from researchflow_tmux.ports import Clock, GpuProbe
from researchflow_tmux.watching.measuring import Meter, Target, target

HURRY_S = 1.0
"""Until the next measurement when a GPU seems to be lost: another one makes it certain."""


class Sampler:
    """Measures every `interval_s` seconds while attempts run or jobs wait; sleeps otherwise.

    Whatever goes wrong here (a driver that hangs, a full disk) is told once and tried again; the loop never waits.
    """

    def __init__(self, paths: WorkspacePaths, clock: Clock, tell: Callable[[str], None]) -> None:
        """Start nothing yet. `tell(text)` is called in the sampler's thread when something stops or works again."""
        self._paths, self._clock, self._tell = paths, clock, tell
        known = usage_file.read(paths.usage)
        self._meter = Meter({job.key: job.usage for job in known.jobs} if known is not None else None)
        self._interval_s = 0.0
        self._probe: GpuProbe | None = None
        self._devices: dict[str, GpuDevice] = {}
        self._targets: tuple[Target, ...] = ()
        self._live: frozenset[AttemptKey] = frozenset()
        self._wanted = False
        self._ending = False
        self._poked = threading.Event()
        self._thread: threading.Thread | None = None
        self._windows: dict[str, UtilisationWindow] = {}
        self._store: SampleStore | None = None
        self._troubles: set[str] = set()

    # -- the loop's side

    def tune(self, interval_s: float, devices: Iterable[GpuDevice], probe: GpuProbe | None) -> None:
        """Measure these GPUs with this probe from now on; an interval of 0 switches measuring off."""
        self._interval_s, self._probe = interval_s, probe
        self._devices = {device.uuid: device for device in devices}
        self._poked.set()

    def follow(self, attempts: Iterable[Attempt], *, waiting: bool) -> None:
        """These attempts are live now; `waiting` = jobs wait. Cheap: called with every tick."""
        attempts = list(attempts)
        self._targets = tuple(each for each in map(target, attempts) if each is not None)
        self._live = frozenset(attempt.key for attempt in attempts)
        wanted = bool(attempts or waiting) and self._interval_s > 0
        if wanted and not self._wanted:
            self._wanted = True
            self._poked.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
                self._thread.start()
        self._wanted = wanted

    def usage(self, key: AttemptKey) -> Usage | None:
        """What is known of an attempt; None = it was never measured."""
        return self._meter.usages.get(key)

    def close(self, timeout_s: float = 2.0) -> None:
        """End the thread after what it is at."""
        self._ending = True
        self._poked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # -- the thread's side

    def _work(self) -> None:
        wait_s: float | None = 0.0
        while True:
            self._poked.wait(wait_s)
            self._poked.clear()
            if self._ending:
                break
            wait_s = self._sample() if self._wanted else None
        if self._store is not None:
            self._store.close()

    def _sample(self) -> float:
        """Measure once; seconds until the next time."""
        began_s = self._clock.monotonic()
        targets, live = self._targets, self._live
        readings, error = self._read()
        with self._told("jobs cannot be measured"):
            by_uuid = {reading.uuid: reading for reading in readings}
            now, monotonic_s = self._clock.now(), self._clock.monotonic()
            self._meter.measure(targets, by_uuid, now=now, monotonic_s=monotonic_s)
            self._meter.forget(live)
            gpus = tuple(
                GpuNow(reading=reading, util_mean_pct=self._mean(reading, monotonic_s)) for reading in readings
            )
            jobs = [JobUsage(job_id=key[0], number=key[1], usage=used) for key, used in self._meter.usages.items()]
            usage_file.write(self._paths.usage, Watched(at=now, gpus=gpus, jobs=tuple(jobs), error=error))
        with self._told("how GPUs are used cannot be kept"):
            self._keep(readings, targets)
        least_s = min(self._interval_s, HURRY_S) if any(reading.lost for reading in readings) else self._interval_s
        return max(least_s - (self._clock.monotonic() - began_s), 0.05)

    def _read(self) -> tuple[list[GpuReading], str | None]:
        """Our GPUs; none of them while they cannot be read, with the reason."""
        if self._probe is None:
            return [], None
        try:
            return [reading for reading in self._probe.read() if reading.uuid in self._devices], None
        except ProbeError as error:  # why nothing starts there is told by whoever wants to start something
            return [], str(error)

    def _mean(self, reading: GpuReading, monotonic_s: float) -> float | None:
        window = self._windows.setdefault(
            reading.uuid, UtilisationWindow(max_gap_s=max(MAX_GAP_S, 3.0 * self._interval_s))
        )
        window.add(monotonic_s, reading.util_pct)
        mean_pct = window.mean_pct(monotonic_s)
        return None if mean_pct is None else round(mean_pct, 1)

    def _keep(self, readings: list[GpuReading], targets: Iterable[Target]) -> None:
        if not readings:
            return
        if self._store is None:
            self._store = SampleStore(self._paths.samples)
        jobs = Counter(uuid for each in targets for uuid in each.gpus)
        self._store.add(self._clock.now().timestamp(), readings, jobs)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say once what keeps a step from working, and once when it works again."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, jobs go on and the next round may succeed
            plain = isinstance(error, OSError | sqlite3.Error)
            words = str(error) if plain else f"{type(error).__name__}: {error}"
            if what not in self._troubles:
                self._troubles.add(what)
                self._tell(f"{what} for now: {words}; it is tried again every {self._interval_s:g} s")
            self._give_up_store(error)
        else:
            if what in self._troubles:
                self._troubles.discard(what)
                self._tell(f"no longer so: {what}")

    def _give_up_store(self, error: Exception) -> None:
        """A file that makes trouble is opened anew the next time; a damaged one is then begun afresh."""
        if isinstance(error, sqlite3.Error) and self._store is not None:
            self._store.close()
            self._store = None
