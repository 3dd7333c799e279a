"""The waiting jobs in sorted classes: (project, what they ask for, ⌊log2 of the time they may take⌋, limited).

All jobs of a class that fit anywhere fit alike, so a decision looks at the first of each class and not at 100 000 jobs.
Classes are sorted lists, not heaps: a job leaves its class by one bisection, wherever it stands; a walk reads on from
any place without changing anything, so that asking "why" is the same code as deciding; and moving the pointers behind
it costs less than a heap's comparisons do, up to a hundred thousand jobs in one class.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from researchflow_tmux.policies.accounts.accounts import NOTHING_ASKED, Claim
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.planning.floor import Need

JobKey = tuple[int, bool, Any, float, int]
"""(−b, failed before, K, −uprank, seq). The last part is the job's id: no two are equal. K is a number, or a tuple of
numbers if a plug-in gives it; never both in one plan."""
ClassKey = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One waiting job, as the plan sees it."""

    id: int
    project: str
    need: Need
    estimate: Estimate
    key: JobKey
    asks: Hashable = ()
    """Everything else it asks for: two jobs alike in `need` and in this get the same answer from any GPU."""
    ready_s: float = 0.0
    """r: since when it could have started."""
    deadline_s: float | None = None
    """Its own, or the one that what waits for it leaves it."""
    claim: Claim = NOTHING_ASKED
    """What it asks of the accounts; owners and rate are alike within a class."""

    @property
    def gpu_s(self) -> float:
        """Work to expect: g·P50. A CPU job uses none."""
        return self.need.gpus * self.estimate.p50_s


def bucket(seconds: float) -> int:
    """⌊log2⌋ of a duration; everything below a second is alike."""
    return max(math.frexp(max(seconds, 1.0))[1] - 1, 0)


def class_of(entry: Entry) -> ClassKey:
    """What the job has in common with others."""
    estimate = entry.estimate
    return (entry.project, entry.need, entry.asks, bucket(estimate.most_s), estimate.limit_s is None)


def least_s(entry: Entry) -> float:
    """No job of its class takes less, by what is known."""
    number = bucket(entry.estimate.most_s)
    return 2.0**number if number else 0.0


@dataclass(slots=True, eq=False)
class Shelf:
    """One class."""

    key: ClassKey
    need: Need
    least_s: float
    """No job here takes less, by what is known."""
    claim: Claim = NOTHING_ASKED
    """One of theirs: owners and rate are those of all."""
    keys: list[JobKey] = field(default_factory=list)


class Classes:
    """All that could start if there were room."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.projects: dict[str, dict[ClassKey, Shelf]] = {}
        """Only projects and classes that have jobs."""
        self.demand: Counter[frozenset[str]] = Counter()
        """GPUs that jobs ask for that cannot run on all, by the GPUs on which they can."""

    def __len__(self) -> int:
        return len(self.entries)

    def shelves(self) -> Iterator[Shelf]:
        """Every class."""
        return (shelf for shelves in self.projects.values() for shelf in shelves.values())

    def add(self, entry: Entry) -> None:
        """A job waits from now on; one of that id that waits already is replaced."""
        self.remove(entry.id)
        self.entries[entry.id] = entry
        key = class_of(entry)
        shelves = self.projects.setdefault(entry.project, {})
        shelf = shelves.get(key)
        if shelf is None:
            shelf = shelves[key] = Shelf(key, entry.need, least_s(entry), entry.claim)
        insort(shelf.keys, entry.key)
        if entry.need.may is not None:
            self.demand[entry.need.may] += entry.need.gpus

    def remove(self, job_id: int) -> Entry | None:
        """It waits no longer; None = it did not."""
        entry = self.entries.pop(job_id, None)
        if entry is None:
            return None
        may = entry.need.may
        if may is not None:
            self.demand[may] -= entry.need.gpus
            if not self.demand[may]:
                del self.demand[may]
        key = class_of(entry)
        shelves = self.projects[entry.project]
        keys = shelves[key].keys
        del keys[bisect_left(keys, entry.key)]
        if not keys:
            del shelves[key]
            if not shelves:
                del self.projects[entry.project]
        return entry
