"""Which of the free GPUs are connected best: the choice for a job that asks for several. Pure.

A set is the better the closer its least connected two are, then the more links there are within it, then the fewer
links there are between it and what stays free: good groups are left whole for others.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

from researchflow_tmux.domain.hardware import CLOSENESS, Hardware
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.policies.hardware import fitting

EXACT = 16
"""Up to so many GPUs all sets are looked at; among more, one grows around each GPU."""
MOST_GROUPS = 64
"""Groups of GPUs that are connected well enough; real machines have a handful."""

Matrix = tuple[tuple[int, ...], ...]
Score = tuple[int, int, int, tuple[int, ...]]


class Links:
    """How any two GPUs of a machine are connected; what is not known counts as not at all."""

    def __init__(self, devices: Sequence[GpuDevice]) -> None:
        self._ways = {device.uuid: {link.uuid: link for link in device.links} for device in devices}
        self.known = any(self._ways.values())

    def closeness(self, one: str, other: str) -> int:
        """As `GpuLink.closeness`."""
        link = self._ways.get(one, {}).get(other)
        return 0 if link is None else link.closeness

    def strength(self, one: str, other: str) -> int:
        """As `GpuLink.strength`."""
        link = self._ways.get(one, {}).get(other)
        return 0 if link is None else link.strength

    def matrix(self, uuids: Sequence[str]) -> Matrix:
        """Closeness and strength of every two, as one number each: closeness counts first."""
        return tuple(
            tuple(self.closeness(one, other) * _UNIT + self.strength(one, other) for other in uuids) for one in uuids
        )


NO_LINKS = Links(())
"""Nothing is known."""
_UNIT = 1000
"""More NVLinks than this no two GPUs have."""
_FAR_BEYOND = 10 * _UNIT


def best(number: int, uuids: Sequence[str], links: Links, least: int = 0) -> list[str] | None:
    """The best connected `number` of these GPUs; of equals those that come first.

    `least` = the closeness that every two must have; None = there are none such.
    """
    if not 0 < number <= len(uuids):
        return [] if number == 0 else None
    chosen = _best(number, links.matrix(uuids)) if links.known and number < len(uuids) else tuple(range(number))
    found = [uuids[place] for place in chosen]
    return found if not least or closest(found, links) >= least else None


def closest(uuids: Sequence[str], links: Links) -> int:
    """How close the least connected two of these are."""
    return min((links.closeness(*pair) for pair in combinations(uuids, 2)), default=max(CLOSENESS.values()))


@functools.lru_cache(maxsize=1024)
def _best(number: int, matrix: Matrix) -> tuple[int, ...]:
    """By places. The same GPUs are free again and again: what was found once is remembered."""
    if len({each for row, ways in enumerate(matrix) for column, each in enumerate(ways) if row != column}) < 2:
        return tuple(range(number))
    if len(matrix) <= EXACT:
        return _Search(number, matrix).chosen
    sets = (_grown(start, number, matrix) for start in range(len(matrix)))
    return max(sets, key=lambda chosen: _score(chosen, matrix))


class _Search:
    """Looks at all sets, but goes no further where two are too far apart for the set to be the best.

    Of GPUs that are connected alike only the first ones are tried.
    """

    def __init__(self, number: int, matrix: Matrix) -> None:
        self._number, self._matrix = number, matrix
        self._sums = [sum(ways) - ways[place] for place, ways in enumerate(matrix)]
        """Of each GPU, how much connects it to all the others."""
        self._before = [
            next((other for other in reversed(range(place)) if _twins(place, other, matrix)), None)
            for place in range(len(matrix))
        ]
        """The GPU before each that is connected as it is."""
        self.chosen: tuple[int, ...] = ()
        self._score: tuple[int, int, int] | None = None
        self._extend((), 0, 0, _FAR_BEYOND)

    def _extend(self, chosen: tuple[int, ...], inside: int, outside: int, least: int) -> None:
        """All sets that begin so; `inside` = what connects these, `outside` = the sum of what each connects to."""
        if self._score is not None and least // _UNIT < self._score[0]:
            return
        if len(chosen) == self._number:
            score = (least // _UNIT, inside, 2 * inside - outside)
            if self._score is None or score > self._score:
                self._score, self.chosen = score, chosen
            return
        start = chosen[-1] + 1 if chosen else 0
        for place in range(start, len(self._matrix) - (self._number - len(chosen)) + 1):
            before = self._before[place]
            if before is not None and before not in chosen:
                continue
            ways = [self._matrix[place][other] for other in chosen]
            closest = min(ways, default=_FAR_BEYOND)
            more = inside + sum(ways)
            self._extend((*chosen, place), more, outside + self._sums[place], min(least, closest))


def _twins(one: int, other: int, matrix: Matrix) -> bool:
    return all(matrix[one][third] == matrix[other][third] for third in range(len(matrix)) if third not in (one, other))


def _grown(start: int, number: int, matrix: Matrix) -> tuple[int, ...]:
    """A set around one GPU, each time with the GPU that is connected best to those in it."""
    chosen = [start]
    while len(chosen) < number:
        rest = [place for place in range(len(matrix)) if place not in chosen]
        chosen.append(max(rest, key=lambda place: (_least(place, chosen, matrix), -place)))
    return tuple(sorted(chosen))


def _least(place: int, chosen: Sequence[int], matrix: Matrix) -> tuple[int, int]:
    ways = [matrix[place][other] for other in chosen]
    return min(ways), sum(ways)


def _score(chosen: tuple[int, ...], matrix: Matrix) -> Score:
    inside = [matrix[one][other] for one, other in combinations(chosen, 2)]
    rest = [place for place in range(len(matrix)) if place not in chosen]
    cut = sum(matrix[one][other] for one in chosen for other in rest)
    return (min(inside, default=0) // _UNIT, sum(inside), -cut, tuple(-place for place in chosen))


def loose(uuid: str, uuids: Iterable[str], links: Links) -> int:
    """How much the others would lose if this GPU were taken: for a job that needs only one."""
    return sum(links.strength(uuid, other) for other in uuids if other != uuid)


def pools_of(devices: Sequence[GpuDevice], asked: Hardware, gpus: int) -> tuple[frozenset[str], ...]:
    """The sets of GPUs from one of which such a job gets all its GPUs: those of its kind, or of one group of them."""
    good = fitting(devices, asked)
    if gpus < 2 or not asked.least_closeness:
        return (good,)
    return groups(good, Links(devices), asked.least_closeness, gpus)


def groups(uuids: Collection[str], links: Links, least: int, number: int) -> tuple[frozenset[str], ...]:
    """The largest sets of at least `number` GPUs in which every two are as close as `least`."""
    near = {one: {other for other in uuids if other != one and links.closeness(one, other) >= least} for one in uuids}
    found: list[frozenset[str]] = []
    _cliques(set(), set(near), set(), near, found)
    wide = sorted((group for group in found if len(group) >= number), key=lambda group: (-len(group), sorted(group)))
    return tuple(wide[:MOST_GROUPS])


def _cliques(
    inside: set[str], may: set[str], done: set[str], near: dict[str, set[str]], found: list[frozenset[str]]
) -> None:
    """Bron and Kerbosch's enumeration of maximal cliques, with a pivot."""
    if not may and not done:
        found.append(frozenset(inside))
        return
    pivot = max(may | done, key=lambda one: (len(near[one] & may), one))
    for one in sorted(may - near[pivot]):
        _cliques(inside | {one}, may & near[one], done & near[one], near, found)
        may = may - {one}
        done = done | {one}
