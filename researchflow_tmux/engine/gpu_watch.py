"""What the engine makes of readings of GPUs beyond the room on them: which are lost, back, or have nothing to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Stopping
from researchflow_tmux.domain.events import GpuChanged, GpuIdle, JobChanged, Notice
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuDevice, GpuReading
from researchflow_tmux.engine import by_hand, steering
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.policies.gpu_health import GpuHealth, Verdict, harmless_xids
from researchflow_tmux.policies.idleness import IdleGpus
from researchflow_tmux.policies.retry import GPU_LOST, MAX_GPU_LOSSES

SLACK_S = 1.0
"""A job that died of its GPU may be seen to end a moment before the last reading that was still good."""


class GpuWatch:
    """Watches the GPUs of one engine. What it applies is saved by the next tick."""

    def __init__(self, context: Context) -> None:
        self._it = context
        self._health = GpuHealth()
        self._idle = IdleGpus()

    # -- lost and back -------------------------------------------------------------------------------------------------

    def see(self, readings: Iterable[GpuReading], at_s: float, devices: Iterable[GpuDevice]) -> None:
        """Take in one reading of all GPUs, made at the monotonic time `at_s`; those of `devices` are ours to use."""
        ours = {device.uuid: device.index for device in devices}
        # A driver that has lost one may count the others anew; people know ours by the numbers they had.
        mine = [replace(each, index=ours[each.uuid]) for each in readings if each.uuid in ours]
        lost = {gpu.uuid: gpu.losses for gpu in self._it.workload.gpus.values() if gpu.lost_at is not None}
        book = Book(self._it.workload, self._it.clock.now())
        for reading in mine:
            for xid in harmless_xids(reading):
                text = f"GPU {reading.index}: the driver reports Xid {xid} (most likely a job's own fault)"
                book.apply(Notice(text=text, level="warning"))
        for verdict in self._health.see(mine, at_s, lost):
            (self._lose if verdict.lost else self._take_back)(book, verdict)

    @property
    def any_lost(self) -> bool:
        """Whether a GPU counts as lost: then every reading matters."""
        return any(gpu.lost_at is not None for gpu in self._it.workload.gpus.values())

    def _lose(self, book: Book, verdict: Verdict) -> None:
        """Start nothing there any more; its jobs are stopped, and wait for another GPU once they are proven dead."""
        before = steering.condition(book, verdict.uuid, verdict.index)
        gpu = replace(before, lost_at=book.now, lost_why=verdict.why, losses=before.losses + 1)
        book.apply(GpuChanged(gpu=gpu, text=f"is lost: {verdict.why}; nothing starts there until it reads well again"))
        for job_id in steering.jobs_on(book, [verdict.uuid]):
            attempt = book.workload.live_attempt(job_id)
            if attempt is not None and not isinstance(attempt.phase, Stopping):
                grace_s = self._it.rules.stop_grace_s
                by_hand.stop_attempt(book, book.workload.jobs[job_id], by=GPU_LOST, grace_s=grace_s)
        self._revive(book, verdict)

    def _revive(self, book: Book, verdict: Verdict) -> None:
        """Queue the jobs again that failed between the last good reading and the loss: they died of it."""
        since_s = float("inf") if verdict.well_until_s is None else verdict.well_until_s - SLACK_S
        for failure in self._it.lately_failed:
            job = book.workload.jobs.get(failure.job_id)
            fits = verdict.uuid in failure.gpus and failure.at_s >= since_s
            if fits and job is not None and job.state is JobState.FAILED and job.attempts == failure.number:
                if job.gpu_losses >= MAX_GPU_LOSSES:
                    continue
                reason = Reason(code=ReasonCode.REQUEUED, text=f"GPU {verdict.index} was lost when it failed")
                losses = job.gpu_losses + 1
                book.apply(JobChanged(job_id=job.id, state=JobState.QUEUED, reason=reason, gpu_losses=losses))
                by_hand.revive_dependents(book, job.id, by="scheduler")

    def _take_back(self, book: Book, verdict: Verdict) -> None:
        before = steering.condition(book, verdict.uuid, verdict.index)
        gpu = replace(before, lost_at=None, lost_why="")
        book.apply(GpuChanged(gpu=gpu, text="reads well again and is used again" if gpu.usable else "reads well again"))

    # -- idle ----------------------------------------------------------------------------------------------------------

    def tell_idle(self, free: Sequence[GpuDevice], now: datetime) -> None:
        """Tell of the GPUs that have had no job for long enough; `free` = those that could be used and have none."""
        by_uuid = {device.uuid: device for device in free}
        found = self._idle.see(by_uuid, self._it.clock.monotonic(), self._it.rules.gpu_idle_s)
        for uuid, idle_s in found.items():
            since, waiting = now - timedelta(seconds=idle_s), self._it.workload.queue_length
            index = by_uuid[uuid].index
            self._it.apply(GpuIdle(uuid=uuid, index=index, since=since, idle_s=round(idle_s, 3), waiting=waiting), now)

    def due_s(self) -> float:
        """Seconds until a GPU becomes idle if nothing happens."""
        return self._idle.due_s(self._it.clock.monotonic(), self._it.rules.gpu_idle_s)
