"""The plan of a workspace: what it says of jobs, groups and the queue, and what it says it cannot know."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from researchflow_tmux.adapters import foreseen_file, live_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
from researchflow_tmux.adapters.job_progress import Followed
from researchflow_tmux.adapters.lesson_store import LessonStore
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.api.accuracy import accuracy
from researchflow_tmux.api.etas import eta_of
from researchflow_tmux.api.handles import handle_of
from researchflow_tmux.api.plan import plan
from researchflow_tmux.api.plan_tries import in_order
from researchflow_tmux.api.plan_views import PlannedJob, PlanView
from researchflow_tmux.api.totals import totals
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.cli.explaining import planned_words
from researchflow_tmux.cli.main import cli
from researchflow_tmux.cli.planning import accuracy_table, blocks
from researchflow_tmux.cli.times import between, when
from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.gpus import META_CONDITIONS, GpuCondition, encode_conditions
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuShare
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.fingerprint import fingerprint
from researchflow_tmux.policies.prediction.history import Lesson
from researchflow_tmux.policies.prediction.log_lines import Printed
from researchflow_tmux.policies.prediction.progress import Track
from researchflow_tmux.policies.prediction.running import Foresight
from tests.unit.engine.samples import attempt, device, job

NOW = SystemClock().now()


class Bench:
    """A workspace with two simulated GPUs that no scheduler has."""

    def __init__(self, root: Path, policy: str = "queue") -> None:
        (root / "configs").mkdir()
        (root / "scheduler_config.yml").write_text(f"task_name: t\ngpu_count: simulated:2\npolicy: {policy}\n")
        self.workspace = Workspace(root)
        self.paths = self.workspace.paths
        os.makedirs(self.paths.state)
        self.store = SqliteStore(self.paths.database, boot_id="b")
        self.jobs: list[Job] = []
        self.attempts: list[Attempt] = []

    def add(self, name: str, **fields: Any) -> int:
        number = len(self.jobs) + 1
        made = job(number, fields.pop("state", JobState.QUEUED), name=name, **fields)
        self.jobs.append(replace(made, queued_at=NOW + timedelta(seconds=number)))
        return number

    def limited(self, name: str, limit_s: float, **fields: Any) -> int:
        number = self.add(name, **fields)
        spec = self.jobs[-1].spec
        self.jobs[-1] = replace(self.jobs[-1], spec=replace(spec, request=replace(spec.request, time_limit_s=limit_s)))
        return number

    def took(self, *lengths_s: float, shell: str = "true") -> None:
        store = LessonStore(self.paths.predictions)
        for project in (None, "p", "p0", "p1"):
            mark = fingerprint(job(1, shell=shell, project=project).spec)
            store.add([Lesson(mark, length_s) for length_s in lengths_s], [], 0)
        store.close()

    def plan(self, **how: Any) -> PlanView:
        self.store.commit([], self.jobs, self.attempts, at=NOW)
        return plan(self.workspace, **how)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def seconds(view: PlanView, moment: datetime | None) -> float:
    assert moment is not None
    return (moment - view.at).total_seconds()


def by_name(view: PlanView) -> dict[str, PlannedJob]:
    return {each.name: each for each in view.jobs}


def test_a_queue_is_foreseen_with_intervals(bench: Bench) -> None:
    bench.took(90.0, 100.0, 110.0)
    for name in ("a", "b", "c"):
        bench.add(name, group="g", project="p")
    view = bench.plan()
    jobs = by_name(view)
    assert [each.name for each in view.jobs] == ["a", "b", "c"]
    assert [each.gpus for each in view.jobs] == [[0], [1], [0]]
    assert seconds(view, jobs["a"].start_at) == 0.0
    assert seconds(view, jobs["a"].eta_at) == 100.0
    assert seconds(view, jobs["c"].start_at) == pytest.approx(96.0, abs=8.0), "the first of two that take 90 to 110 s"
    low_s, high_s = (seconds(view, each) for each in (jobs["c"].eta_low_at, jobs["c"].eta_high_at))
    assert 150.0 < low_s <= 200.0 <= high_s < 250.0
    assert [(group.kind, group.name, group.jobs) for group in view.groups] == [("group", "g", 3), ("project", "p", 3)]
    assert seconds(view, view.queue.eta_at) == pytest.approx(200.0, abs=40.0)
    assert (view.tries, view.decided, view.running) == (50, 3, False)
    assert "if it were started now" in view.notes[0]


def test_the_same_state_gives_the_same_plan(bench: Bench) -> None:
    bench.took(50.0, 100.0, 200.0)
    for number in range(12):
        bench.add(f"j{number}")
    first, second = bench.plan(), bench.plan()
    for one, other in zip(first.jobs, second.jobs, strict=True):
        assert seconds(first, one.eta_high_at) == pytest.approx(seconds(second, other.eta_high_at), abs=0.01)


def test_with_little_time_there_are_fewer_tries_and_with_less_they_keep_the_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.took(50.0, 100.0, 200.0)
    for number in range(6):
        bench.add(f"j{number}")
    monkeypatch.setattr("researchflow_tmux.api.plan.BUDGET_S", 0.0)
    by_order = bench.plan()
    monkeypatch.setattr("researchflow_tmux.api.plan.BUDGET_S", 1e9)
    decided = bench.plan()
    assert (by_order.tries, decided.tries) == (50, 50)
    for one, other in zip(by_order.jobs, decided.jobs, strict=True):
        assert seconds(by_order, one.start_at) == pytest.approx(seconds(decided, other.start_at), abs=0.01)
        assert one.eta_high_at is not None
        assert other.eta_high_at is not None
    monkeypatch.setattr("researchflow_tmux.api.plan.FEW", 51)
    monkeypatch.setattr("researchflow_tmux.api.plan.BUDGET_S", 0.0)
    assert bench.plan(tries=3).tries == 3


def test_what_nothing_is_known_of_has_no_end(bench: Bench) -> None:
    bench.add("a")
    view = bench.plan()
    [only] = view.jobs
    assert (only.source, only.eta_at, only.eta_low_at) == ("assumed", None, None)
    assert view.queue.eta_at is None
    assert any("an hour each" in note for note in view.notes)


def test_what_comes_after_something_unknown_is_a_guess(bench: Bench) -> None:
    bench.add("unknown", gpus=2)
    bench.limited("after", 60.0)
    view = bench.plan()
    first, second = view.jobs
    assert (first.start_known, second.start_known) == (True, False)
    assert (second.eta_at, second.start_low_at) == (None, None)
    assert seconds(view, second.start_at) == 3600.0


def test_one_job_can_be_asked_about(bench: Bench) -> None:
    bench.took(10.0, 10.0, 10.0)
    for name in ("a", "b", "c"):
        bench.add(name)
    bench.add("held", state=JobState.HELD)
    bench.plan()
    handle = handle_of(bench.workspace, 3, "c")
    found = handle.eta()
    assert found is not None
    assert found.start_low_at is not None
    assert found.start_low_at <= found.start_at
    assert (found.eta_at - found.start_at).total_seconds() == 10.0 if found.eta_at else False
    assert handle_of(bench.workspace, 4, "held").eta() is None
    bench.jobs[2] = replace(bench.jobs[2], state=JobState.SUCCEEDED)
    bench.plan()
    assert handle.eta() is None


def test_words_of_why(bench: Bench) -> None:
    bench.took(10_000.0, 10_000.0, 10_000.0)
    for name in ("a", "b", "c"):
        bench.add(name)
    view = bench.plan()
    now, later = by_name(view)["a"], by_name(view)["c"]
    assert next(planned_words(now, view.at)).startswith("likely to start now on GPU 0, and to end ≈ ")
    assert next(planned_words(later, view.at)).startswith("likely to start ≈ ")
    guess = msgspec.structs.replace(later, start_known=False, eta_at=None)
    assert "a guess" in next(planned_words(guess, view.at))
    running = msgspec.structs.replace(now, state="running", progress_pct=40.0)
    assert next(planned_words(running, view.at)).endswith("40 % done")
    assert list(planned_words(msgspec.structs.replace(running, eta_at=None), view.at)) == []
    assert list(planned_words(None, view.at)) == []


# -- the quick look of status ------------------------------------------------------------------------------------------


def live_of(bench: Bench, *, gpus: int = 2, halt: Reason | None = None) -> live_file.Live:
    devices = [device(index) for index in range(gpus)]
    return live_file.snapshot(
        now=NOW, started_at=NOW, session="s", devices=devices, readings=[], blocked={}, tickets=[], share=1.0,
        cpu_places=1, halt=halt,
    )  # fmt: skip


def test_totals_are_of_everything_and_of_each_group(bench: Bench) -> None:
    bench.took(*[100.0] * 30)
    for number in range(6):
        bench.add(f"j{number}", group="g" if number < 2 else None, project="p")
    everything, group, project = totals(bench.paths, Workload(bench.jobs), live_of(bench), {}, NOW)
    assert (everything.kind, everything.jobs, group.jobs, project.jobs) == ("queue", 6, 2, 6)
    assert everything.eta_at is not None
    assert group.eta_at is not None
    assert (everything.eta_at - NOW).total_seconds() == pytest.approx(300.0, rel=0.2)
    assert (group.eta_at - NOW).total_seconds() == pytest.approx(100.0, rel=0.2)
    assert group.eta_low_at is not None
    assert group.eta_high_at is not None


def test_totals_say_nothing_where_nothing_is_known(bench: Bench) -> None:
    bench.add("a")
    [everything] = totals(bench.paths, Workload(bench.jobs), live_of(bench), {}, NOW)
    assert everything.eta_at is None
    stopped = Reason(code=ReasonCode.NO_SCHEDULER)
    assert totals(bench.paths, Workload(bench.jobs), live_of(bench, halt=stopped), {}, NOW) == []
    assert totals(bench.paths, Workload(), live_of(bench), {}, NOW) == []
    many = [job(number) for number in range(1, 1200)]
    assert totals(bench.paths, Workload(many), live_of(bench), {}, NOW) == []


def test_an_end_that_should_have_been_says_nothing_any_more() -> None:
    live = attempt(1, 1, Running(started_at=NOW, runner_pid=1))
    foresight = Foresight(total_s=100.0, low_s=90.0, high_s=120.0, source="progress", fraction=0.5)
    known = ForeseenAttempt(job_id=1, number=1, started_at=NOW, foresight=foresight)
    assert eta_of(live, known, NOW).at == NOW + timedelta(seconds=100)
    late = eta_of(live, known, NOW + timedelta(seconds=110))
    assert late.at == NOW + timedelta(seconds=110), "never in the past"
    gone = eta_of(live, known, NOW + timedelta(seconds=130))
    assert (gone.at, gone.progress_pct) == (None, 50.0)
    other = attempt(1, 2, Running(started_at=NOW, runner_pid=1))
    assert eta_of(other, known, NOW).progress_pct is None, "of the attempt before"


def test_a_time_limit_is_an_end(bench: Bench) -> None:
    bench.limited("a", 60.0)
    view = bench.plan()
    assert (view.jobs[0].source, seconds(view, view.jobs[0].eta_at)) == ("limit", 60.0)


def test_a_deadline_that_will_be_missed_is_told(bench: Bench) -> None:
    bench.took(100.0, 100.0, 100.0)
    bench.add("early", deadline=NOW + timedelta(seconds=50))
    bench.add("fine", deadline=NOW + timedelta(hours=9))
    assert [each.late for each in bench.plan().jobs] == [True, False]


def test_a_deadline_that_is_over_is_missed_however_long_it_takes(bench: Bench) -> None:
    bench.add("over", deadline=NOW - timedelta(seconds=50))
    bench.add("open", deadline=NOW + timedelta(hours=9))
    assert [(each.eta_at, each.late) for each in bench.plan().jobs] == [(None, True), (None, None)]


def test_a_changed_priority_is_seen_at_once(bench: Bench) -> None:
    bench.took(100.0, 100.0, 100.0)
    for name in ("a", "b", "c"):
        bench.add(name)
    assert [each.name for each in bench.plan(first=2, tries=0).jobs] == ["a", "b"]
    bench.jobs[2] = replace(bench.jobs[2], spec=replace(bench.jobs[2].spec, priority=5))
    quick = bench.plan(first=2, tries=0)
    assert quick.jobs[0].name == "c" or quick.jobs[1].name == "c"
    assert quick.groups == []
    assert quick.jobs[0].eta_low_at is None


def test_what_runs_goes_by_its_progress(bench: Bench) -> None:
    number = bench.add("a", state=JobState.ACTIVE, attempts=1)
    bench.add("b", gpus=2)
    began = NOW - timedelta(seconds=400)
    place = Allocation(gpus=(GpuShare(uuid=_uuid(bench, 0), index=0, share=1.0),))
    bench.attempts.append(attempt(number, 1, Running(started_at=began, runner_pid=1), allocation=place))
    track = Track(source="progress")
    for pct in range(41):
        track.see(pct / 100, began.timestamp() + pct * 10.0)
    followed = Followed(track=track, printed=Printed())
    known = ForeseenAttempt(job_id=number, number=1, started_at=began, followed=followed)
    foreseen_file.write(bench.paths.foreseen, foreseen_file.Foreseen(at=NOW, attempts=(known,)))
    bench.workspace.settle = lambda: None  # type: ignore[method-assign]
    view = bench.plan()
    jobs = by_name(view)
    assert (jobs["a"].source, jobs["a"].progress_pct) == ("progress", 40.0)
    assert seconds(view, jobs["a"].eta_at) == pytest.approx(600.0, abs=30.0)
    assert seconds(view, jobs["b"].start_at) == pytest.approx(seconds(view, jobs["a"].eta_at), abs=30.0)
    assert seconds(view, jobs["b"].start_high_at) > seconds(view, jobs["b"].start_at)


@pytest.mark.parametrize("policy", ["queue", "balanced"])
def test_caps_and_budgets_hold_ahead(tmp_path: Path, policy: str) -> None:
    bench = Bench(tmp_path, policy)
    with open(tmp_path / "scheduler_config.yml", "a") as file:
        file.write("projects: {a: {max_gpus: 1}, b: {gpu_hours: 1.5, period: total}}\n")
    for name in ("a1", "a2"):
        bench.limited(name, 100.0, project="a")
    for name in ("b1", "b2"):
        bench.limited(name, 3600.0, project="b")
    view = bench.plan()
    jobs = by_name(view)
    assert seconds(view, jobs["a2"].start_at) >= 99.0, "one at a time"
    assert {each.name for each in view.not_planned} == {"b2"}, "what b1 uses is used up"
    assert "GPU-hours needed" in view.not_planned[0].reason


def test_what_will_not_start_is_told_with_its_reason(bench: Bench) -> None:
    bench.took(10.0, 10.0, 10.0)
    bench.add("wide", gpus=9)
    bench.add("held", state=JobState.HELD)
    bench.add("after", after=(2,))
    bench.add("fine")
    view = bench.plan()
    assert [each.name for each in view.jobs] == ["fine"]
    assert {each.name for each in view.not_planned} == {"wide", "held", "after"}
    assert all(each.reason for each in view.not_planned)


def test_only_what_is_asked_for_is_listed(bench: Bench) -> None:
    bench.took(10.0, 10.0, 10.0)
    for name in ("a", "b", "c"):
        bench.add(name, group="g" if name != "a" else None)
    view = bench.plan(wanted={2, 3})
    assert [each.name for each in view.jobs] == ["b", "c"]
    assert view.groups[0].jobs == 2
    assert view.queue.jobs == 3


def test_drained_gpus_are_not_counted_on(bench: Bench) -> None:
    bench.took(10.0, 10.0, 10.0)
    bench.add("a")
    bench.add("b")
    drained = GpuCondition(uuid="simulated-0", index=0, drained_by="me", drained_at=NOW)
    uuid = _uuid(bench, 0)
    conditions = encode_conditions({uuid: replace(drained, uuid=uuid)})
    bench.store.commit([], bench.jobs, [], at=NOW, meta={META_CONDITIONS: conditions})
    view = bench.plan()
    assert [each.gpus for each in view.jobs] == [[1], [1]]


def _uuid(bench: Bench, index: int) -> str:
    from researchflow_tmux.api.foreseeing import _machine

    return next(device.uuid for device in _machine(bench.workspace).devices if device.index == index)


@pytest.mark.parametrize("policy", ["queue", "balanced"])
def test_far_ahead_it_goes_by_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    monkeypatch.setattr("researchflow_tmux.api.plan.DECIDED", 4)
    bench = Bench(tmp_path, policy)
    bench.took(10.0, 10.0, 10.0)
    bench.add("first")
    for number in range(2, 12):
        bench.add(f"j{number}", after=(number - 1,) if number % 5 == 0 else (), project=f"p{number % 2}")
    bench.add("wide", gpus=9)
    view = bench.plan()
    assert len(view.jobs) == 11
    assert [each.by_order for each in view.jobs] == [False] * view.decided + [True] * (11 - view.decided)
    assert seconds(view, view.jobs[-1].start_at) == pytest.approx(50.0, abs=10.1)
    assert any("after them by their order" in note for note in view.notes)
    assert view.jobs[-1].gpus == []


def test_of_a_very_long_queue_the_end_is_left_out_and_said_to_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("researchflow_tmux.api.plan.DECIDED", 2)
    monkeypatch.setattr("researchflow_tmux.api.plan.MOST", 3)
    bench.took(10.0, 10.0, 10.0)
    for number in range(9):
        bench.add(f"j{number}")
    bench.add("held", state=JobState.HELD)
    view = bench.plan()
    assert len(view.jobs) == view.queue.jobs == view.decided + 3
    assert [each.name for each in view.not_planned] == ["held"]
    assert f"nothing is said of the last {9 - len(view.jobs)} jobs of the queue" in view.notes


def test_jobs_come_after_those_they_need() -> None:
    jobs = [job(1, after=(3,)), job(2), job(3, after=(2, 9)), job(4, after=(5,)), job(5, after=(4,))]
    by_id = {each.id: each for each in jobs}
    assert [each.id for each in in_order(jobs, by_id.get)][:3] == [2, 3, 1]
    assert len(in_order(jobs, by_id.get)) == 5, "a circle does not hang it"


def test_nothing_queued_is_said_as_everywhere(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\n")
    with pytest.raises(UsageError, match="nothing was queued"):
        plan(Workspace(tmp_path))


# -- accuracy ----------------------------------------------------------------------------------------------------------


def _made(project: str | None, ended_at: float, predicted_s: float = 110.0) -> Made:
    return Made(ended_at, 1, 1, "n", project, None, "started", "history", 100.0, predicted_s, 90.0, 120.0)


def test_accuracy_is_of_a_time_and_of_a_project(bench: Bench) -> None:
    store = LessonStore(bench.paths.predictions)
    store.add([], [_made("p", 1000.0), _made("q", 2000.0, 300.0)], 0)
    store.close()
    assert [row.predictions for row in accuracy(bench.workspace)] == [2]
    assert [row.within_15_pct for row in accuracy(bench.workspace, project="p")] == [100.0]
    since = datetime.fromtimestamp(1500.0, NOW.tzinfo)
    assert [row.off_by_2 for row in accuracy(bench.workspace, since=since)] == [100.0]


def test_a_damaged_file_is_said(bench: Bench) -> None:
    Path(bench.paths.predictions).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="cannot be read"):
        accuracy(bench.workspace)


# -- the command -------------------------------------------------------------------------------------------------------


def run(bench: Bench, *args: str) -> str:
    bench.store.commit([], bench.jobs, [], at=NOW)
    result = CliRunner().invoke(cli, ["-w", bench.paths.root, "plan", *args])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_says_when_and_where(bench: Bench) -> None:
    bench.took(90.0, 100.0, 110.0)
    for number in range(25):
        bench.add(f"job{number}", group="g")
    bench.add("late", deadline=NOW + timedelta(seconds=1))
    bench.add("held", state=JobState.HELD)
    shown = run(bench)
    assert "… and 6 more; --full lists them" in shown
    assert "held (27) would not start: held" in shown
    assert "group g" in shown
    assert "everything  26 jobs" in shown.replace("   ", "  ")
    assert "late: due" in run(bench, "--full")
    assert len(run(bench, "--quick", "--most", "2").splitlines()) < 12


@pytest.mark.parametrize("width", [60, 80, 140])
def test_it_fits_the_terminal(bench: Bench, width: int) -> None:
    from researchflow_tmux.cli.layout import render

    bench.took(9_000.0, 100_000.0, 700_000.0)
    bench.add("a_long_name_that_goes_on_and_on_for_a_while_because_people_do_that")
    bench.add("b", gpus=2, project="vision")
    view = bench.plan()
    for text in render(blocks(view, view.jobs, width=width), width=width, colour=False):
        assert len(text) <= width


def test_json_has_what_is_documented(bench: Bench) -> None:
    bench.took(10.0, 10.0, 10.0)
    bench.add("a")
    found = json.loads(run(bench, "--json"))
    assert found["schema"] == "rfsched.plan/1"
    assert {"start_at", "eta_at", "eta_low_at", "eta_high_at", "progress_pct", "gpus"} <= found["jobs"][0].keys()
    assert found["queue"]["jobs"] == 1


def test_an_empty_plan_has_words(bench: Bench) -> None:
    bench.add("held", state=JobState.HELD)
    assert "nothing runs and nothing will start" in run(bench)


def test_accuracy_has_a_table_of_its_own(bench: Bench) -> None:
    assert "no predictions so far" in run(bench, "--accuracy")
    store = LessonStore(bench.paths.predictions)
    store.add([], [_made(None, 1000.0), _made(None, 1000.0)._replace(moment="10%", low_s=None, high_s=None)], 0)
    store.close()
    shown = run(bench, "--accuracy")
    assert "at the start" in shown
    assert "at 10 % of progress" in shown
    assert json.loads(run(bench, "--accuracy", "--json"))["accuracy"][0]["median_error"] == 0.1
    assert accuracy_table([])


@pytest.mark.parametrize(
    ("ahead", "shown"),
    [(timedelta(seconds=30), "%H:%M:%S"), (timedelta(days=3), "%a %H:%M"), (timedelta(days=9), "%b %d")],
)
def test_moments_are_as_exact_as_they_can_be(ahead: timedelta, shown: str) -> None:
    assert when(NOW + ahead, NOW) == (NOW + ahead).astimezone().strftime(shown)
    assert when(None, NOW) == ""
    assert between(None, NOW, NOW) == ""
