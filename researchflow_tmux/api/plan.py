"""`plan`: what will start when and where, with intervals, for jobs, groups, projects and the whole queue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.api.durations import Length, began
from researchflow_tmux.api.etas import group_of, members
from researchflow_tmux.api.foreseeing import scene
from researchflow_tmux.api.plan_tries import Lengths, Tries, in_order
from researchflow_tmux.api.plan_views import NotPlanned, PlannedGroup, PlannedJob, PlanView
from researchflow_tmux.api.scene import Scene
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Ended
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.units import counted
from researchflow_tmux.policies.prediction.forward import TRIES, Span, spread

DECIDED = 500
"""Starts that are found by real decisions; those beyond go by the order of the queue."""
BUDGET_S = 1.0
"""What real decisions may take for all tries; if that is too little for FEW, durations run in the order found."""
FEW = 10
MOST = 5_000
"""Jobs that are laid out at all."""
NEVER = frozenset({ReasonCode.IMPOSSIBLE, ReasonCode.UNKILLED})


def plan(
    workspace: Workspace, *, wanted: Collection[int] | None = None, first: int | None = None, tries: int = TRIES
) -> PlanView:
    """Foresee the queue as it is.

    Args:
        workspace: Whose queue.
        wanted: Only these jobs are listed, by id; None = all.
        first: Only so many that start next, found by real decisions, and nothing beyond: a quick look.
        tries: Times to draw durations for the intervals; 0 = no intervals.

    Raises:
        UsageError: Nothing was ever queued.
        StoreError: The state cannot be read.
        ConfigError, ProbeError: No scheduler runs, and the GPUs cannot be found out.
    """
    clock = SystemClock()
    return _Planning(scene(workspace, clock.now()), workspace, clock.monotonic, first).view(wanted, tries)


def planned(workspace: Workspace, job: Job, *, tries: int = TRIES) -> PlannedJob | None:
    """When one job starts and ends; None = it has ended, or would not start as things are. Raises what `plan` does."""
    if job.state.ended or job.state is JobState.HELD:
        return None
    runs = job.state is JobState.ACTIVE  # then nothing has to be decided before it
    view = plan(workspace, wanted={job.id}, first=0 if runs else None, tries=0 if runs else tries)
    return view.jobs[0] if view.jobs else None


class _Planning:
    """One plan in the making."""

    def __init__(self, scene: Scene, workspace: Workspace, monotonic: Callable[[], float], first: int | None) -> None:
        self._scene, self._workspace, self._first = scene, workspace, first
        self.jobs = {job.id: job for job in scene.jobs}
        self.live = {attempt.job_id: attempt for attempt in scene.attempts if not isinstance(attempt.phase, Ended)}
        self.lengths = Lengths(self._length)
        self._tries = Tries(scene, self.live, self.lengths)
        began_s = monotonic()
        self.found, self._choice = self._scene.foresee(
            lambda job: self.lengths[job.id].middle_s,
            self._tries.ends_of_running(),
            most=DECIDED if first is None else first,
        )
        self._took_s = monotonic() - began_s
        self._left_out: set[int] = set()
        """Jobs so far behind that nothing is said of them."""
        self.beyond = [] if self.found.complete or first is not None else self._beyond()
        self._order = [self._tries.task(self.jobs[job_id]) for job_id in self.found.stays]
        self._order += [self._tries.task(job) for job in self.beyond]
        for job in self.beyond:
            self.lengths[job.id]  # known from now on
        self.spans = self._spans(self._tries.middle())

    @property
    def _sure_until_s(self) -> float:
        """From then on starts depend on jobs of which nothing is known."""
        unknown = (span.start_s for job_id, span in self.spans.items() if not self.lengths[job_id].known)
        return max(min(unknown, default=float("inf")), 0.0)

    def _length(self, job_id: int) -> Length:
        job, attempt = self.jobs[job_id], self.live.get(job_id)
        return self._scene.durations.of(job) if attempt is None else self._scene.durations.of_running(job, attempt)

    def _beyond(self) -> list[Job]:
        """What is too far ahead for decisions, in the order of the queue."""
        choice, room = self._choice, self._scene.room(self._choice.workload)
        waiting = list(choice.workload.queued())
        self._left_out |= {job.id for job in waiting[MOST:]}
        waiting = waiting[:MOST]
        reasons = choice.explain(room(self._scene.now), self._scene.now, len(waiting))
        can = [job for job in waiting if (reason := reasons.get(job.id)) is None or reason.code not in NEVER]
        planner = choice.planner
        if planner is not None:
            can.sort(key=planner.index.key)
        return in_order(can, self.jobs.get)

    def _spans(self, middle: Mapping[int, float]) -> dict[int, Span]:
        now = self._scene.now
        spans = {
            job_id: Span((stay.start_at - now).total_seconds(), (stay.end_at - now).total_seconds())
            for job_id, stay in self.found.stays.items()
        }
        if self.beyond:
            laid = self._tries.laid_out(self._order, middle)
            spans |= {job.id: laid[job.id] for job in self.beyond if job.id in laid}
        return spans

    # -- intervals

    def drawn(self, tries: int) -> list[dict[int, Span]]:
        """Each try: by decisions if there is time for it, else in the order that was found."""
        possible = min(tries, int(BUDGET_S / max(self._took_s, 1e-6)))
        if self.found.complete and possible >= min(tries, FEW):
            return [self._tries.decided(self._tries.drawn(number)) for number in range(possible)]
        laid = self._tries.laid_out(self._order, self._tries.middle())
        return [self._moved(laid, self._tries.laid_out(self._order, self._tries.drawn(n))) for n in range(tries)]

    def _moved(self, middle: Mapping[int, Span], one: Mapping[int, Span]) -> dict[int, Span]:
        """As far from what the decisions said as the try is from its own middle."""
        found = {}
        for job_id, span in one.items():
            whole, by = self.spans.get(job_id), middle.get(job_id)
            if whole is not None and by is not None:
                start_s = whole.start_s + span.start_s - by.start_s
                found[job_id] = Span(start_s, whole.end_s + span.end_s - by.end_s)
        return found

    def _in_the_middle(self, drawn: Sequence[Mapping[int, Span]]) -> dict[int, Span]:
        """The medians of enough tries: jobs that each take their median do not, one after another, take that of all."""
        found, sure_until_s = dict(self.spans), self._sure_until_s
        for job_id, span in self.spans.items() if len(drawn) >= FEW else ():
            starts = sorted(one[job_id].start_s for one in drawn if job_id in one)
            if starts and job_id not in self.live and span.start_s <= sure_until_s:
                start_s = starts[len(starts) // 2]
                found[job_id] = Span(start_s, start_s + self.lengths[job_id].middle_s)
        return found

    # -- the view

    def view(self, wanted: Collection[int] | None, tries: int) -> PlanView:
        drawn = self.drawn(tries)
        self.spans = self._in_the_middle(drawn)
        shown = [job_id for job_id in sorted(self.spans, key=self._place) if wanted is None or job_id in wanted]
        groups = [] if self._first is not None else self._groups(drawn, shown if wanted is not None else None)
        sure_until_s = self._sure_until_s
        machine, settings = self._scene.machine, self._workspace.usable_settings
        return PlanView(
            at=self._scene.now,
            workspace=self._workspace.paths.root,
            running=self._scene.running,
            policy=settings.policy,
            jobs=[self._job(job_id, drawn, sure_until_s) for job_id in shown],
            groups=groups,
            queue=self._group("everything", "queue", self.spans, drawn),
            not_planned=[] if self._first is not None else list(self._not_planned(wanted)),
            tries=len(drawn),
            decided=len(self.found.stays),
            notes=list(self._notes(machine.others)),
        )

    def _place(self, job_id: int) -> tuple[bool, float, int]:
        return (job_id not in self.live, self.spans[job_id].start_s, job_id)

    def _job(self, job_id: int, drawn: Sequence[Mapping[int, Span]], sure_until_s: float) -> PlannedJob:
        job, span, length = self.jobs[job_id], self.spans[job_id], self.lengths[job_id]
        stay = self.found.stays.get(job_id)
        runs = job_id in self.live
        starts = [one[job_id].start_s for one in drawn if job_id in one]
        sure = span.start_s <= sure_until_s
        start = self._between(span.start_s, starts) if starts and not runs and sure else (None, None)
        end = self._end(job_id, drawn) if length.known and sure else (None, None)
        eta_at = self._at(span.end_s) if length.known and sure else None
        deadline = job.spec.deadline
        return PlannedJob(
            id=job_id,
            name=job.name,
            state=str(job.state),
            project=job.spec.project,
            group=job.spec.group,
            gpus=list(stay.gpus) if stay is not None else [],
            gpus_wanted=job.needs.gpus,
            hardware=str(job.needs.hardware) or None,
            start_at=self._at(span.start_s),
            start_low_at=start[0],
            start_high_at=start[1],
            start_known=sure,
            eta_at=eta_at,
            eta_low_at=end[0],
            eta_high_at=end[1],
            source=length.source,
            progress_pct=None if length.fraction is None else round(100.0 * length.fraction, 1),
            deadline=deadline,
            late=None
            if deadline is None or (eta_at is None and deadline > self._scene.now)
            else (eta_at or self._scene.now) > deadline,
            by_order=stay is None,
        )

    def _end(self, job_id: int, drawn: Sequence[Mapping[int, Span]]) -> tuple[datetime | None, datetime | None]:
        """The interval of a job's end: of one that runs, what is known of it alone."""
        attempt, length = self.live.get(job_id), self.lengths[job_id]
        if attempt is not None:
            low_at, high_at = (began(attempt) + timedelta(seconds=each) for each in (length.low_s, length.high_s))
            return max(low_at, self._scene.now), max(high_at, self._scene.now)
        ends = [one[job_id].end_s for one in drawn if job_id in one]
        return self._between(self.spans[job_id].end_s, ends) if ends else (None, None)

    def _groups(self, drawn: Sequence[Mapping[int, Span]], only: Collection[int] | None) -> list[PlannedGroup]:
        found = members(self.jobs[job_id] for job_id in (self.spans if only is None else only))
        return [self._group(name, kind, ids, drawn) for (kind, name), ids in sorted(found.items())]

    def _group(self, name: str, kind: str, ids: Iterable[int], drawn: Sequence[Mapping[int, Span]]) -> PlannedGroup:
        ids = list(ids)
        ends_s = {job_id: self.spans[job_id].end_s for job_id in ids}
        tries = ({job_id: one[job_id].end_s for job_id in ids if job_id in one} for one in drawn)
        known = all(self.lengths[job_id].known for job_id in ids)
        return group_of(name, kind, ids, ends_s, tries, self._scene.now, known=known)

    def _not_planned(self, wanted: Collection[int] | None) -> Iterable[NotPlanned]:
        """What has not started when nothing more can."""
        choice, now = self._choice, self._scene.now
        reasons = choice.explain(self.found.room(now), now, MOST)
        for job in choice.workload.jobs.values():
            left = job.id not in self.spans and job.id not in self._left_out
            if left and job.state in (JobState.QUEUED, JobState.HELD) and (wanted is None or job.id in wanted):
                reason = str(reasons.get(job.id) or job.reason or job.state)
                yield NotPlanned(id=job.id, name=job.name, state=str(job.state), reason=reason)

    def _notes(self, others: int) -> Iterable[str]:
        scene = self._scene
        if not scene.running:
            yield "no scheduler is running: this is what would happen if it were started now"
        if scene.machine.halted is not None:
            yield f"nothing is started just now: {scene.machine.halted}"
        if others:
            yield f"others use {counted(others, 'GPU')}: for how long cannot be known, so they count as free"
        if any(not self.lengths[job_id].known for job_id in self.spans):
            yield "?: a guess: nothing like it (or like what comes before it) has succeeded so far; an hour each"
        if self.beyond:
            yield f"the first {len(self.found.stays)} by real decisions, {len(self.beyond)} after them by their order"
        if self._left_out:
            yield f"nothing is said of the last {counted(len(self._left_out), 'job')} of the queue"

    def _between(self, middle_s: float, tries: Sequence[float]) -> tuple[datetime, datetime]:
        low_s, high_s = spread(tries)
        return self._at(min(low_s, middle_s)), self._at(max(high_s, middle_s))

    def _at(self, seconds: float) -> datetime:
        return self._scene.now + timedelta(seconds=round(max(seconds, 0.0), 3))
