"""Saving and resuming, as a training loop uses it: `current_job().checkpoint`."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field

from . import choosing, restore
from .errors import CheckpointError
from .files import Files
from .manifest import step_number
from .pace import Pace
from .saving import Saving
from .snapshot import Snapshot
from .stop_requests import EXIT_CODE, Requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .store import CheckpointStore, Saved

log = logging.getLogger("rfsched")


@dataclass(frozen=True)
class Restored:
    """A checkpoint that was loaded.

    `state` is what was given to `save`, with three differences: an object with `state_dict()` is what that returned,
    tensors are on the CPU, and files are a `pathlib.Path` inside the checkpoint (copy what you want to change).
    `skipped` has the newer ones that were damaged, with the reason.
    """

    state: Any
    step: int
    name: str
    place: str
    """Its path or URL."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


class Checkpointer:
    """Saves a training's state to a store in the background and finds the newest sound one again.

    `store` is the place, or a function that opens it when it is first needed. `attempt` is the tag of this attempt.
    `resume_from` is a function that returns the store and the name of the checkpoint to resume from, or None. For one
    thread at a time.
    """

    def __init__(
        self,
        store: CheckpointStore | Callable[[], CheckpointStore],
        *,
        attempt: str = "",
        resume_from: Callable[[], tuple[CheckpointStore, str] | None] = lambda: None,
        requests: Requests | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        self._store = store
        self._attempt = attempt
        self._resume_from = resume_from
        self._requests = requests
        self._metrics: Mapping[str, float] = {} if metrics is None else metrics
        self._keep = choosing.Keep()
        self._saving: Saving | None = None
        self._pace = Pace()
        self.restored: Restored | None = None
        """What `load_latest` found last."""

    @property
    def store(self) -> CheckpointStore:
        """The place the checkpoints are in; opened on first use."""
        if callable(self._store):
            self._store = self._store()
        return self._store

    def keep(self, last: int = 3, *, best: str | None = None, mode: str = "max", count: int = 1) -> None:
        """Say what stays: the `last` ones, and the `count` best by the metric `best` ("max" or "min" by `mode`).

        Without a call the last 3 stay. `ValueError` for numbers below 1 and other modes.
        """
        self._keep = choosing.Keep(last, best, mode, count)

    def use(self, store: CheckpointStore) -> None:
        """Keep the checkpoints in another store, from now on."""
        self.wait()
        self._store = store

    @staticmethod
    def files(path: str | os.PathLike[str]) -> Files:
        """Mark a file or directory inside a state as content to keep: `{"model": checkpoint.files("out/model")}`."""
        return Files(path)

    @property
    def requested(self) -> bool:
        """Whether a signal asked for a checkpoint that was not saved yet."""
        return self._requests is not None and self._requests.save

    @property
    def _stopping(self) -> bool:
        return self._requests is not None and self._requests.stop

    def every(self, *, minutes: float = 0, seconds: float = 0, steps: int = 0) -> bool:
        """Tell whether it is time to save: call it once per step, where the state is whole.

        True when that many minutes (plus `seconds`) or calls went by since the last True, and when a signal asks for a
        checkpoint. False while the last one is still being written. However short the interval, saving holds up the
        training for no more than a twentieth of its time. `ValueError` if no interval is given.
        """
        interval_s = minutes * 60 + seconds
        if not (interval_s > 0 or steps > 0):
            raise ValueError("every() needs an interval: every(minutes=10), or every(steps=1000)")
        self._listen()
        busy = self._saving is not None and not self._saving.done
        return self._pace.due(interval_s, steps, busy=busy) or self.requested

    def save(self, state: Any, step: int, *, metrics: Mapping[str, float] | None = None, wait: bool = False) -> Saving:
        """Save `state` as it is now; return while it is being written, unless `wait`.

        `state` is any nesting of dicts, lists, tuples, numbers, strings, bytes, NumPy arrays, tensors, objects with
        `state_dict()` and `files(path)`; or a path alone. Other objects are pickled. At most one save is under way:
        another call waits for it first. `metrics` decide what is best (see `keep`); those logged last count as well.

        A save that fails in the background is logged and leaves the training and the checkpoints before it alone;
        with `wait` it raises `CheckpointError`. `StateError` is raised at once for a state that cannot be saved. After
        a SIGTERM the call waits until the checkpoint is safe and then raises `SystemExit`.
        """
        begin = time.monotonic()
        self._listen()
        number = step_number(step)
        if self._saving is not None:
            self._saving.settle()
        if self._requests is not None:
            self._requests.save = False
        at_once = wait or self._stopping
        parts = Snapshot(state, copy=not at_once).parts()
        known = {**self._metrics, **{name: float(value) for name, value in (metrics or {}).items()}}
        store, keep = self.store, self._keep

        def work() -> Saved:
            saved = store.write(parts, step=number, metrics=known, attempt=self._attempt)
            self._tidy(store, keep)
            return saved

        saving = self._saving = Saving(work, number, lambda error: log.warning("rfsched: %s", error))
        saving.start()
        self._pace.blocked(time.monotonic() - begin)
        if at_once or self._stopping:
            saving.settle()
        if self._stopping:
            raise SystemExit(EXIT_CODE)
        if wait:
            saving.wait()
        return saving

    def wait(self) -> None:
        """Return when no save is under way; one that failed was logged."""
        if self._saving is not None:
            self._saving.settle()

    def load_latest(self, *, allow_pickle: bool = True) -> Restored | None:
        """Return the newest sound checkpoint, None if there is none yet.

        Damaged ones are passed over, and the log says so; `CheckpointError` if all are. Which is newest: those of this
        attempt; then the one the scheduler says to resume from, and what is older; without such a word, all.
        Loading a checkpoint with pickled objects runs their code: `allow_pickle=False` refuses, for places that others
        can write to.
        """
        self.wait()
        start = self._resume_from()
        found = self._newest(self.store, allow_pickle, start[1] if start else None)
        if found is None and start is not None:
            if start[1] not in start[0].names():
                raise CheckpointError(f"checkpoint {start[1]}, to resume from, is not in {start[0].place}: put it back")
            found = self._newest(start[0], allow_pickle, start[1])
        self.restored = found
        return found

    def _newest(self, store: CheckpointStore, allow_pickle: bool, start: str | None) -> Restored | None:
        def load(name: str) -> Restored:
            manifest = store.manifest(name)
            state = restore.state(store.fetch(name), manifest, allow_pickle=allow_pickle)
            return Restored(state, manifest.step, name, f"{store.place}/{name}", manifest.metrics)

        def order(listing: list[str]) -> list[str]:
            if start is None or start not in listing:
                return listing
            at = choosing.position(start, listing)
            return [name for name in listing[:at] if self._is_mine(store, name)] + listing[at:]

        found, skipped = choosing.newest(store, load, order)
        for name, why in skipped.items():
            log.warning("rfsched: checkpoint %s in %s was passed over: %s", name, store.place, why)
        if found is None:
            return None
        if skipped:
            log.warning("rfsched: using the one before: %s, of step %d", found.name, found.step)
        return Restored(found.state, found.step, found.name, found.place, found.metrics, skipped)

    def _is_mine(self, store: CheckpointStore, name: str) -> bool:
        manifest = choosing.manifest_or_none(store, name)
        return manifest is not None and bool(self._attempt) and manifest.attempt == self._attempt

    def _tidy(self, store: CheckpointStore, keep: choosing.Keep) -> None:
        try:
            choosing.prune(store, keep)
        except CheckpointError as error:
            log.warning("rfsched: %s", error)

    def _listen(self) -> None:
        if self._requests is not None:
            self._requests.listen()
