"""The pytest plug-in: installed with the package, it costs a test run nothing until a test asks for the fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from researchflow_tmux.testing.world import World


@pytest.fixture
def rfsched_world() -> Iterator[Callable[..., World]]:
    """Makes worlds in memory: `rfsched_world(gpus=4, policy="my_policy:Mine")`; see `researchflow_tmux.testing.World`.

    At the end of a test that is good so far is checked that each of them still holds together.
    """
    made: list[World] = []

    def make(**options: Any) -> World:
        from researchflow_tmux.testing.world import World

        made.append(World(**options))
        return made[-1]

    yield make
    for world in made:
        world.check()
