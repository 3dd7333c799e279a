"""What every SessionHost promises: the same histories on real tmux with real runners, and in memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.tmux import Output
from researchflow_tmux.domain.accounts import Grant, Rate
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Killed
from researchflow_tmux.domain.errors import LaunchError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import (
    ClaimFree,
    ClaimHeld,
    Fenced,
    Launched,
    NameTaken,
    NotClaimed,
    Observation,
    ServerDown,
    SessionHost,
    Sessions,
)
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.script import Script, Scripts
from researchflow_tmux.simulation.session_host import MemoryHost
from tests.support import eventually
from tests.tmux_fixtures import CAPTURED, Bed, Server, make_job, plan, tmux_server

__all__ = ["tmux_server"]  # a fixture

Seen = TypeVar("Seen", bound=Observation)

LONG, QUICK, FAILING = "sleep 600", "true", "exit 3"
SCRIPTS = {
    LONG: Script(duration_s=None),
    QUICK: Script(duration_s=0.1),
    FAILING: Script(duration_s=0.1, outcome=Exited(code=3, succeeded=False)),
}


class Stage(Protocol):
    """A host and the few things a test does behind its back."""

    host: SessionHost

    def attempt(self, job: Job, number: int = 1, session: str | None = None) -> Attempt: ...

    def wait(self, attempt: Attempt, kind: type[Seen]) -> Seen:
        """The first observation of this kind."""
        ...

    def foreign(self, name: str) -> None:
        """Somebody opens a session by hand."""
        ...

    def kill_runner(self, attempt: Attempt) -> None: ...

    def starts(self, attempt: Attempt) -> int:
        """How often the job's command began."""
        ...

    def job(self, job_id: int, what: str) -> Job: ...

    def lose_config(self, job_id: int) -> Job:
        """A job whose config is gone."""
        ...

    def clock(self) -> tuple[str, datetime, float]:
        """The boot, and what its clocks say."""
        ...


class TmuxStage:
    def __init__(self, server: Server, root: Path) -> None:
        self.bed = Bed(server, root)
        self.host: SessionHost = self.bed.host

    def attempt(self, job: Job, number: int = 1, session: str | None = None) -> Attempt:
        return self.bed.attempt(job, number, session)

    def wait(self, attempt: Attempt, kind: type[Seen]) -> Seen:
        return eventually(lambda: _of(self.host.observe(attempt), kind), what=f"{kind.__name__} of {attempt.key}")

    def foreign(self, name: str) -> None:
        answer = self.bed.server.tmux().start("new-session", "-d", "-s", name, "sleep", "600")
        assert isinstance(answer, Output), answer
        assert answer.rc == 0, answer

    def kill_runner(self, attempt: Attempt) -> None:
        os.kill(self.wait(attempt, ClaimHeld).runner_pid, signal.SIGKILL)

    def starts(self, attempt: Attempt) -> int:
        path = Path(self.bed.paths.root, f"starts{attempt.job_id}.{attempt.number}")
        return len(path.read_text().split()) if path.exists() else 0

    def job(self, job_id: int, what: str) -> Job:
        note = f"echo x >> {self.bed.paths.root}/starts$RFSCHED_JOB_ID.$RFSCHED_ATTEMPT_NUMBER; "
        return make_job(job_id, note + what, workdir=self.bed.paths.root)

    def lose_config(self, job_id: int) -> Job:
        return make_job(job_id, QUICK, config_path=f"{self.bed.paths.root}/gone.yml", key="gone.yml")

    def clock(self) -> tuple[str, datetime, float]:
        now = SystemClock()
        return now.boot_id, now.now(), now.monotonic()

    def close(self) -> None:
        self.bed.close()


class MemoryStage:
    def __init__(self) -> None:
        self.virtual = VirtualClock()
        self.scripts = Scripts()
        self.memory = MemoryHost(self.virtual, "ws1", self.scripts)
        self.host: SessionHost = self.memory

    def attempt(self, job: Job, number: int = 1, session: str | None = None) -> Attempt:
        return plan(job, number, session)

    def wait(self, attempt: Attempt, kind: type[Seen]) -> Seen:
        for _ in range(100):
            seen = self.host.observe(attempt)
            if isinstance(seen, kind):
                return seen
            self.virtual.advance(0.1)
        raise AssertionError(f"{attempt.key} is {seen}, not {kind.__name__}")

    def foreign(self, name: str) -> None:
        self.memory.foreign.add(name)

    def kill_runner(self, attempt: Attempt) -> None:
        self.memory.lose_runner(attempt.key)

    def starts(self, attempt: Attempt) -> int:
        return self.memory.starts.count(attempt.key)

    def job(self, job_id: int, what: str) -> Job:
        self.scripts.set(f"j{job_id}", SCRIPTS[what])
        return make_job(job_id, what)

    def lose_config(self, job_id: int) -> Job:
        self.memory.faults.vanished.add(f"j{job_id}")
        return make_job(job_id, QUICK)

    def clock(self) -> tuple[str, datetime, float]:
        return self.virtual.boot_id, self.virtual.now(), self.virtual.monotonic()

    def close(self) -> None:
        pass


def _of(seen: Observation, kind: type[Seen]) -> Seen | None:
    return seen if isinstance(seen, kind) else None


@pytest.fixture(params=["memory", pytest.param("tmux", marks=pytest.mark.tmux)])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    real = request.param == "tmux"
    made = TmuxStage(request.getfixturevalue("tmux_server"), tmp_path / "ws") if real else MemoryStage()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start(stage: Stage) -> Callable[..., Attempt]:
    """Prepare and launch an attempt; it must come up."""

    def started(job: Job, number: int = 1, session: str | None = None) -> Attempt:
        attempt, warnings = stage.host.prepare(stage.attempt(job, number, session), job, CAPTURED)
        assert warnings == []
        assert isinstance(stage.host.launch(attempt), Launched)
        return attempt

    return started


def sessions(stage: Stage) -> Sessions:
    seen = stage.host.snapshot()
    assert isinstance(seen, Sessions), seen
    return seen


def test_before_anything_there_is_no_server_and_no_claim(stage: Stage) -> None:
    assert isinstance(stage.host.snapshot(), ServerDown)
    assert isinstance(stage.host.observe(stage.attempt(stage.job(1, QUICK))), NotClaimed)


def test_a_job_runs_to_its_end_and_its_session_stays(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, QUICK))
    ended = stage.wait(attempt, Ended)
    assert ended.outcome == Exited(code=0, succeeded=True)
    assert ended.started_at is not None
    assert ended.started_at <= ended.ended_at
    session = eventually(lambda: s if (s := sessions(stage).by_name[attempt.session]).pane_dead else None)
    assert session.tag == "ws1/1.1"
    assert attempt.log is not None


def test_the_exit_code_comes_through(stage: Stage, start: Callable[..., Attempt]) -> None:
    assert stage.wait(start(stage.job(1, FAILING)), Ended).outcome == Exited(code=3, succeeded=False)


def test_a_running_attempt_holds_its_claim(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    held = stage.wait(attempt, ClaimHeld)
    session = sessions(stage).by_name[attempt.session]
    assert (session.pane_pid, session.pane_dead) == (held.runner_pid, False)
    assert stage.host.saved_at(attempt) is None, "it has saved no checkpoint"


def test_launching_twice_starts_it_once(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    first = stage.wait(attempt, ClaimHeld)
    assert stage.host.launch(attempt) == Launched(runner_pid=first.runner_pid)
    eventually(lambda: stage.starts(attempt) == 1)
    assert stage.wait(attempt, ClaimHeld) == first


def test_preparing_again_replaces_the_spec_and_starts_nothing(stage: Stage) -> None:
    job = stage.job(1, QUICK)
    for _ in range(2):
        attempt, _ = stage.host.prepare(stage.attempt(job), job, CAPTURED)
    assert isinstance(stage.host.observe(attempt), NotClaimed)


def test_a_job_without_its_config_cannot_be_prepared(stage: Stage) -> None:
    job = stage.lose_config(1)
    with pytest.raises(LaunchError, match="gone"):
        stage.host.prepare(stage.attempt(job), job, CAPTURED)


def test_a_fenced_attempt_never_starts(stage: Stage) -> None:
    job = stage.job(1, LONG)
    attempt, _ = stage.host.prepare(stage.attempt(job), job, CAPTURED)
    assert stage.host.fence(attempt)
    assert stage.host.fence(attempt), "fencing again is the same answer"
    stage.host.launch(attempt)
    eventually(lambda: sessions(stage).by_name[attempt.session].pane_dead)
    assert isinstance(stage.host.observe(attempt), Fenced)
    assert stage.starts(attempt) == 0


def test_a_claimed_attempt_cannot_be_fenced(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    stage.wait(attempt, ClaimHeld)
    assert not stage.host.fence(attempt)
    assert isinstance(stage.host.observe(attempt), ClaimHeld)


def test_a_stopped_attempt_says_who_stopped_it(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    stage.wait(attempt, ClaimHeld)
    stage.host.stop(attempt, "user", "not needed")
    outcome = stage.wait(attempt, Ended).outcome
    assert isinstance(outcome, Killed)
    assert outcome.by == "user"


def test_a_stop_before_the_launch_is_not_forgotten(stage: Stage) -> None:
    job = stage.job(1, LONG)
    attempt, _ = stage.host.prepare(stage.attempt(job), job, CAPTURED)
    stage.host.stop(attempt, "user", "changed my mind")
    stage.host.launch(attempt)
    assert isinstance(stage.wait(attempt, Ended).outcome, Killed)
    assert stage.host.destroy(attempt) == ()


def granted(attempt: Attempt, stage: Stage, seconds: float | None) -> Attempt:
    """The attempt with so many seconds of a budget from now on."""
    boot_id, at, since_s = stage.clock()
    grant = Grant(owners=("project a",), rate=Rate(gpus=1), at=at, since_s=since_s, seconds=seconds)
    return replace(attempt, grant=grant, boot_id=boot_id)


def test_what_is_granted_beforehand_ends_an_attempt_in_time(stage: Stage) -> None:
    job = stage.job(1, LONG)
    attempt, _ = stage.host.prepare(granted(stage.attempt(job), stage, 20.0), job, CAPTURED)
    assert stage.host.grant(attempt)
    assert isinstance(stage.host.launch(attempt), Launched)
    stage.wait(attempt, ClaimHeld)
    assert stage.host.grant(granted(attempt, stage, 1.0)), "less than it takes to stop: at once"
    ended = stage.wait(attempt, Ended)
    assert isinstance(ended.outcome, Killed)
    assert ended.outcome.by == "budget"
    assert ended.ran_s is not None


def test_more_can_be_granted_while_it_runs_and_any_amount(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    stage.wait(attempt, ClaimHeld)
    for seconds in (600.0, 900.0, None):
        assert stage.host.grant(granted(attempt, stage, seconds))
        assert isinstance(stage.host.observe(attempt), ClaimHeld)


def test_a_dead_runner_leaves_a_free_claim(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    held = stage.wait(attempt, ClaimHeld)
    stage.kill_runner(attempt)
    free = stage.wait(attempt, ClaimFree)
    assert free.started_at == held.started_at
    assert stage.host.destroy(attempt) == ()
    assert stage.host.observe(attempt) == ClaimFree(survivors=(), started_at=held.started_at)


def test_destroy_leaves_nothing_alive_and_no_record(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    stage.wait(attempt, ClaimHeld)
    assert stage.host.destroy(attempt) == ()
    assert isinstance(stage.host.observe(attempt), ClaimFree)


def test_destroying_what_has_not_claimed_keeps_it_from_ever_starting(stage: Stage) -> None:
    job = stage.job(1, LONG)
    attempt, _ = stage.host.prepare(stage.attempt(job), job, CAPTURED)
    assert stage.host.destroy(attempt) == ()
    assert isinstance(stage.host.observe(attempt), Fenced)


def test_an_exit_record_outlives_everything(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, QUICK))
    ended = stage.wait(attempt, Ended)
    stage.host.stop(attempt, "user", "too late")
    assert stage.host.destroy(attempt) == ()
    assert not stage.host.fence(attempt)
    assert stage.host.observe(attempt) == ended


def test_a_name_of_somebody_else_is_taken_and_left_alone(stage: Stage) -> None:
    job = stage.job(1, QUICK)
    attempt, _ = stage.host.prepare(stage.attempt(job), job, CAPTURED)
    stage.foreign(attempt.session)
    assert isinstance(stage.host.launch(attempt), NameTaken)
    assert attempt.session in sessions(stage).foreign_names
    stage.host.close_sessions([(attempt.session, "ws1/1.1")])
    assert attempt.session in sessions(stage).foreign_names
    assert isinstance(stage.host.observe(attempt), NotClaimed)


def test_a_live_attempt_keeps_its_name(stage: Stage, start: Callable[..., Attempt]) -> None:
    first = start(stage.job(1, LONG), session="same")
    stage.wait(first, ClaimHeld)
    job = stage.job(2, QUICK)
    second, _ = stage.host.prepare(stage.attempt(job, session="same"), job, CAPTURED)
    assert stage.host.launch(second) == NameTaken(owner="ws1/1.1")
    assert isinstance(stage.host.observe(first), ClaimHeld)


def test_the_plain_name_is_the_live_attempts(stage: Stage, start: Callable[..., Attempt]) -> None:
    job = stage.job(1, QUICK)
    first = start(job)
    stage.wait(first, Ended)
    eventually(lambda: sessions(stage).by_name[first.session].pane_dead)
    second = start(job, 2)
    stage.wait(second, Ended)
    tags = {name: session.tag for name, session in sessions(stage).by_name.items()}
    assert tags == {second.session: "ws1/1.2", f"{first.session}_a1": "ws1/1.1"}
    stage.host.close_sessions([(first.session, "ws1/1.1"), (second.session, "ws1/0.0")])
    assert list(sessions(stage).by_name) == [second.session], "closed under the name it got; a wrong tag closes nothing"


def test_sessions_are_renamed_by_tag_only(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt = start(stage.job(1, LONG))
    stage.host.rename_session(attempt.session, "ws1/1.2", "other")
    assert list(sessions(stage).by_name) == [attempt.session]
    stage.host.rename_session(attempt.session, "ws1/1.1", "other")
    assert list(sessions(stage).by_name) == ["other"]


def test_closing_the_session_of_a_running_attempt_ends_it(stage: Stage, start: Callable[..., Attempt]) -> None:
    attempt, other = start(stage.job(1, LONG)), start(stage.job(2, LONG))
    stage.wait(attempt, ClaimHeld)
    stage.wait(other, ClaimHeld)
    stage.host.close_sessions([(attempt.session, "ws1/1.1")])
    outcome = stage.wait(attempt, Ended).outcome
    assert isinstance(outcome, Killed)
    assert outcome.by == "session_killed"
    assert isinstance(stage.host.observe(other), ClaimHeld)
