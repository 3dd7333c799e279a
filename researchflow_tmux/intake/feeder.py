"""The thread that reads and writes the files of the job sources."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.domain.job import Job
from researchflow_tmux.intake.feed import Feed, Look

GATHER_S = 0.05
"""How long states are gathered before they are written: in a storm of short jobs one write shows many."""


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["learn", "forget", "look", "settled", "end"]
    jobs: Sequence[Job] = ()
    keys: Sequence[tuple[str, str]] = ()
    number: int = 0


class Feeder:
    """Runs a Feed. Its methods only leave a message; the order of messages is kept."""

    def __init__(self, feed: Feed, brought: Callable[[int, Look], None], *, after: Feeder | None = None) -> None:
        """`brought(number, look)` is called in the thread; `after` = begin when that one has ended."""
        self._feed = feed
        self._brought = brought
        self._after = after
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._clock = SystemClock()
        self._wanted = 0
        self._out: int | None = None
        """The look that was brought and is not carried out yet: files must not be read again before that."""
        self._thread = threading.Thread(target=self._work, name="sources", daemon=True)
        self._thread.start()

    def learn(self, jobs: Sequence[Job]) -> None:
        """These jobs are, durably, as they are now."""
        if jobs:
            self._messages.put(_Message(kind="learn", jobs=jobs))

    def forget(self, keys: Sequence[tuple[str, str]]) -> None:
        """The queue does not know these (kind, key) any more."""
        self._messages.put(_Message(kind="forget", keys=keys))

    def look(self, number: int) -> None:
        """Look at everything, as number `number`."""
        self._messages.put(_Message(kind="look", number=number))

    def settled(self, number: int) -> None:
        """What that look brought is carried out and on disk."""
        self._messages.put(_Message(kind="settled", number=number))

    def end(self) -> None:
        """Show what was learnt, then end."""
        self._messages.put(_Message(kind="end"))

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        if self._after is not None:
            self._after.join()  # one of us at a time touches the files
            self._after = None
        self._feed.write()
        going_on = True
        while going_on:
            going_on = all(self._take(message) for message in self._gathered())
            self._feed.write()
            if going_on and self._wanted and self._out is None:
                number, self._wanted = self._wanted, 0
                self._out = number
                self._brought(number, self._feed.read())

    def _gathered(self) -> list[_Message]:
        """The next message, and those that follow within a moment."""
        messages = [self._messages.get()]
        until = self._clock.monotonic() + GATHER_S
        while messages[-1].kind in ("learn", "forget"):  # the others are waited for: at once
            try:
                messages.append(self._messages.get(timeout=max(until - self._clock.monotonic(), 0.0)))
            except queue.Empty:
                break
        return messages

    def _take(self, message: _Message) -> bool:
        """False = that was the end."""
        match message.kind:
            case "learn":
                self._feed.learn(message.jobs)
            case "forget":
                self._feed.forget(message.keys)
            case "look":
                self._wanted = message.number
            case "settled":
                self._out = None
            case "end":
                return False
        return True
