"""What waits for a job: how much work lies behind it, and the deadline that leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.planning.urgency import passed_back


class Chains:
    """`uprank` = P50 + the largest uprank behind; `due` = the own deadline, or an earlier one passed back.

    Both are made known upwards when a job comes, and only ever grow more pressing: what is taken back later (a job
    cancelled, a deadline moved) counts from the next start of the scheduler on.
    """

    def __init__(self, workload: Workload, estimate: Callable[[Job], Estimate]) -> None:
        self._workload = workload
        self._estimate = estimate
        self._behind_s: dict[int, float] = {}
        """The largest uprank of what waits for the job."""
        self._due_s: dict[int, float] = {}

    def uprank_s(self, job: Job) -> float:
        """Seconds of work on the longest path from the job to an end."""
        return self._estimate(job).p50_s + self._behind_s.get(job.id, 0.0)

    def due_s(self, job_id: int) -> float | None:
        """When the job should have ended; None = no matter."""
        return self._due_s.get(job_id)

    def add(self, job: Job) -> Iterator[int]:
        """A job came (or changed): yields the jobs upstream for which something is different now."""
        own = job.spec.deadline
        if own is not None:
            self._due_s[job.id] = min(own.timestamp(), self._due_s.get(job.id, float("inf")))
        ahead = [job]
        while ahead:
            below = ahead.pop()
            for upstream in map(self._workload.jobs.get, below.spec.after):
                if upstream is not None and not upstream.state.ended and self._press(upstream.id, below):
                    ahead.append(upstream)
                    yield upstream.id

    def forget(self, job_id: int) -> None:
        """The job has ended."""
        self._behind_s.pop(job_id, None)
        self._due_s.pop(job_id, None)

    def _press(self, upstream: int, below: Job) -> bool:
        """Pass on what waits for `upstream`; whether that changed anything."""
        behind_s = self.uprank_s(below)
        changed = behind_s > self._behind_s.get(upstream, 0.0)
        if changed:
            self._behind_s[upstream] = behind_s
        due_s = self._due_s.get(below.id)
        if due_s is not None:
            left_s = passed_back(due_s, self._estimate(below).p80_s)
            if left_s < self._due_s.get(upstream, float("inf")):
                self._due_s[upstream] = left_s
                changed = True
        return changed
