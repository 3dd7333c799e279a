"""Time goes by: ticks a scheduler on a virtual clock until nothing more happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.session_host import MemoryHost


class Scheduler(Protocol):
    """What is driven: the engine, as far as time needs to know it."""

    def tick(self, wakeup: Wakeup | None = None) -> None:
        """Do everything that is due."""
        ...

    def wait_s(self) -> float:
        """Seconds until something is due by time."""
        ...


class Feed(Protocol):
    """What comes from outside at its own times: jobs of a trace."""

    def next_at(self) -> datetime | None:
        """When something comes next; None = nothing more does."""
        ...

    def give(self, now: datetime) -> None:
        """Hand over what has come by now."""
        ...


class MemoryWaiter:
    """The Waiter over simulated runners. It never blocks: whoever drives it lets the time go by."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host
        self._watched: dict[AttemptKey, int] = {}
        self._told: set[tuple[AttemptKey, int]] = set()

    def watch_runner(self, key: AttemptKey, pid: int) -> None:
        """Tell when it ends, once: as a pidfd that was seen does."""
        if (key, pid) not in self._told:
            self._watched[key] = pid

    def forget_runner(self, key: AttemptKey) -> None:
        """Stop watching."""
        self._watched.pop(key, None)

    def watches(self, keys: Iterable[AttemptKey]) -> bool:
        """Whether the ends of all these will be told."""
        return self._watched.keys() >= set(keys)

    def wait(self, timeout_s: float) -> Wakeup:
        """What has happened by now."""
        gone = self._watched.keys() - set(self._host.runners())
        self._told |= {(key, self._watched.pop(key)) for key in gone}
        return Wakeup(runners=frozenset(gone))


def drive(
    scheduler: Scheduler,
    clock: VirtualClock,
    host: MemoryHost,
    waiter: MemoryWaiter,
    done: Callable[[], bool],
    *,
    most_ticks: int,
    feed: Feed | None = None,
) -> bool:
    """Tick and wait in turns until `done`, at most `most_ticks` times; False = it was not done by then.

    A runner that has just been started pokes the scheduler, as real ones do.
    """
    wakeup = Wakeup(poked=True)
    for _ in range(most_ticks):
        started = len(host.starts)
        scheduler.tick(wakeup)
        if len(host.starts) > started:
            wakeup = Wakeup(poked=True)
            continue
        if done():
            return True
        times = [clock.now() + timedelta(seconds=scheduler.wait_s()), host.next_end()]
        times += [] if feed is None else [feed.next_at()]
        clock.advance_to(min(time for time in times if time is not None))
        if feed is not None:
            feed.give(clock.now())
        wakeup = waiter.wait(0.0)
    return done()
