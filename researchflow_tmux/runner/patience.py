"""A job that makes room for another one: how long it may save itself, when it has, and whether it was through already.

Whoever stops a job that is to go on later may give it more time than the usual few seconds (`save_s` of the stop
request). It is not waited for once it has saved a checkpoint. An exit code of 0 says nothing of a job that heeds
signals: many save and then leave with 0. It is a success only if there is more to say so.
"""

from __future__ import annotations

import os

from researchflow_tmux.runner import files, jsontext, procfs
from researchflow_tmux.runner.kernel import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.tree import Tree

LOOK_S = 0.25
"""How often it is looked for a new checkpoint."""
_CHECKPOINT = "ckpt-"


class Patience:
    """Begin it before the job is asked for anything."""

    def __init__(self, save_s: float, env: dict[str, str], tree: Tree) -> None:
        self.save_s = save_s
        heeded = (signal.SIGUSR1, signal.SIGTERM)
        self._heeds = any(procfs.catches(pid, number) for pid in tree.living() for number in heeded)
        self._directory = env.get("RFSCHED_CHECKPOINT_DIR", "")
        self._progress = env.get("RFSCHED_PROGRESS", "")
        self._before = self._checkpoints()

    def saved(self) -> bool:
        """Tell whether there is a checkpoint now that was not there before it was asked."""
        return not self._checkpoints() <= self._before

    def was_through(self, status: int | None) -> bool:
        """Tell whether a job that ended with this wait status had finished its work, as far as can be told."""
        return status == 0 and (not self._heeds or self._all_done())

    def _checkpoints(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._directory or "/dev/null") if name.startswith(_CHECKPOINT)}
        except OSError:
            return set()

    def _all_done(self) -> bool:
        """Its last word on its progress was that all is done."""
        told = jsontext.load_dict(files.read(self._progress) or b"") if self._progress else None
        fraction = (told or {}).get("fraction")
        return isinstance(fraction, int | float) and fraction >= 1.0
