"""Notes when the queue has become empty."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from researchflow_tmux.domain.events import JobChanged, QueueEmpty
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.context import Context


class Emptiness:
    """Watches one engine's queue; `look` once in each tick, before what happened in it is saved."""

    def __init__(self, context: Context) -> None:
        self._it = context
        self._busy = self._has_work()

    def _has_work(self) -> bool:
        return bool(self._it.workload.queue_length or self._it.workload.attempts)

    def look(self, now: datetime) -> None:
        """Note that the last job has ended, in the transaction that says how; not what another process did to jobs."""
        was_busy, self._busy = self._busy, self._has_work()
        if self._busy or not was_busy:
            return
        payloads, _, _ = self._it.workload.take_changes()
        if any(isinstance(payload, JobChanged) and payload.state.ended for payload in payloads):
            counts = Counter(str(job.state) for job in self._it.workload.jobs.values())
            self._it.apply(QueueEmpty(counts={str(state): counts[str(state)] for state in JobState}), now)
