"""One account during one decision: what its owner may have, what is in use, and what is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

import msgspec

from researchflow_tmux.domain.accounts import NO_HOURS, AccountUse, Hours, Owner, Rate, hours_of
from researchflow_tmux.domain.projects import Allowance, Period
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.units import counted, parse_size
from researchflow_tmux.policies.accounts.periods import Span, parts, span_at

EPSILON_H = 1e-9
"""Hours are sums of many: equal up to this."""
EPSILON_S = EPSILON_H * 3600.0
RESOURCES = ("gpu", "cpu", "memory")
UNITS = {"gpu": "GPU-hours", "cpu": "core-hours", "memory": "GiB-hours"}
EACH = {"day": " a day", "week": " a week", "month": " a month", "total": ""}


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner may have; None = any amount."""

    gpus: int | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    gpu: float | None = None
    """GPU-hours in each period."""
    cpu: float | None = None
    memory: float | None = None
    period: Period = "month"

    @property
    def hourly(self) -> bool:
        """Whether there is a budget, and not only caps."""
        return not self.gpu is self.cpu is self.memory is None

    @property
    def limited(self) -> bool:
        """Whether there is any limit at all."""
        return self.hourly or not self.gpus is self.cpus is self.memory_mib is None

    def uses_budget(self, rate: Rate) -> bool:
        """Whether such a job uses anything of which there is a budget."""
        each = hours_of(rate, 3600.0)
        return any(getattr(self, name) is not None and getattr(each, name) > 0 for name in RESOURCES)


def bounds_of(allowance: Allowance) -> Bounds:
    """The bounds that the settings say; `max_memory` is a size that was checked."""
    memory = allowance.max_memory
    return Bounds(
        gpus=allowance.max_gpus,
        cpus=allowance.max_cpus,
        memory_mib=None if memory is None else int(parse_size(memory)),
        gpu=allowance.gpu_hours,
        cpu=allowance.cpu_hours,
        memory=allowance.memory_hours,
        period=allowance.period,
    )


class Account:
    """What is in use of it, and what is left. `take` books more during one decision."""

    def __init__(self, owner: Owner, bounds: Bounds, use: AccountUse, now: datetime, zone: tzinfo | None) -> None:
        self.owner = owner
        self.bounds = bounds
        self.now = now
        self.zone = zone
        self.running = use.running
        self.span: Span = span_at(bounds.period, now, zone)
        self._settled, self._granted = use.settled, use.granted
        self._hours: dict[str, Hours] = {}
        """What is taken of the periods that were asked about."""

    def taken(self, key: str) -> Hours:
        """What is used or granted of a period."""
        found = self._hours.get(key)
        if found is None:
            settled, granted = self._settled.get(key, NO_HOURS), self._granted.get(key, NO_HOURS)
            found = self._hours[key] = settled if granted is NO_HOURS else settled.plus(granted)
        return found

    def take(self, rate: Rate, hours: Mapping[str, Hours]) -> None:
        """Something starts."""
        self.running = self.running.plus(rate)
        self.grant(hours)

    def grant(self, hours: Mapping[str, Hours]) -> None:
        """Something that runs is granted more, or less."""
        for key, each in hours.items():
            self._add(key, each)

    def affordable_s(self, rate: Rate, begins: datetime, want_s: float) -> float:
        """For how long from `begins` on, at most `want_s`, the budget lets `rate` go on: period by period."""
        if not self.bounds.uses_budget(rate):
            return want_s
        total_s = 0.0
        each = hours_of(rate, 1.0)
        for span, seconds in parts(self.bounds.period, begins, want_s, self.zone):
            left_s = self._left_s(each, span.key, seconds)
            total_s += left_s
            if left_s < seconds:
                break
        return total_s

    def excess(self, key: str) -> Hours:
        """By how much a period is granted beyond its budget, which was lowered; none = 0."""
        taken = self.taken(key)
        return Hours(**{name: max(getattr(taken, name) - self._most(name), 0.0) for name in RESOURCES})

    def range_s(self, rate: Rate) -> tuple[float, float]:
        """A job that needs no longer than the first can start now, one that needs longer than the second cannot.

        By this period alone; what is between the two is up to `refuses`. Negative = none can, however short it is.
        """
        if self._capped(rate) is not None:
            return -1.0, -1.0
        if not self.bounds.uses_budget(rate):
            return float("inf"), float("inf")
        ends = self.span.ends
        until_s = float("inf") if ends is None else (ends - self.now).total_seconds()
        surely_s = self._left_s(hours_of(rate, 1.0), self.span.key, until_s)
        enough = surely_s >= min(self._whole_s(rate), until_s) - EPSILON_S
        return surely_s, float("inf") if enough else surely_s + EPSILON_S

    def refuses(self, rate: Rate, need_s: float, least_s: float) -> Reason | None:
        """Why a job that needs so much cannot start; None = it can.

        `least_s` = what it needs at least, if `need_s` is a guess: such a one never asks for more than there can be.
        """
        need_s = max(min(need_s, self._whole_s(rate)), least_s)
        return self._never(rate, least_s) or self._capped(rate) or self._no_budget(rate, need_s)

    # -- why not -------------------------------------------------------------------------------------------------------

    def _never(self, rate: Rate, need_s: float) -> Reason | None:
        """What no end of another job and no new period changes."""
        for name, key, words in _CAPS:
            most, wanted = getattr(self.bounds, name), getattr(rate, name)
            if most is not None and wanted > most:
                text = f"it needs {words(wanted)}; {self.owner} may have {wanted_words(name, most)} ({key})"
                return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
        most_in_period = hours_of(rate, min(need_s, self.span.length_s))
        for name in RESOURCES:
            budget, needed = getattr(self.bounds, name), getattr(most_in_period, name)
            if budget is None or not getattr(hours_of(rate, 1.0), name):
                continue
            if budget <= 0:
                text = f"the budget of {self.owner} is 0 {UNITS[name]} ({name}_hours)"
                return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
            if needed > budget + EPSILON_H:
                all_of_it = f"{budget:.4g} {UNITS[name]}{EACH[self.bounds.period]} ({name}_hours)"
                text = f"it needs up to {needed:.4g} {UNITS[name]}; {self.owner} has {all_of_it}"
                return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
        return None

    def _capped(self, rate: Rate) -> Reason | None:
        for name, key, words in _CAPS:
            most, wanted = getattr(self.bounds, name), getattr(rate, name)
            has = getattr(self.running, name)
            if most is not None and wanted and has + wanted > most:
                text = f"{self.owner} has {_of(words, has, most)}, {wanted_words(name, wanted)} needed ({key})"
                return Reason(code=ReasonCode.CAP, text=text)
        return None

    def _no_budget(self, rate: Rate, need_s: float) -> Reason | None:
        if self.affordable_s(rate, self.now, need_s) >= need_s - EPSILON_S:
            return None
        needed = hours_of(rate, need_s)
        name = min(
            (name for name in RESOURCES if getattr(self.bounds, name) is not None and getattr(needed, name) > 0),
            key=lambda name: self.left(name) / getattr(needed, name),
        )
        budget = getattr(self.bounds, name)
        until = "" if self.span.ends is None else f" until {self.span.ends.astimezone(self.zone):%Y-%m-%d}"
        granted = getattr(self._granted.get(self.span.key, NO_HOURS), name)
        running = f" ({granted:.4g} granted to what runs)" if granted > EPSILON_H else ""
        left = f"{self.left(name):.4g} of {budget:.4g} left{until}{running}"
        text = f"{self.owner} has {left}, {getattr(needed, name):.4g} {UNITS[name]} needed ({name}_hours)"
        return Reason(code=ReasonCode.BUDGET, text=text, until=self.span.ends)

    def left(self, name: str) -> float:
        """Hours of a resource that are neither used nor granted in this period; only where there is a budget."""
        return max(self._most(name) - float(getattr(self.taken(self.span.key), name)), 0.0)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _whole_s(self, rate: Rate) -> float:
        """For how long the budget of one whole period lets `rate` go on; infinite where it lasts to the next one."""
        seconds = self._left_s(hours_of(rate, 1.0), "", float("inf"))
        return float("inf") if seconds >= self.span.length_s else seconds

    def _most(self, name: str) -> float:
        most = getattr(self.bounds, name)
        return float("inf") if most is None else float(most)

    def _left_s(self, each: Hours, key: str, most_s: float) -> float:
        """Seconds that a period has left for `each` (hours a second)."""
        taken = self.taken(key)
        for name in RESOURCES:
            budget, used = getattr(self.bounds, name), getattr(each, name)
            if budget is not None and used > 0:
                most_s = min(most_s, max(budget - getattr(taken, name), 0.0) / used)
        return most_s

    def _add(self, key: str, hours: Hours) -> None:
        self._hours[key] = self.taken(key).plus(hours)


def _gib(mib: int) -> str:
    return f"{mib / 1024:.4g} GiB of memory"


_CAPS = (
    ("gpus", "max_gpus", lambda number: counted(number, "GPU")),
    ("cpus", "max_cpus", lambda number: counted(number, "core")),
    ("memory_mib", "max_memory", _gib),
)


def wanted_words(name: str, wanted: int) -> str:
    """How much of what was named before is needed."""
    return f"{wanted / 1024:.4g} GiB" if name == "memory_mib" else str(wanted)


def _of(words: object, has: int, most: int) -> str:
    """`4 of 4 GPUs`, `12 of 16 GiB of memory`."""
    assert callable(words)
    number = f"{has / 1024:.4g}" if words is _gib else str(has)
    return f"{number} of {words(most)}"
