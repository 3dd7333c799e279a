"""How many GPUs of which kind jobs ask for that cannot run on any GPU."""

from __future__ import annotations

from collections import Counter

from researchflow_tmux.domain.hardware import NO_HARDWARE, Hardware
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.resources import ResourceRequest


class Choosy:
    """Counted while jobs come, change and go."""

    def __init__(self) -> None:
        self.waiting: Counter[Hardware] = Counter()
        """Of queued jobs."""
        self.known: Counter[Hardware] = Counter()
        """Of all jobs, whatever became of them."""

    def queue(self, request: ResourceRequest, change: int) -> None:
        """A job was queued (+1), or is not any more (-1)."""
        _count(self.waiting, request, change)

    def replace(self, before: Job | None, job: Job | None) -> None:
        """A job is as it is now; None = it is (or was) not known."""
        if before is not None and job is not None and before.spec.request is job.spec.request:
            return
        if job is not None:
            _count(self.known, job.spec.request, 1)
        if before is not None:
            _count(self.known, before.spec.request, -1)


def _count(counter: Counter[Hardware], request: ResourceRequest, change: int) -> None:
    kind = request.hardware
    if kind is NO_HARDWARE or not request.gpus or not kind.choosy:
        return
    counter[kind] += change * request.gpus
    if not counter[kind]:
        del counter[kind]
