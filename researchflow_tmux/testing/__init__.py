"""For tests of your own policies and pipelines: the real scheduler on a virtual clock, with scripted GPUs and jobs.

Example:
    >>> from researchflow_tmux.testing import World
    >>> world = World(gpus=1, policy="sjf")
    >>> world.submit("long", takes="5h")
    >>> world.submit("short", takes="1h")
    >>> world.run_until_idle()
    >>> world.started
    ['short', 'long']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from researchflow_tmux.testing.pipelines import submit_pipeline as submit_pipeline
    from researchflow_tmux.testing.world import World as World

__all__ = ["World", "submit_pipeline"]

_HOMES = {"World": "world", "submit_pipeline": "pipelines"}
"""Where each name comes from. On demand: pytest loads the fixture of every plug-in that is installed, needed or not."""


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
