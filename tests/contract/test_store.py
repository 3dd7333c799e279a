"""What the Store port promises, asked of both stores: SQLite and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, Event, JobChanged, JobSubmitted, Notice
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.ports import Store
from researchflow_tmux.simulation.memory_store import MemoryStore
from tests.contract.store_samples import BOOT, NOW, at, attempt, ended, job, running


class Place:
    """A store together with its clients, whichever it is."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.memory = MemoryStore(boot_id=BOOT)
        self._open: list[SqliteStore | SqliteInbox | SqliteReader] = []

    def _opened(self, part: Any) -> Any:
        self._open.append(part)
        return part

    def store(self) -> Store:
        """The store, as a scheduler that just started gets it."""
        return self.memory if self.path is None else self._opened(SqliteStore(self.path, boot_id=BOOT))

    def put(self, kind: str, **body: Any) -> int:
        if self.path is None:
            return self.memory.put(kind, body)
        inbox: SqliteInbox = self._opened(SqliteInbox(self.path))
        return inbox.put(kind, body, by="tester", at=NOW)

    def reply(self, request: int) -> dict[str, Any] | None:
        return self.memory.reply(request) if self.path is None else self._opened(SqliteInbox(self.path)).reply(request)

    def events(self) -> list[Event]:
        return self.memory.events() if self.path is None else self._opened(SqliteReader(self.path)).events()

    def attempts_of(self, job_id: int) -> list[Attempt]:
        source = self.memory if self.path is None else self._opened(SqliteReader(self.path))
        found: list[Attempt] = source.attempts_of(job_id)
        return found

    def save_environment(self, digest: str, data: dict[str, Any]) -> None:
        source = self.memory if self.path is None else self._opened(SqliteInbox(self.path))
        source.save_environment(digest, data)

    def close(self) -> None:
        for part in self._open:
            part.close()


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(str(tmp_path / ".rfsched" / "state.db") if request.param == "sqlite" else None)
    yield place
    place.close()


@pytest.fixture
def store(place: Place) -> Store:
    return place.store()


def held(number: int, by: str = "somebody") -> JobChanged:
    return JobChanged(job_id=number, state=JobState.HELD, reason=Reason(code=ReasonCode.HELD), by=by)


def test_a_new_store_is_empty_and_knows_its_workspace(store: Store) -> None:
    state = store.load()
    assert (state.jobs, state.attempts, state.next_job_id) == ([], [], 1)
    assert len(state.meta["workspace_id"]) == 8
    assert store.requests() == []


def test_what_was_committed_is_loaded_equal(place: Place, store: Store) -> None:
    jobs = [job(1, not_before=at(3)), job(2, JobState.ACTIVE, attempts=1, started_at=at(1)), job(7, after=(1, 2))]
    store.commit([JobSubmitted(job=one) for one in jobs], jobs, [attempt(2, 1, running())], at=NOW)
    state = place.store().load()
    assert state.jobs == jobs
    assert state.attempts == [attempt(2, 1, running())]
    assert state.next_job_id == 8


def test_rows_are_replaced_and_ended_attempts_not_loaded(place: Place, store: Store) -> None:
    store.commit([], [job(1)], [attempt(1), attempt(1, 2)], at=NOW)
    store.commit([], [job(1, JobState.SUCCEEDED, ended_at=at(9))], [attempt(1, 1, ended())], at=at(9))
    state = place.store().load()
    assert [one.state for one in state.jobs] == [JobState.SUCCEEDED]
    assert [one.key for one in state.attempts] == [(1, 2)]
    assert place.attempts_of(1) == [attempt(1, 1, ended()), attempt(1, 2)]


def test_an_ended_attempt_with_quarantined_processes_is_live(place: Place, store: Store) -> None:
    store.commit([], [job(1)], [attempt(1, 1, ended(), quarantined=(99,))], at=NOW)
    assert [one.key for one in place.store().load().attempts] == [(1, 1)]
    store.commit([], [], [attempt(1, 1, ended())], at=NOW)
    assert place.store().load().attempts == []


def test_events_are_numbered_in_order_and_never_change(place: Place, store: Store) -> None:
    first = store.commit([JobSubmitted(job=job()), held(1)], [job()], [], at=NOW)
    second = store.commit([AttemptPlanned(attempt=attempt()), Notice(text="x")], [], [attempt()], at=at(1))
    third = store.commit([AttemptEnded(job_id=1, number=1, ended=ended())], [], [], at=at(2))
    assert [event.seq for event in first + second + third] == [1, 2, 3, 4, 5]
    assert [event.at for event in first + second + third] == [NOW, NOW, at(1), at(1), at(2)]
    assert {event.boot_id for event in first} == {BOOT}
    assert place.events() == first + second + third


def test_requests_come_in_order_until_they_are_answered(place: Place, store: Store) -> None:
    one, two, three = place.put("cancel", ids=[1]), place.put("hold", ids=[2]), place.put("stop")
    assert [(request.id, request.kind, request.body, request.by) for request in store.requests()] == [
        (one, "cancel", {"ids": [1]}, "tester"),
        (two, "hold", {"ids": [2]}, "tester"),
        (three, "stop", {}, "tester"),
    ]
    assert place.reply(two) is None
    store.commit([held(2)], [job(2, JobState.HELD)], [], at=NOW, replies={two: {"held": [2], "é": None}})
    assert [request.id for request in store.requests()] == [one, three]
    assert place.reply(two) == {"held": [2], "é": None}


def test_an_answer_to_a_request_that_was_withdrawn_is_dropped(place: Place, store: Store) -> None:
    store.commit([], [], [], at=NOW, replies={77: {"ok": True}})
    assert place.reply(77) is None


def test_meta_is_kept_and_overwritten(place: Place, store: Store) -> None:
    before = store.load().meta
    store.commit([], [], [], at=NOW, meta={"tmux_socket": "/a"})
    store.commit([], [], [], at=NOW, meta={"tmux_socket": "/b"})
    assert place.store().load().meta == before | {"tmux_socket": "/b"}


def test_environments_are_kept_once(place: Place, store: Store) -> None:
    place.save_environment("abc", {"env": {"PATH": "/bin", "ODD": "\udcff"}, "umask": 18})
    place.save_environment("abc", {"env": {}})
    assert store.environment("abc") == {"env": {"PATH": "/bin", "ODD": "\udcff"}, "umask": 18}
    with pytest.raises(StoreError, match="nope"):
        store.environment("nope")


def test_two_jobs_of_one_source_and_key_are_refused_and_nothing_is_kept(place: Place, store: Store) -> None:
    store.commit([], [job(1)], [], at=NOW)
    twin = msgspec.structs.replace(job(1), id=2)
    with pytest.raises(StoreError):
        store.commit([JobSubmitted(job=twin)], [job(3), twin], [attempt(3)], at=NOW, meta={"x": "y"})
    state = place.store().load()
    assert ([one.id for one in state.jobs], state.attempts, "x" in state.meta) == ([1], [], False)
    assert place.events() == []


@pytest.mark.parametrize("spoil", ["event", "job", "attempt", "reply"])
def test_what_cannot_be_written_leaves_nothing_behind(place: Place, store: Store, spoil: str) -> None:
    request = place.put("hold")
    bad: Callable[[str], str] = lambda part: "\udcff" if part == spoil else "fine"  # noqa: E731 - one line reads better
    with pytest.raises(StoreError, match="UTF-8"):
        store.commit(
            [Notice(text=bad("event"))],
            [msgspec.structs.replace(job(1), slug=bad("job"))],
            [msgspec.structs.replace(attempt(), session=bad("attempt"))],
            at=NOW,
            replies={request: {"text": bad("reply")}},
        )
    assert place.store().load().jobs == []
    assert place.events() == []
    assert place.reply(request) is None


def test_what_was_given_and_gotten_stays_apart(store: Store) -> None:
    mine = job(1)
    store.commit([], [mine], [], at=NOW)
    mine.spec.env["SEED"] = "changed by the giver"
    gotten = store.load().jobs[0]
    assert gotten.spec.env == {"SEED": "1"}
    gotten.spec.env["SEED"] = "changed by the taker"
    assert store.load().jobs[0].spec.env == {"SEED": "1"}


def test_scripted_faults_change_nothing() -> None:
    store = MemoryStore()
    store.fail_next_commit("no space", times=2)
    for _ in range(2):
        with pytest.raises(StoreError, match="no space"):
            store.commit([Notice(text="x")], [job()], [], at=NOW)
    assert (store.load().jobs, store.events(), store.commits) == ([], [], 0)
    store.commit([], [job()], [], at=NOW)
    assert store.commits == 1
