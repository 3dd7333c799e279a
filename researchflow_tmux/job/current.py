"""The job that this process belongs to."""

from __future__ import annotations

import os
from functools import lru_cache

from . import environment, opening
from .checkpointer import Checkpointer
from .reports import Metrics, Progress
from .stop_requests import Requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .store import CheckpointStore


class Job:
    """What a script may ask of, and tell about, the job it runs in.

    Outside of a job the same calls work: checkpoints go to `./checkpoints/SCRIPT-DIGEST/` (the digest is that of the
    arguments, so another experiment has another place; RFSCHED_CHECKPOINT_DIR names one), metrics and progress go
    nowhere, and signals do what they always do.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._told = environment.read(os.environ if variables is None else variables)
        self._metrics = Metrics(self._told.metrics, self._told.attempt)
        self._progress = Progress(self._told.progress)
        self.checkpoint = Checkpointer(
            self._open_store,
            attempt=self._told.tag,
            resume_from=self._resume_from,
            requests=Requests() if self._told.tag else None,
            metrics=self._metrics.latest,
        )
        """Saving and resuming: `save`, `load_latest`, `every`, `keep`."""

    @property
    def scheduled(self) -> bool:
        """Whether the scheduler started this process, or one it comes from."""
        return bool(self._told.tag)

    @property
    def name(self) -> str:
        """The job's name; outside of a job the script's."""
        return self._told.name

    @property
    def attempt(self) -> int:
        """Which execution of the job this is, from 1."""
        return self._told.attempt

    @property
    def output_dir(self) -> str:
        """Where results belong; outside of a job, and if the job names none, the working directory."""
        return self._told.output_dir

    @property
    def resumed_from(self) -> str | None:
        """Path or URL of the checkpoint that `load_latest` loaded; before, the one to resume from; None: no such."""
        restored = self.checkpoint.restored
        return restored.place if restored else self._told.resume_from

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record a metric: `job.log_metric("accuracy", 0.93, step=10)`. NumPy's and PyTorch's numbers do as well.

        `TypeError` or `ValueError` for what is no number; a file that cannot be written is logged, not raised.
        """
        self._metrics.add(name, value, step)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the job is: `progress(0.4)`, or `progress(step, steps)` in any unit. Cheap enough for each step.

        `ValueError` for what is not a number; a file that cannot be written is logged, not raised.
        """
        self._progress.set(done, total)

    def _open_store(self) -> CheckpointStore:
        return opening.open_store(self._told.checkpoint_dir, self._told.provider)

    def _resume_from(self) -> tuple[CheckpointStore, str] | None:
        place = self._told.resume_from
        return None if place is None else opening.open_checkpoint(place, self._told.provider)


@lru_cache(maxsize=None)  # noqa: UP033 - Python 3.8 has no `cache`
def current_job() -> Job:
    """Return the job this process runs in, by its environment; the same object each time."""
    return Job()
