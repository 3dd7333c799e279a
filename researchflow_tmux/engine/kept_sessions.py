"""Which sessions of ended attempts stay for a look, and which are closed: a bounded number stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.ports import Session

SLACK = 8
"""Closing is done in batches of about this many: one tmux call for all, and off the path of launching."""

NameAndTag = tuple[str, str]


class KeptSessions:
    """Sessions of ended attempts, oldest first. Those of successes are given up before those of failures."""

    def __init__(self) -> None:
        self._ok: deque[NameAndTag] = deque()
        self._failed: deque[NameAndTag] = deque()

    def add(self, name: str, tag: str, *, ok: bool) -> None:
        """An attempt has ended; its session may still be there."""
        (self._ok if ok else self._failed).append((name, tag))

    def to_close(self, *, keep: int, keep_successes: bool) -> list[NameAndTag]:
        """The sessions to close now so that at most about `keep` stay; they are forgotten."""
        closing: list[NameAndTag] = []
        if not keep_successes:
            closing.extend(self._ok)
            self._ok.clear()
        surplus = len(self._ok) + len(self._failed) - keep
        if surplus > min(SLACK, keep):
            closing.extend((self._ok or self._failed).popleft() for _ in range(surplus))
        return closing

    def adopt(self, sessions: Iterable[Session], live_tags: set[str], jobs: Mapping[int, Job]) -> None:
        """Take over the ended sessions that an earlier scheduler kept."""
        for session in sorted(sessions, key=lambda session: session.created_at):
            job_id = session.tag.rpartition("/")[2].partition(".")[0]
            if session.tag in live_tags or not session.pane_dead or not job_id.isdigit():
                continue
            job = jobs.get(int(job_id))
            self.add(session.name, session.tag, ok=job is not None and job.state is JobState.SUCCEEDED)
