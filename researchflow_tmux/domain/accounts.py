"""What projects and users have and use: whose account an attempt is charged to, and how much was granted to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

OwnerKind = Literal["project", "user"]


class Owner(NamedTuple):
    """Who has an account."""

    kind: OwnerKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@lru_cache(maxsize=1024)
def owner_of(text: str) -> Owner:
    """The owner that is called `project vision` or `user ann`. Raises ValueError for anything else."""
    kind, _, name = text.partition(" ")
    if kind not in ("project", "user") or not name:
        raise ValueError(f"expected `project NAME` or `user NAME`, got {text!r}")
    return Owner("project" if kind == "project" else "user", name)


class Rate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody has at one moment: for a job, what it uses from its start to its end."""

    gpus: int = 0
    """GPUs that it is on, each as a whole one: of one that is shared, too."""
    cpus: int = 0
    """Cores; a job that asks for none counts as one."""
    memory_mib: int = 0
    """MiB of the machine's memory that it asked for; one that did not ask counts as none."""

    def plus(self, other: Rate) -> Rate:
        """Both together."""
        return Rate(
            gpus=self.gpus + other.gpus,
            cpus=self.cpus + other.cpus,
            memory_mib=self.memory_mib + other.memory_mib,
        )


class Hours(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An amount of use: GPU-hours, core-hours, and GiB-hours of memory."""

    gpu: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0

    def plus(self, other: Hours) -> Hours:
        """Both together."""
        return Hours(gpu=self.gpu + other.gpu, cpu=self.cpu + other.cpu, memory=self.memory + other.memory)


NO_HOURS = Hours()


def hours_of(rate: Rate, seconds: float) -> Hours:
    """What `rate` uses in so many seconds."""
    hours = seconds / 3600.0
    return Hours(gpu=rate.gpus * hours, cpu=rate.cpus * hours, memory=rate.memory_mib / 1024.0 * hours)


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt may use of the budgets of its owners: durable before the attempt is launched."""

    owners: tuple[str, ...]
    """The accounts that it is charged to: `project vision`, `user ann`."""
    rate: Rate
    at: datetime
    """When it began to count, and of which periods."""
    since_s: float = 0.0
    """The same by the monotonic clock of the attempt's boot: the clock on the wall may be set meanwhile."""
    seconds: float | None = None
    """From `at` on: everything it does must be over by then, its end included. None = no budget limits it."""


class AccountUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one workspace uses of one account: what it publishes for the others, and what they add up."""

    running: Rate = Rate()
    """What its live attempts have."""
    settled: Mapping[str, Hours] = {}
    """What ended attempts used, by period (`day 2026-11-24`, `week 2026-11-23`, `month 2026-11-01`, `total`)."""
    granted: Mapping[str, Hours] = {}
    """What its live attempts may use, by period; part of that they have used already."""

    def plus(self, other: AccountUse) -> AccountUse:
        """Both together."""
        return AccountUse(
            running=self.running.plus(other.running),
            settled=added(self.settled, other.settled),
            granted=added(self.granted, other.granted),
        )

    def hours(self, period: str) -> Hours:
        """What is used or granted of a period."""
        return self.settled.get(period, NO_HOURS).plus(self.granted.get(period, NO_HOURS))


NO_USE = AccountUse()


def added(one: Mapping[str, Hours], other: Mapping[str, Hours]) -> dict[str, Hours]:
    """Amounts by period, added up."""
    return {
        period: one.get(period, NO_HOURS).plus(other.get(period, NO_HOURS)) for period in sorted(one.keys() | other)
    }
