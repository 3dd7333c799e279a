"""What is free now, and when the rest will be: shares of GPUs in one decision, and the one reservation (EASY)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from researchflow_tmux.domain.resources import SHARE_TOLERANCE

NOTHING: frozenset[str] = frozenset()


class Need(NamedTuple):
    """What a job asks of GPUs, as far as counting goes. Whether a GPU really admits it is decided by `placement`."""

    gpus: int
    """0 = a place for CPU jobs."""
    share: float = 1.0
    """Of each GPU."""
    must: frozenset[str] = NOTHING
    """GPUs it has to have, by UUID."""
    may: frozenset[str] | None = None
    """Those it may have besides; None = any."""
    groups: tuple[frozenset[str], ...] = ()
    """All of one of these groups, which are connected as the job needs; empty = it does not matter."""

    def within(self, group: frozenset[str]) -> Need:
        """The same on the GPUs of one group only."""
        return self._replace(may=group if self.may is None else group & self.may, groups=())


class Stay(NamedTuple):
    """A share of a GPU in use, and until when that is expected to last."""

    uuid: str
    share: float
    ends_s: float


class Reservation(NamedTuple):
    """These GPUs are kept from `at_s` on."""

    at_s: float
    """T_s, the shadow time."""
    uuids: frozenset[str]


class Floor:
    """The GPUs on which something may start now or later, without those on which nothing may."""

    def __init__(self, free: Mapping[str, float], stays: Sequence[Stay] = (), cpu_places: int = 0) -> None:
        self.cpu_places = cpu_places
        self._free = dict(free)
        self._stays = list(stays)
        self._counts: dict[float, int] = {}
        self._answers: dict[tuple[Need, frozenset[str]], bool] = {}
        """Of `fits`, until the next start: classes ask for the same again and again."""

    @property
    def open(self) -> bool:
        """Whether anything at all may start here now: room on a GPU, or a place for a CPU job."""
        return self.cpu_places > 0 or any(free > SHARE_TOLERANCE for free in self._free.values())

    @property
    def free(self) -> Mapping[str, float]:
        """The share that is free of each GPU."""
        return self._free

    def copied(self) -> tuple[dict[str, float], list[Stay], int]:
        """What is free, what is in use, and places for CPU jobs, as of now."""
        return dict(self._free), list(self._stays), self.cpu_places

    @property
    def gpus(self) -> int:
        """On how many GPUs anything may start, now or later."""
        return len(self._free)

    def fits(self, need: Need, without: frozenset[str] = NOTHING) -> bool:
        """Whether it could start now, on GPUs that are not among `without`."""
        if need.gpus == 0:
            return self.cpu_places > 0
        if need.groups or need.must or need.may is not None or without:
            found = self._answers.get((need, without))
            if found is None:
                found = self._answers[need, without] = self._fits_chosen(need, without)
            return found
        return self.count(need.share) >= need.gpus

    def count(self, share: float) -> int:
        """How many GPUs have so much free."""
        known = self._counts.get(share)
        if known is None:
            least = share - SHARE_TOLERANCE
            known = self._counts[share] = sum(free >= least for free in self._free.values())
        return known

    def could_ever_fit(self, need: Need) -> bool:
        """Whether it fits once everything here has ended."""
        if need.groups:
            return any(self.could_ever_fit(need.within(group)) for group in need.groups)
        if not need.must <= self._free.keys():
            return False
        others = self._free.keys() - need.must if need.may is None else need.may & self._free.keys() - need.must
        return len(need.must) + len(others) >= need.gpus

    def take(self, need: Need, uuids: Iterable[str], ends_s: float) -> None:
        """Something starts."""
        if need.gpus == 0:
            self.cpu_places -= 1
            return
        for uuid in uuids:
            self._free[uuid] = self._free.get(uuid, 0.0) - need.share
            self._stays.append(Stay(uuid, need.share, ends_s))
        self._counts.clear()
        self._answers.clear()

    def reserve(self, need: Need, now_s: float) -> Reservation | None:
        """The earliest time at which there is room, by the expected ends; None = there never is.

        Of the GPUs that are open by then, those are kept that open last: what is free until then, and beyond what the
        job needs at T_s ("extra"), stays for others.
        """
        if need.groups:
            found = [self.reserve(need.within(group), now_s) for group in need.groups]
            return min((each for each in found if each is not None), key=lambda each: each.at_s, default=None)
        opens = self._opens(need.share, now_s)
        if not need.must <= opens.keys():
            return None
        others = sorted(
            (at_s, uuid)
            for uuid, at_s in opens.items()
            if uuid not in need.must and (need.may is None or uuid in need.may)
        )
        wanted = need.gpus - len(need.must)
        if len(others) < wanted:
            return None
        last_s = max((opens[uuid] for uuid in need.must), default=now_s)
        at_s = max(last_s, others[wanted - 1][0]) if wanted > 0 else last_s
        open_by_then = [uuid for opens_s, uuid in others if opens_s <= at_s]
        chosen = open_by_then[len(open_by_then) - wanted :] if wanted > 0 else []
        return Reservation(at_s, need.must.union(chosen))

    def _opens(self, share: float, now_s: float) -> dict[str, float]:
        """When each GPU has `share` free, if nothing more starts."""
        free = dict(self._free)
        least = share - SHARE_TOLERANCE
        opens = {uuid: now_s for uuid, part in free.items() if part >= least}
        for stay in sorted(self._stays, key=lambda stay: stay.ends_s):
            if stay.uuid in free:
                free[stay.uuid] += stay.share
                if free[stay.uuid] >= least:
                    opens.setdefault(stay.uuid, max(stay.ends_s, now_s))
        return opens

    def _fits_chosen(self, need: Need, without: frozenset[str]) -> bool:
        if need.groups:
            return any(self._fits_some(need.within(group), without) for group in need.groups)
        return self._fits_some(need, without)

    def _fits_some(self, need: Need, without: frozenset[str]) -> bool:
        least = need.share - SHARE_TOLERANCE
        able = {uuid for uuid, free in self._free.items() if free >= least and uuid not in without}
        others = able - need.must if need.may is None else (able & need.may) - need.must
        return need.must <= able and len(need.must) + len(others) >= need.gpus
