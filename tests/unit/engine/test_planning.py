"""A policy over a workload: what it learns from events, what it keeps, and the words for those who wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Owner, owner_of
from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.attempt import Ended, Exited, Planned
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptPlanned,
    AttemptStarted,
    JobChanged,
    JobRespecified,
    JobSubmitted,
)
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.engine.capacity import Capacity, capacity
from researchflow_tmux.engine.planning.choice import Choice, kept_usage
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Accounts, Claims
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.planning.usage import Kept
from researchflow_tmux.policies.prediction.history import ASSUMED_S, History
from tests.unit.engine.samples import NOW, attempt, device, job

HOUR = timedelta(hours=1)


class Scene:
    """A workload with a policy, and a clock."""

    def __init__(
        self,
        policy: str = "balanced",
        *,
        gpus: int = 2,
        share: float = 1.0,
        kept: Kept | None = None,
        bounds: dict[Owner, Bounds] | None = None,
        **rules: Any,
    ) -> None:
        self.now = NOW
        self.claims = Claims(bounds or {})
        self.workload = Workload()
        self.devices: list[GpuDevice] = [device(index) for index in range(gpus)]
        self.share = share
        self.choice = Choice(self.workload)
        self.choice.use(self.planner(policy, kept, **rules))

    def planner(self, policy: str, kept: Kept | None = None, **rules: Any) -> Planner:
        chosen = PlanRules(policy=POLICIES[policy], **rules)
        return Planner(
            self.workload,
            chosen,
            History(),
            devices=self.devices,
            share=self.share,
            now=self.now,
            kept=kept,
            claims=self.claims,
        )

    @property
    def index(self) -> Any:
        assert self.choice.planner is not None
        return self.choice.planner.index

    def add(self, number: int, *, limit_s: float | None = None, **fields: Any) -> None:
        made = job(number, **fields)
        if limit_s is not None:
            from msgspec.structs import replace

            made = replace(made, spec=replace(made.spec, request=replace(made.spec.request, time_limit_s=limit_s)))
        self.workload.apply(JobSubmitted(job=made), self.now)

    def room(self) -> Capacity:
        running: dict[Owner, AccountUse] = {}
        for live in self.workload.attempts.values():
            if live.grant is None:
                continue
            for owner in map(owner_of, live.grant.owners):
                running[owner] = running.get(owner, NO_USE).plus(AccountUse(running=live.grant.rate))
        accounts = Accounts(self.claims, now=self.now, uses=running, zone=UTC)
        return capacity(self.workload, self.devices, share=self.share, max_cpu_jobs=1, now=self.now, accounts=accounts)

    def start(self) -> list[int]:
        """Decide and start; the jobs by id."""
        starts = self.choice.decide(self.room(), self.now)
        for start in starts:
            number = self.workload.jobs[start.job.id].attempts + 1
            planned = attempt(start.job.id, number, allocation=start.allocation, phase=Planned(at=self.now))
            from msgspec.structs import replace

            planned = replace(planned, planned_at=self.now, grant=start.grant)
            self.workload.apply(AttemptPlanned(attempt=planned), self.now)
            began = AttemptStarted(job_id=start.job.id, number=number, runner_pid=5, started_at=self.now)
            self.workload.apply(began, self.now)
        return [start.job.id for start in starts]

    def end(self, number: int, *, ok: bool = True) -> None:
        live = self.workload.live_attempt(number)
        assert live is not None
        outcome = Exited(code=0 if ok else 1, succeeded=ok)
        started_at = getattr(live.phase, "started_at", None)
        ended = Ended(outcome=outcome, started_at=started_at, ended_at=self.now)
        self.workload.apply(AttemptEnded(job_id=number, number=live.number, ended=ended), self.now)
        state = JobState.SUCCEEDED if ok else JobState.FAILED
        self.workload.apply(JobChanged(job_id=number, state=state, reason=Reason(code=ReasonCode.EXIT_CODE)), self.now)

    def why(self, number: int) -> tuple[ReasonCode, str]:
        reason = self.choice.explain(self.room(), self.now)[number]
        return reason.code, reason.text


def test_it_learns_how_long_jobs_take() -> None:
    scene = Scene(gpus=1)
    for number in (1, 2, 3):
        scene.add(number, name="train")
        assert scene.start() == [number]
        scene.now += number * HOUR
        scene.end(number)
    scene.add(4, name="train")
    assert scene.index.classes.entries[4].estimate.p50_s == 2 * 3600
    scene.add(5, limit_s=60.0, name="other")
    assert scene.index.classes.entries[5].estimate.limit_s == 60.0


def test_what_failed_teaches_nothing_about_durations() -> None:
    scene = Scene(gpus=1)
    for number in (1, 2, 3):
        scene.add(number, name="train")
        scene.start()
        scene.now += HOUR / 60
        scene.end(number, ok=False)
    scene.add(4, name="train")
    assert scene.index.classes.entries[4].estimate.p50_s == ASSUMED_S


def test_what_needs_another_job_is_no_candidate_until_that_one_succeeds() -> None:
    scene = Scene(gpus=2)
    scene.add(1)
    scene.add(2, after=(1,))
    assert scene.start() == [1]
    assert scene.why(2) == (ReasonCode.DEPENDENCY, "j1 (running)")
    scene.now += HOUR
    scene.end(1)
    ready_s = scene.now.timestamp()
    assert ready_s <= scene.index.classes.entries[2].key[2] <= ready_s + 36_000, "its age counts from now on"
    assert scene.start() == [2]


def test_what_much_work_waits_for_comes_first_among_equals() -> None:
    scene = Scene(gpus=1)
    scene.add(1)
    scene.add(2)
    scene.add(3, after=(2,))
    assert scene.start() == [2]


def test_a_deadline_is_passed_back_to_what_the_job_needs() -> None:
    scene = Scene(gpus=1)
    scene.add(1)
    scene.add(2)
    scene.add(3, after=(2,), deadline=NOW + 3 * HOUR)
    assert scene.index.classes.entries[2].deadline_s == (NOW + 2 * HOUR).timestamp()
    assert scene.start() == [2]


def test_a_changed_deadline_counts_at_once() -> None:
    from msgspec.structs import replace

    scene = Scene(gpus=1)
    scene.add(1)
    scene.add(2)
    known = scene.workload.jobs[2]
    due = replace(known, spec=replace(known.spec, deadline=NOW + 2 * HOUR))
    scene.workload.apply(JobRespecified(job_id=2, job=due), scene.now)
    assert scene.start() == [2]


def test_urgent_service_is_a_loan_with_a_limit() -> None:
    scene = Scene(gpus=1, kept=Kept(at_s=NOW.timestamp(), used={"a": 4.1 * 3600, "b": 0.0}))
    scene.add(1, project="b")
    scene.add(2, project="a", deadline=NOW + 2 * HOUR)
    assert scene.start() == [1], "4 GPU-hours for each GPU, and that project had more"
    scene = Scene(gpus=1, kept=Kept(at_s=NOW.timestamp(), used={"a": 3.9 * 3600, "b": 0.0}))
    scene.add(1, project="b")
    scene.add(2, project="a", deadline=NOW + 2 * HOUR)
    assert scene.start() == [2]


def test_usage_outlives_the_scheduler_and_a_running_job_is_charged_once() -> None:
    scene = Scene(gpus=1)
    scene.add(1, project="a")
    scene.start()
    planned = [AttemptPlanned(attempt=attempt(1))]
    meta = scene.choice.meta(planned, scene.now)
    kept = kept_usage(meta["project_usage"])
    assert kept is not None
    scene.now += HOUR / 2
    scene.choice.use(scene.planner("balanced", kept))
    assert scene.index.usage.used("a", scene.now.timestamp()) == pytest.approx(3600, rel=1e-3)
    scene.end(1)
    assert scene.index.usage.used("a", scene.now.timestamp()) == pytest.approx(1800, rel=1e-3)
    assert scene.choice.meta([], scene.now) == {}


def test_without_anything_kept_what_runs_is_charged_from_its_start() -> None:
    scene = Scene(gpus=1)
    scene.add(1, project="a")
    scene.start()
    scene.choice.use(scene.planner("balanced"))
    assert scene.index.usage.used("a", scene.now.timestamp()) == pytest.approx(3600, rel=1e-3)


@pytest.mark.parametrize("meta", [None, "", "{", '{"at_s": "x"}', "[]"])
def test_what_was_kept_and_cannot_be_read_counts_as_nothing(meta: str | None) -> None:
    assert kept_usage(meta) is None


def test_the_queues_own_order_keeps_nothing_and_watches_nothing() -> None:
    scene = Scene()
    scene.choice.use(None)
    scene.add(99)
    assert scene.choice.planner is None
    assert scene.choice.meta([AttemptPlanned(attempt=attempt(1))], scene.now) == {}
    assert scene.choice.due_s(scene.now) == float("inf")


def test_it_asks_again_when_the_reservation_should_have_come_true() -> None:
    scene = Scene("easy_fifo", gpus=2)
    scene.add(1)
    assert scene.start() == [1]
    scene.add(2, gpus=2)
    assert scene.start() == []
    assert scene.choice.due_s(scene.now) == ASSUMED_S


# -- words -------------------------------------------------------------------------------------------------------------


def test_the_reserved_job_says_from_when_and_whose() -> None:
    scene = Scene("easy_fifo", gpus=2)
    scene.add(1)
    scene.start()
    scene.add(2, gpus=2, queued_s=1)
    scene.add(3, queued_s=2, name="long")
    code, text = scene.why(2)
    assert code is ReasonCode.FIRST
    assert text.startswith("2 GPUs from about ")
    assert text.endswith(", when j1 should have ended")
    reason = scene.choice.explain(scene.room(), scene.now)[2]
    assert reason.until == datetime.fromtimestamp(NOW.timestamp() + ASSUMED_S, NOW.tzinfo)
    assert scene.why(3) == (ReasonCode.NEXT, ""), "an hour, and the reservation is an hour from now"


def test_what_would_delay_says_whom() -> None:
    scene = Scene("easy_fifo", gpus=2)
    scene.add(1)
    scene.start()
    scene.now += HOUR / 2
    scene.add(2, gpus=2, queued_s=1)
    scene.add(3, queued_s=2)
    assert scene.why(3) == (ReasonCode.WOULD_DELAY, "j2")
    scene.add(4, queued_s=3, limit_s=60.0)
    assert scene.why(4) == (ReasonCode.NEXT, "")


def test_in_strict_order_the_first_one_says_so() -> None:
    scene = Scene("fifo", gpus=2)
    scene.add(1)
    scene.start()
    scene.add(2, gpus=2, queued_s=1)
    scene.add(3, queued_s=2, limit_s=1.0)
    assert scene.why(2) == (ReasonCode.FIRST, "2 GPUs needed, and nothing passes it")
    assert scene.why(3) == (ReasonCode.BEHIND, "number 2")


def test_the_place_in_the_project_and_what_that_used() -> None:
    scene = Scene(gpus=1, weights={"a": 2.0})
    scene.add(1, project="a")
    scene.start()
    scene.now += HOUR
    scene.add(2, project="a", queued_s=1)
    scene.add(3, project="b", queued_s=2)
    scene.add(4, project="a", queued_s=3)
    assert scene.why(4) == (
        ReasonCode.BEHIND,
        "number 2 of project a, which had 0.999 GPU-hours lately (its running jobs to their end) at weight 2",
    )


def test_a_full_project_and_one_that_can_never_have_so_many() -> None:
    scene = Scene(gpus=4, bounds={Owner("project", "a"): Bounds(gpus=2)})
    for number, gpus in ((1, 1), (2, 2), (3, 3)):
        scene.add(number, project="a", gpus=gpus, queued_s=number)
    assert scene.start() == [1]
    assert scene.why(2) == (ReasonCode.CAP, "project a has 1 of 2 GPUs, 2 needed (max_gpus)")
    assert scene.why(3) == (ReasonCode.IMPOSSIBLE, "it needs 3 GPUs; project a may have 2 (max_gpus)")


def test_a_start_is_charged_what_it_should_take_but_no_more_than_the_loan() -> None:
    scene = Scene(gpus=1)
    for number, limit_s in ((1, 3600.0), (2, 1e6)):
        scene.add(number, limit_s=limit_s, project=f"p{number}", queued_s=number)
        assert scene.start() == [number]
        assert scene.index.usage.used(f"p{number}", scene.now.timestamp()) == pytest.approx(min(limit_s, 4 * 3600.0))
        scene.now += HOUR
        scene.end(number)
        assert scene.index.usage.used(f"p{number}", scene.now.timestamp()) == pytest.approx(3600.0, rel=1e-3)


def test_a_deadline_that_cannot_be_met_is_said() -> None:
    scene = Scene(gpus=1)
    scene.add(1)
    scene.start()
    scene.add(2, deadline=NOW + HOUR / 2)
    code, text = scene.why(2)
    assert code is ReasonCode.DEADLINE
    assert text.endswith("; it would take 1 h")


def test_backoff_holding_and_stopping_keep_their_words() -> None:
    scene = Scene(gpus=1)
    later = Reason(code=ReasonCode.BACKOFF, text="exit code 1", until=NOW + HOUR / 60)
    scene.add(1, not_before=NOW + HOUR / 60, reason=later)
    scene.add(2)
    scene.add(3, state=JobState.HELD)
    assert scene.why(1) == (ReasonCode.BACKOFF, "exit code 1")
    assert scene.start() == [2]
    assert 3 not in scene.choice.explain(scene.room(), scene.now)
    halted = scene.room()
    halted.halted = Reason(code=ReasonCode.STOPPING)
    assert scene.choice.decide(halted, scene.now) == []
    assert scene.choice.explain(halted, scene.now)[1].code is ReasonCode.BACKOFF


def test_an_array_at_its_limit_stands_aside() -> None:
    scene = Scene(gpus=3)
    array = Array(id="7", name="seeds", count=9, first=0, last=8, at_most=1)
    for number in (1, 2):
        scene.add(number, array=array, array_index=number)
    scene.add(3, queued_s=9)
    assert scene.start() == [1, 3]
    assert scene.why(2) == (ReasonCode.ARRAY_FULL, "1 of seeds")


def test_pinned_jobs_get_their_gpu_or_wait_for_it() -> None:
    scene = Scene("easy_fifo", gpus=2)
    scene.add(1, pinned=(0,))
    scene.add(2, pinned=(0,), queued_s=1)
    scene.add(3, pinned=(5,), queued_s=2)
    assert scene.start() == [1]
    assert scene.why(2)[0] is ReasonCode.FIRST
    code, text = scene.why(3)
    assert (code, text) == (ReasonCode.IMPOSSIBLE, "it is pinned to GPU 5; this workspace has GPUs 0, 1")


def test_shares_of_a_gpu_are_slots() -> None:
    scene = Scene(gpus=1, share=0.5)
    for number in (1, 2, 3):
        scene.add(number, queued_s=number)
    assert scene.start() == [1, 2]


def test_cpu_jobs_have_their_own_places() -> None:
    scene = Scene(gpus=1)
    for number, gpus in ((1, 0), (2, 0), (3, 1)):
        scene.add(number, gpus=gpus, queued_s=number)
    assert scene.start() == [1, 3]
    assert scene.why(2)[0] is ReasonCode.CPU_FULL


def test_the_example_of_the_page_on_policies() -> None:
    """docs/explanation/policy.md, step by step."""
    scene = Scene(gpus=2, weights={"vision": 2.0, "text": 1.0})
    guess = {"training": 4.0, "big": 3.0, "probe": 1.0, "sweep": 6.0, "paper": 2.0}
    for name, hours in guess.items():
        for _ in range(3):
            scene.index.estimator.learn(job(99, shell=name, project=_project(name)), hours * 3600)
    scene.add(1, name="training", shell="training", project="vision")
    assert scene.start() == [1]
    scene.add(2, name="big", shell="big", project="text", gpus=2)
    scene.add(3, name="probe", shell="probe", project="vision")
    scene.add(4, name="sweep", shell="sweep", project="vision")
    scene.add(5, name="paper", shell="paper", project="vision", deadline=NOW + 18 * HOUR)
    assert scene.why(2)[0] is ReasonCode.FIRST
    assert scene.start() == [3]
    scene.now += HOUR
    scene.end(3)
    assert scene.start() == [5]
    scene.now += 2 * HOUR
    scene.end(5)
    assert scene.start() == []
    assert scene.why(4) == (ReasonCode.WOULD_DELAY, "big")
    scene.now += HOUR
    scene.end(1)
    assert scene.start() == [2]


def _project(name: str) -> str:
    return "text" if name == "big" else "vision"


@pytest.mark.parametrize("policy", ["balanced", "easy_fifo"])
def test_a_few_are_told_the_same_as_all(policy: str) -> None:
    scene = Scene(policy, gpus=2)
    for number in range(1, 30):
        scene.add(number, project="ab"[number % 2], gpus=1 + number % 2, queued_s=number, limit_s=60.0 * number)
    scene.start()
    everything = scene.choice.explain(scene.room(), scene.now)
    few = scene.choice.explain(scene.room(), scene.now, 12)
    assert len(few) == 12
    assert few == {number: everything[number] for number in few}
    some = scene.choice.explain(scene.room(), scene.now, only=[25, 7, 1, 99])
    assert some == {number: everything[number] for number in (25, 7, 1) if number in everything}
    many = scene.choice.explain(scene.room(), scene.now, only=range(1, 200))
    assert many == everything


def due(scene: Scene, number: int) -> float | None:
    """The deadline that a waiting job has in the eyes of the next decision."""
    scene.index.settle(scene.now)
    entry = scene.index.classes.entries.get(number)
    return None if entry is None or entry.deadline_s is None else (entry.deadline_s - NOW.timestamp()) / 3600


def respecify(scene: Scene, number: int, **fields: Any) -> None:
    from msgspec.structs import replace

    job = scene.workload.jobs[number]
    changed = replace(job, spec=replace(job.spec, **fields))
    scene.workload.apply(JobRespecified(job_id=number, job=changed), scene.now)


def test_a_deadline_that_moves_moves_what_was_passed_back() -> None:
    scene = Scene(gpus=1)
    scene.add(1)
    scene.add(2, after=(1,), limit_s=3600.0, deadline=NOW + 10 * HOUR)
    scene.add(3, after=(1,), limit_s=3600.0, deadline=NOW + 50 * HOUR)
    assert due(scene, 1) == 9.0, "an hour for job 2"
    respecify(scene, 2, deadline=NOW + 5 * HOUR)
    assert due(scene, 1) == 4.0
    respecify(scene, 2, deadline=NOW + 30 * HOUR)
    assert due(scene, 1) == 29.0
    respecify(scene, 2, deadline=None)
    assert due(scene, 1) == 49.0
    scene.workload.apply(
        JobChanged(job_id=3, state=JobState.CANCELLED, reason=Reason(code=ReasonCode.CANCELLED)), scene.now
    )
    assert due(scene, 1) is None, "nobody waits for it in a hurry any more"


def test_the_deadline_of_a_project_is_that_of_its_jobs_without_one() -> None:
    scene = Scene(gpus=1, deadlines={"p": (NOW + 20 * HOUR).timestamp()})
    scene.add(1)
    scene.add(2, after=(1,), limit_s=3600.0, project="p")
    scene.add(3, project="p", deadline=NOW + 90 * HOUR)
    scene.add(4, project="p")
    scene.add(5, project="q")
    assert [due(scene, number) for number in (1, 3, 4, 5)] == [19.0, 90.0, 20.0, None]
    respecify(scene, 4, project="q")
    assert due(scene, 4) is None


def test_a_job_that_is_queued_again_has_its_deadline_again() -> None:
    scene = Scene(gpus=1)
    scene.add(1, deadline=NOW + 10 * HOUR)
    scene.start()
    scene.end(1, ok=False)
    scene.workload.apply(JobChanged(job_id=1, state=JobState.QUEUED, reason=Reason(code=ReasonCode.REQUEUED)), NOW)
    assert due(scene, 1) == 10.0
