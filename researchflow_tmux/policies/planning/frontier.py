"""The first job of every class, merged in the policy's order: by project first, and within a project by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heapreplace

from researchflow_tmux.policies.planning.classes import ClassKey, JobKey, Shelf


class Frontier:
    """Where a walk stands in each class. It reads the shelves and changes none of them."""

    def __init__(
        self,
        shelves: Mapping[str, Mapping[ClassKey, Shelf]],
        ratio: Callable[[str], float],
        wanted: Callable[[Shelf], bool] | None = None,
    ) -> None:
        """`wanted` = which classes to look at; None = all."""
        self._shelves = shelves
        self._ratios = {project: ratio(project) for project in shelves}
        self._places: dict[ClassKey, int] = {}
        self._heads: dict[str, list[tuple[JobKey, ClassKey]]] = {}
        for project, own in shelves.items():
            heads = self._heads[project] = [
                (shelf.keys[0], key) for key, shelf in own.items() if wanted is None or wanted(shelf)
            ]
            heapify(heads)
        self._order()

    @property
    def head(self) -> int | None:
        """The job that comes next, by id; None = all have been looked at."""
        return self._projects[0][1][-1] if self._projects else None

    def step(self) -> None:
        """Past that job, on to the next one of its class."""
        _, _, project = self._projects[0]
        heads = self._heads[project]
        key = heads[0][1]
        keys = self._shelves[project][key].keys
        place = self._places[key] = self._places.get(key, 0) + 1
        if place < len(keys):
            heapreplace(heads, (keys[place], key))
        else:
            heappop(heads)
        self._put_back(project)

    def drop(self) -> ClassKey:
        """Past that job and all the others of its class."""
        _, _, project = self._projects[0]
        _, key = heappop(self._heads[project])
        self._put_back(project)
        return key

    def keep(self, wanted: Callable[[Shelf], bool]) -> None:
        """Go past every class that is not wanted."""
        for project, heads in self._heads.items():
            own = self._shelves[project]
            self._heads[project] = [head for head in heads if wanted(own[head[1]])]
            heapify(self._heads[project])
        self._order()

    def charge(self, project: str, more: float) -> None:
        """The project has used more: others may come before it now."""
        if project in self._ratios:
            self._ratios[project] += more
            self._order()

    def _put_back(self, project: str) -> None:
        heads = self._heads[project]
        if heads:
            heapreplace(self._projects, (self._ratios[project], heads[0][0], project))
        else:
            heappop(self._projects)

    def _order(self) -> None:
        self._projects = [
            (self._ratios[project], heads[0][0], project) for project, heads in self._heads.items() if heads
        ]
        heapify(self._projects)
