"""What waits for a job: how much work lies behind it, the deadline that leaves it, and its priority."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.planning.urgency import passed_back


class Chains:
    """`uprank` = P50 + the largest uprank behind; `due` = the own deadline, or an earlier one passed back.

    The priority is the own one, or the higher one of what waits for the job: else that would wait for everything in
    between.
    All are made known upwards at once when a job comes. What makes them less pressing (a deadline moved or taken away,
    a job cancelled) is only noted, since many jobs may wait for the same one; `settle` works it out.
    """

    def __init__(
        self, workload: Workload, estimate: Callable[[Job], Estimate], project_due_s: Mapping[str, float] | None = None
    ) -> None:
        """`project_due_s` = when the jobs of a project should have ended that have no deadline of their own."""
        self._workload = workload
        self._estimate = estimate
        self._project_due_s = project_due_s or {}
        self._behind_s: dict[int, float] = {}
        """The largest uprank of what waits for the job."""
        self._due_s: dict[int, float] = {}
        self._asked: dict[int, int] = {}
        """The highest priority of what waits for the job."""
        self._stale: set[int] = set()
        """Jobs that may be pressed less than is noted."""

    def uprank_s(self, job: Job) -> float:
        """Seconds of work on the longest path from the job to an end."""
        return self._estimate(job).p50_s + self._behind_s.get(job.id, 0.0)

    def priority(self, job: Job) -> int:
        """The own one, or a higher one of what waits for the job."""
        return max(job.spec.priority, self._asked.get(job.id, job.spec.priority))

    def due_s(self, job_id: int) -> float | None:
        """When the job should have ended; None = no matter."""
        return self._due_s.get(job_id)

    def add(self, job: Job) -> Iterator[int]:
        """A job came: yields the jobs upstream for which something is different now."""
        own_s = self._own_s(job)
        if own_s is not None:
            self._due_s[job.id] = min(own_s, self._due_s.get(job.id, float("inf")))
        ahead = [job]
        while ahead:
            below = ahead.pop()
            for upstream in map(self._workload.jobs.get, below.spec.after):
                if upstream is not None and not upstream.state.ended and self._press(upstream.id, below):
                    ahead.append(upstream)
                    yield upstream.id

    def change(self, job: Job) -> Iterator[int]:
        """A job that was there is another now; yields as `add`. What it presses less is for `settle`."""
        self._stale.add(job.id)
        self._stale.update(job.spec.after)
        yield from self.add(job)

    def forget(self, job: Job) -> None:
        """The job has ended."""
        self._behind_s.pop(job.id, None)
        self._due_s.pop(job.id, None)
        self._asked.pop(job.id, None)
        self._stale.discard(job.id)
        self._stale.update(job.spec.after)

    def settle(self) -> Iterator[int]:
        """Work out what was noted; yields the jobs for which something is different now."""
        while self._stale:
            job = self._workload.jobs.get(self._stale.pop())
            if job is not None and not job.state.ended and self._work_out(job):
                self._stale.update(job.spec.after)
                yield job.id

    def _work_out(self, job: Job) -> bool:
        """All figures anew, from all that waits for the job; whether that changed anything."""
        waiting = [below for each in self._workload.dependents.get(job.id, ()) if (below := self._waiting(each))]
        behind_s = max(map(self.uprank_s, waiting), default=0.0)
        own_s = self._own_s(job)
        dues = [own_s] if own_s is not None else []
        for below in waiting:
            due_s = self._due_s.get(below.id)
            dues += [] if due_s is None else [passed_back(due_s, self._estimate(below).p80_s)]
        due_s = min(dues, default=None)
        asked = max(map(self.priority, waiting), default=None)
        known = (self._behind_s.get(job.id, 0.0), self._due_s.get(job.id), self._asked.get(job.id))
        self._behind_s[job.id] = behind_s
        self._ask(job.id, asked)
        if due_s is None:
            self._due_s.pop(job.id, None)
        else:
            self._due_s[job.id] = due_s
        return known != (behind_s, due_s, asked)

    def _ask(self, job_id: int, priority: int | None) -> None:
        if priority is None:
            self._asked.pop(job_id, None)
        else:
            self._asked[job_id] = priority

    def _waiting(self, job_id: int) -> Job | None:
        job = self._workload.jobs[job_id]
        return None if job.state.ended else job

    def _own_s(self, job: Job) -> float | None:
        """Its own deadline, else that of its project."""
        if job.spec.deadline is not None:
            return job.spec.deadline.timestamp()
        return None if job.spec.project is None else self._project_due_s.get(job.spec.project)

    def _press(self, upstream: int, below: Job) -> bool:
        """Pass on what waits for `upstream`; whether that changed anything."""
        behind_s = self.uprank_s(below)
        changed = behind_s > self._behind_s.get(upstream, 0.0)
        if changed:
            self._behind_s[upstream] = behind_s
        priority = self.priority(below)
        asked = self._asked.get(upstream)
        if asked is None or priority > asked:
            self._ask(upstream, priority)
            changed = True
        due_s = self._due_s.get(below.id)
        if due_s is not None:
            left_s = passed_back(due_s, self._estimate(below).p80_s)
            if left_s < self._due_s.get(upstream, float("inf")):
                self._due_s[upstream] = left_s
                changed = True
        return changed
