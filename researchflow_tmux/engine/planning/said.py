"""What a policy plug-in said about the jobs that wait, and what it must still be told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from researchflow_tmux.domain.plugin import Answer, PluginEvent

MOST_EVENTS = 10_000
"""The latest ones: a plug-in that is not asked for long (nothing could start) misses what is older."""


class Said:
    """Kept beside the index, which asks it what may start and by which key."""

    def __init__(self, *, orders: bool, events: bool = False) -> None:
        """`orders` = it gives the keys, else the policy's own holds; `events` = it wants to be told of them."""
        self.orders = orders
        self.keys: dict[int, tuple[float, ...]] = {}
        self.refused: dict[int, str] = {}
        self.version = 0
        """Counts what it said anew."""
        self._answered: set[int] = set()
        self._fresh: dict[int, None] = {}
        self._gone: set[int] = set()
        self._events: deque[PluginEvent] | None = deque(maxlen=MOST_EVENTS) if events else None

    @property
    def news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._fresh or self._gone or self._events)

    @property
    def complete(self) -> bool:
        """Whether it spoke about all jobs that wait."""
        return not self._fresh

    def wait(self, job_id: int) -> None:
        """A job could start, or could before and something about it changed."""
        self._fresh[job_id] = None
        self._gone.discard(job_id)

    def leave(self, job_id: int) -> None:
        """A job cannot start (any more)."""
        self._fresh.pop(job_id, None)
        if job_id in self._answered:
            self._answered.discard(job_id)
            self._gone.add(job_id)
            self.keys.pop(job_id, None)
            self.refused.pop(job_id, None)

    @property
    def spoken(self) -> list[int]:
        """The jobs that it spoke about and that wait still."""
        return sorted(self._answered)

    def lets(self, job_id: int) -> bool:
        """Whether it spoke about the job, and not against it."""
        return job_id in self._answered and job_id not in self.refused

    def happened(self, event: PluginEvent) -> None:
        """Something to tell it."""
        if self._events is not None:
            self._events.append(event)

    def next_fresh(self, most: int) -> list[int]:
        """The jobs to tell it about next."""
        return [job_id for job_id, _ in zip(self._fresh, range(most), strict=False)]

    def take_gone(self) -> list[int]:
        """Those to be forgotten."""
        gone, self._gone = sorted(self._gone), set()
        return gone

    def take_events(self) -> list[PluginEvent]:
        """What happened since the last time."""
        events = list(self._events or ())
        if self._events is not None:
            self._events.clear()
        return events

    def take(self, answer: Answer, asked: Sequence[int]) -> list[int]:
        """Its answer to a question about `asked`: the jobs whose place is another one now."""
        for job_id in asked:
            self._fresh.pop(job_id, None)
            self._answered.add(job_id)
        known = self._answered
        self.keys.update((job_id, key) for job_id, key in answer.keys.items() if job_id in known)
        for job_id, text in answer.refused.items():
            if text is None:
                self.refused.pop(job_id, None)
            elif job_id in known:
                self.refused[job_id] = text
        changed = {*asked, *answer.keys, *answer.refused} & known
        self.version += bool(changed)
        return sorted(changed)

    def restore(self, keys: dict[int, tuple[float, ...]], refused: dict[int, str], jobs: Iterable[int]) -> None:
        """Know what it told another process about these jobs."""
        self.keys, self.refused = dict(keys), dict(refused)
        self._answered = set(jobs)
