"""Hooks told from a real history: what, in which order, again after failures, and exactly from where they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, OutOfMemory, Running
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptStarted,
    GpuIdle,
    JobChanged,
    JobSubmitted,
    Payload,
    QueueEmpty,
)
from researchflow_tmux.domain.hooks import HOOK_EVENTS, Hook, Hooks
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.hooks import telling
from researchflow_tmux.hooks.telling import Telling
from tests.support import eventually
from tests.unit.engine.samples import NOW, at, attempt, job
from tests.unit.hooks.web import Web, serving

DONE = Ended(outcome=Exited(code=0, succeeded=True), ended_at=at(60), started_at=at(0))
FULL = Ended(outcome=OutOfMemory(where="gpu", line="CUDA out of memory"), ended_at=at(60), started_at=at(0))
STARTED = AttemptStarted(job_id=1, number=1, runner_pid=7, started_at=NOW)
SUCCEEDED = JobChanged(job_id=1, state=JobState.SUCCEEDED, reason=Reason(code=ReasonCode.SUCCEEDED))
BEFORE = JobChanged(job_id=1, state=JobState.SUCCEEDED, reason=Reason(code=ReasonCode.DONE_BEFORE))
FAILED = JobChanged(
    job_id=1, state=JobState.FAILED, reason=Reason(code=ReasonCode.EXIT_CODE, text="exit code 3"), exit_code=3
)


class Place:
    """A workspace with a history, and hooks that are told of it."""

    def __init__(self, root: Path) -> None:
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        (root / ".rfsched").mkdir()
        self.store = SqliteStore(self.paths.database, boot_id="b")
        self.told: list[str] = []
        self.telling: Telling | None = None
        self.happens(JobSubmitted(job=job(1, name="exp")), jobs=[job(1, JobState.ACTIVE, name="exp", attempts=1)])
        self.happens(attempts=[attempt(phase=Running(started_at=NOW, runner_pid=7))])

    def happens(self, *payloads: Payload, jobs: list[Job] | None = None, attempts: list[Attempt] | None = None) -> None:
        events = self.store.commit(payloads, jobs or [], attempts or [], at=NOW)
        if self.telling is not None:
            self.telling.saved(events)

    def start(self, hooks: Hooks, **environ: str) -> None:
        self.telling = Telling(self.paths, "node1", self.told.append, first_pause_s=0.01)
        self.telling.begin(hooks, environ)

    def stop(self) -> None:
        if self.telling is not None:
            self.telling.close()
            self.telling = None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop()
    place.store.close()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def wait_for(web: Web, count: int) -> list[dict[str, Any]]:
    eventually(lambda: len(web.got) >= count, what=f"{count} requests")
    return web.got


def number(body: dict[str, Any]) -> int:
    """Of the entry of the history."""
    return int(body["id"].split("-")[1])


def all_to(web: Web) -> Hooks:
    return {event: (Hook(url=f"{web.url}/{event}"),) for event in HOOK_EVENTS}


def test_every_event_is_told_in_its_words(place: Place, web: Web) -> None:
    place.start(all_to(web))
    place.happens(STARTED)
    place.happens(AttemptEnded(job_id=1, number=1, ended=FULL), FAILED)
    place.happens(SUCCEEDED, BEFORE)
    place.happens(QueueEmpty(counts={"succeeded": 3, "failed": 1, "held": 0}))
    place.happens(GpuIdle(uuid="G", index=1, since=NOW, idle_s=600.0, waiting=2))
    found = {body["event"]: body for body in wait_for(web, 6)}
    assert {event: body["text"] for event, body in found.items()} == {
        "start": f"[{place.paths.root.rpartition('/')[2]}] exp started on GPU 0",
        "oom": f"[{place.paths.root.rpartition('/')[2]}] exp: out of memory: GPU: CUDA out of memory on GPU 0",
        "failure": f"[{place.paths.root.rpartition('/')[2]}] exp failed (exit code 3) on GPU 0",
        "success": f"[{place.paths.root.rpartition('/')[2]}] exp succeeded on GPU 0",
        "queue_empty": f"[{place.paths.root.rpartition('/')[2]}] the queue is empty: 3 succeeded, 1 failed",
        "gpu_idle": f"[{place.paths.root.rpartition('/')[2]}] GPU 1 has had no job for 10 min; 2 wait",
    }
    assert found["failure"]["job"]["exit_code"] == 3
    assert found["failure"]["job"]["state"] == "failed"
    assert found["oom"]["oom"] == {"where": "gpu", "line": "CUDA out of memory", "evidence": ""}
    assert len({body["id"] for body in web.got}) == 6
    place.stop()
    assert len(web.got) == 6, "what was done before is no success of now"


def test_a_start_is_told_once_however_often_it_is_seen_and_also_if_it_never_was(place: Place, web: Web) -> None:
    place.start({"start": (Hook(url=web.url),)})
    place.happens(STARTED, STARTED)
    place.happens(AttemptEnded(job_id=1, number=1, ended=DONE))
    place.happens(AttemptEnded(job_id=1, number=2, ended=DONE))  # so short that nobody saw it run
    place.happens(AttemptEnded(job_id=1, number=3, ended=Ended(outcome=DONE.outcome, ended_at=NOW)))  # it never ran
    numbers = [number(body) for body in wait_for(web, 2)]
    place.stop()
    assert len(web.got) == 2
    assert numbers == sorted(set(numbers))


def test_a_server_that_fails_first_gets_it_in_the_end_and_that_is_told_once(place: Place, web: Web) -> None:
    web.answers = [500, 0, 429]
    place.start({"failure": (Hook(url=f"{web.url}/secret?token=secret"),)})
    place.happens(FAILED)
    wait_for(web, 4)
    eventually(lambda: len(place.told) == 2)
    assert place.told[0].startswith(f"hook for failure, {web.url}/…: the answer was 500")
    assert place.told[1].endswith("works again")
    assert "secret" not in "".join(place.told)
    assert len({body["id"] for body in web.got}) == 1, "a server can tell that it is the same"


def test_tries_are_bounded_and_the_next_event_is_told_all_the_same(place: Place, web: Web) -> None:
    web.answers = [500, 500, 500]
    place.start({"failure": (Hook(url=web.url, retries=2),)})
    place.happens(FAILED)
    place.happens(FAILED)
    bodies = wait_for(web, 4)
    ids = [body["id"] for body in bodies]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_one_that_hangs_holds_up_neither_the_loop_nor_another_hook(place: Place, web: Web, tmp_path: Path) -> None:
    web.hang.clear()
    with serving() as other:
        place.start({"failure": (Hook(url=web.url, timeout_s=20.0), Hook(url=other.url))})
        for _ in range(50):
            place.happens(FAILED)  # the loop's part: it does not wait
        wait_for(other, 50)
        assert web.got == []


def test_after_a_clean_restart_nothing_is_told_again_and_nothing_is_left_out(place: Place, web: Web) -> None:
    hooks = {"failure": (Hook(url=web.url),)}
    place.happens(FAILED)  # from before there were hooks
    place.start(hooks)
    place.happens(FAILED)
    wait_for(web, 1)
    place.stop()
    place.happens(FAILED)  # while no scheduler lived
    place.happens(FAILED)
    place.start(hooks)
    place.happens(FAILED)
    wait_for(web, 4)
    place.stop()
    place.start(hooks)
    place.stop()
    ids = [body["id"] for body in web.got]
    assert len(ids) == len(set(ids)) == 4
    assert [number(body) for body in web.got] == sorted(number(body) for body in web.got)


def test_a_killed_scheduler_tells_at_least_once(place: Place, web: Web) -> None:
    hooks = {"failure": (Hook(url=web.url),)}
    web.hang.clear()
    place.start(hooks)
    place.happens(FAILED)
    killed, place.telling = place.telling, None  # as kill -9 leaves it: in the middle of telling
    web.hang.set()
    place.start(hooks)
    wait_for(web, 1)
    assert killed is not None
    killed.close()


def test_told_to_end_it_does_not_wait_for_its_next_try(place: Place, web: Web) -> None:
    web.answers = [500]
    place.telling = Telling(place.paths, "h", place.told.append, first_pause_s=600.0)
    place.telling.begin({"failure": (Hook(url=web.url),)}, {})
    place.happens(FAILED)
    eventually(lambda: place.told)
    place.stop()
    assert not any(thread.name.startswith("hook") for thread in threading.enumerate())
    place.start({"failure": (Hook(url=web.url),)})
    assert [body["id"] for body in wait_for(web, 2)] == [web.got[0]["id"]] * 2


def test_hooks_that_are_changed_while_it_runs(place: Place, web: Web) -> None:
    place.start({"failure": (Hook(url=f"{web.url}/a"),)})
    place.happens(FAILED)
    wait_for(web, 1)
    assert place.telling is not None
    place.telling.begin({"failure": (Hook(url=f"{web.url}/a", headers={"X": "1"}), Hook(url=f"{web.url}/b"))}, {})
    place.happens(FAILED)
    wait_for(web, 3)
    place.telling.begin({}, {})
    place.happens(FAILED)
    place.stop()
    assert len(web.got) == 3
    assert [headers.get("x") for headers in web.headers].count("1") == 1


def test_without_hooks_there_are_no_files_and_no_threads(place: Place) -> None:
    place.start({})
    place.happens(FAILED)
    assert not Path(place.paths.state, telling.CURSORS_NAME).exists()
    assert not any(thread.name.startswith("hook") for thread in threading.enumerate())


def test_one_that_is_far_behind_skips_what_is_oldest(place: Place, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = {"failure": (Hook(url=web.url),)}
    place.start(hooks)
    place.stop()
    monkeypatch.setattr(telling, "MOST_BEHIND", 3)
    for _ in range(6):
        place.happens(FAILED)
    place.start(hooks)
    wait_for(web, 3)
    place.stop()
    assert len(web.got) == 3
    assert "all but the last 3 are left out" in place.told[0]


def test_the_file_is_private_and_names_no_url(place: Place, web: Web) -> None:
    place.start({"failure": (Hook(url=f"{web.url}/secret"),)})
    path = Path(place.paths.state, telling.CURSORS_NAME)
    assert path.stat().st_mode & 0o077 == 0
    assert "secret" not in path.read_text()
    assert "127.0.0.1" not in path.read_text()
