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

from researchflow_tmux.testing.pipelines import submit_pipeline
from researchflow_tmux.testing.world import World

__all__ = ["World", "submit_pipeline"]
