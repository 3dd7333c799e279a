"""Whatever people and GPUs do, under every policy: nothing is booked twice, and nobody is passed for longer than C."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.testing import World

HOUR_S = 3600.0
C_S = 2 * HOUR_S
CAP = 2
STRICT = [replace(POLICIES[name], backfills=False, cap_s=C_S) for name in ("balanced", "fair_share", "fifo")]
"""Without backfill nobody goes first who is not first in the order: that is what C bounds."""
AS_THEY_ARE = [replace(policy, cap_s=C_S) for policy in POLICIES.values()]


class Line(World):
    """A machine that looks, at each start, for whom it has passed."""

    def __init__(self, policy: Policy, gpus: int) -> None:
        self.rules_of_the_line = policy
        self._seen = 0
        super().__init__(gpus=gpus, cpu_jobs=1, projects={"a": {"weight": 2}, "b": {"max_gpus": CAP}})

    def prepare(self, engine: Engine) -> None:
        engine.choice.use(self._planner(engine, self.rules_of_the_line, None))

    def check(self) -> None:
        super().check()
        workload = self.engine.workload
        used = sum(
            len(attempt.allocation.gpus)
            for attempt in workload.attempts.values()
            if workload.jobs[attempt.job_id].spec.project == "b"
        )
        assert used <= CAP, f"project b has {used} GPUs"
        started = [workload.jobs[job_id] for job_id, _ in self.host.starts[self._seen :]]
        self._seen = len(self.host.starts)
        if not self.rules_of_the_line.backfills:
            for job in started:
                self._passed_nobody_for_long(job)

    def _passed_nobody_for_long(self, started: Job) -> None:
        planner = self.engine.choice.planner
        assert planner is not None
        healthy = len(self.devices) - len(self.engine.workload.lost_gpus)
        for entry in planner.index.classes.entries.values():
            job = self.engine.workload.jobs[entry.id]
            if (
                job.spec.project == started.spec.project == "a"
                and (job.spec.request.gpus > 0) == (started.spec.request.gpus > 0)
                and job.spec.request.gpus <= healthy
                and job.spec.priority >= started.spec.priority
                and job.failed_before <= started.failed_before
                and started.spec.deadline is None
            ):
                early_s = (started.queued_at - job.queued_at).total_seconds()
                assert early_s <= C_S + 1.0, f"{started.name}, {early_s:.0f} s later, has passed {job.name}"


class Submitted(NamedTuple):
    """Somebody submits a job."""

    takes_h: float
    gpus: int
    project: str
    priority: int
    due_h: float | None


class Told(NamedTuple):
    """Somebody changes his mind about one of the jobs."""

    what: str
    which: int


class Trouble(NamedTuple):
    """A GPU is lost, or the one that was is back."""

    gpu: int


HAPPENING = st.one_of(
    st.builds(
        Submitted,
        takes_h=st.sampled_from([0.1, 0.5, 3.0, 8.0]),
        gpus=st.sampled_from([1, 1, 1, 2, 4, 0]),
        project=st.sampled_from(["a", "a", "a", "b"]),
        priority=st.sampled_from([0, 0, 0, 0, 1]),
        due_h=st.sampled_from([None, None, None, None, 12.0]),
    ),
    st.builds(Told, what=st.sampled_from(["cancel", "hold", "release", "up", "down"]), which=st.integers(0, 40)),
    st.builds(Trouble, gpu=st.integers(0, 3)),
)


class Story:
    """One machine, and what happens to it."""

    def __init__(self, policy: Policy, gpus: int) -> None:
        self.gpus = gpus
        self.world = Line(policy, gpus)
        self.lost: int | None = None
        self.made = 0
        for number in range(2 * gpus):  # a line from the beginning on
            self.happen(Submitted(1.0 + number % 3, 1, "a", 0, None))

    def happen(self, what: Submitted | Told | Trouble) -> None:
        """Now."""
        match what:
            case Submitted(takes_h, gpus, project, priority, due_h):
                self.made += 1
                self.world.submit(
                    f"j{self.made}",
                    takes=takes_h * HOUR_S,
                    gpus=min(gpus, self.gpus),
                    project=project,
                    priority=priority,
                    deadline=None if due_h is None else due_h * HOUR_S,
                )
            case Told(word, which):
                job = self.world.job(f"j{1 + which % self.made}")
                if word in ("up", "down"):
                    self.world.ask("set", {"ids": [job.id], "values": {"priority": 1 if word == "up" else -1}})
                else:
                    self.world.tell(word, job.name)
            case Trouble(gpu) if self.lost is None and gpu < self.gpus > 1:
                self.lost = gpu
                self.world.gpu_fails(gpu)
            case Trouble() if self.lost is not None:
                self.world.gpu_returns(self.lost)
                self.lost = None

    def end(self) -> None:
        """All is well again, and all that can run does."""
        if self.lost is not None:
            self.happen(Trouble(0))
        self.world._settle()
        jobs = self.world.jobs()
        self.world.tell("release", *(job.name for job in jobs if job.state is JobState.HELD))
        self.world.cancel(*(job.name for job in jobs if job.spec.project == "b" and job.spec.request.gpus > CAP))
        self.world.run_until_idle("60d")
        assert all(job.state.ended for job in self.world.jobs()), "nobody starves"


@given(
    st.sampled_from([1, 2, 4]),
    st.sampled_from([*[STRICT[0]] * 4, *STRICT, *AS_THEY_ARE]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.5, 3.0]), HAPPENING), min_size=5, max_size=25),
)
@settings(max_examples=35, deadline=None)
def test_whatever_happens_nothing_is_booked_twice_and_nobody_is_passed_for_longer_than_c(
    gpus: int, policy: Policy, happenings: list[tuple[float, Submitted | Told | Trouble]]
) -> None:
    story = Story(policy, gpus)
    for after_h, what in happenings:
        story.world.advance(after_h * HOUR_S)
        story.happen(what)
    story.end()


def test_somebody_who_is_passed_for_longer_is_noticed() -> None:
    """So the test above can fail."""
    story = Story(replace(STRICT[0], cap_s=9 * C_S), 1)

    def go_on() -> None:
        for after_h, takes_h in ((0.0, 8.0), (2.5, 0.1), (2.5, 0.1), (9.0, 0.1)):
            story.world.advance(after_h * HOUR_S)
            story.happen(Submitted(takes_h, 1, "a", 0, None))

    with pytest.raises(AssertionError, match="has passed j2"):
        go_on()
