"""The Store port in memory, with the promises of the real one, for the simulator and for scenario tests."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import Event, Payload
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import Request, StoredState

_decode_job = msgspec.json.Decoder(Job).decode
_decode_attempt = msgspec.json.Decoder(Attempt).decode
_decode_event = msgspec.json.Decoder(Event).decode


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise StoreError(f"{error.object!r} is not valid UTF-8 and cannot be recorded") from error


class MemoryStore:
    """Keeps everything as JSON: what goes in is really serialised, and what comes out belongs to the caller alone."""

    def __init__(self, *, boot_id: str = "boot-1", workspace_id: str = "00000000") -> None:
        self.boot_id = boot_id
        """May be changed: a simulated reboot."""
        self.commits = 0
        """How many succeeded."""
        self._jobs: dict[int, bytes] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._attempts: dict[AttemptKey, bytes] = {}
        self._live: set[AttemptKey] = set()
        self._events: list[bytes] = []
        self._requests: dict[int, bytes] = {}
        self._replies: dict[int, bytes] = {}
        self._environments: dict[str, dict[str, Any]] = {}
        self._meta = {"workspace_id": workspace_id}
        self._faults: list[str] = []

    # The port ---------------------------------------------------------------------------------------------------------

    def load(self) -> StoredState:
        """The rows as they stand."""
        jobs = [_decode_job(self._jobs[number]) for number in sorted(self._jobs)]
        return StoredState(
            jobs=jobs,
            attempts=[_decode_attempt(self._attempts[key]) for key in sorted(self._live)],
            next_job_id=jobs[-1].id + 1 if jobs else 1,
            meta=dict(self._meta),
        )

    def commit(
        self,
        payloads: Sequence[Payload],
        jobs: Iterable[Job],
        attempts: Iterable[Attempt],
        *,
        at: datetime,
        replies: Mapping[int, Mapping[str, Any]] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> list[Event]:
        """All or nothing; see the port."""
        jobs, attempts = list(jobs), list(attempts)
        if self._faults:
            raise StoreError(self._faults.pop(0), hint="a scripted fault: nothing of this commit was kept")
        first = len(self._events) + 1
        events = [
            Event(seq=first + offset, at=at, boot_id=self.boot_id, payload=payload)
            for offset, payload in enumerate(payloads)
        ]
        # Everything that can fail comes before the first change.
        new_events = [_encode(event) for event in events]
        new_jobs = {job.id: _encode(job) for job in jobs}
        new_attempts = {attempt.key: _encode(attempt) for attempt in attempts}
        new_replies = {number: _encode(dict(reply)) for number, reply in (replies or {}).items()}
        ids = self._checked_ids(jobs)

        self._events += new_events
        self._jobs |= new_jobs
        self._ids |= ids
        self._attempts |= new_attempts
        for attempt in attempts:
            (self._live.add if attempt.live else self._live.discard)(attempt.key)
        self._replies |= {number: reply for number, reply in new_replies.items() if number in self._requests}
        self._meta |= dict(meta or {})
        self.commits += 1
        return events

    def _checked_ids(self, jobs: list[Job]) -> dict[tuple[str, str], int]:
        ids: dict[tuple[str, str], int] = {}
        for job in jobs:
            identity = (job.spec.source, job.spec.key)
            if ids.get(identity, self._ids.get(identity, job.id)) != job.id:
                raise StoreError(f"there is another job with source and key {identity}")
            ids[identity] = job.id
        return ids

    def requests(self) -> list[Request]:
        """The unanswered requests, oldest first."""
        waiting = sorted(self._requests.keys() - self._replies.keys())
        return [msgspec.json.decode(self._requests[number], type=Request) for number in waiting]

    def environment(self, digest: str) -> dict[str, Any]:
        """The environment captured under `digest`. Raises StoreError if there is none."""
        if digest not in self._environments:
            raise StoreError(f"there is no environment {digest}")
        return copy.deepcopy(self._environments[digest])

    # What clients use -------------------------------------------------------------------------------------------------

    def put(self, kind: str, body: Mapping[str, Any], *, by: str = "tester") -> int:
        """Leave a request; return its id."""
        number = len(self._requests) + 1
        self._requests[number] = msgspec.json.encode(
            Request(id=number, kind=kind, json=msgspec.json.encode(body), by=by)
        )
        return number

    def reply(self, request: int) -> dict[str, Any] | None:
        """The answer to a request; None = none yet."""
        answer = self._replies.get(request)
        return None if answer is None else dict(msgspec.json.decode(answer))

    def save_environment(self, digest: str, data: Mapping[str, Any]) -> None:
        """Keep an environment under its digest, once."""
        self._environments.setdefault(digest, copy.deepcopy(dict(data)))

    # What tests look at -----------------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """The whole history."""
        return [_decode_event(event) for event in self._events]

    def attempts_of(self, job_id: int) -> list[Attempt]:
        """Every attempt of a job, first to last."""
        return [_decode_attempt(self._attempts[key]) for key in sorted(self._attempts) if key[0] == job_id]

    def fail_next_commit(self, why: str = "no space left on the disk", *, times: int = 1) -> None:
        """Let the next commit, or several, raise StoreError and change nothing."""
        self._faults += [why] * times
