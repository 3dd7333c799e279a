"""Who yields to whom on GPUs that workspaces share.

A job that could start now waits a moment if a job of another workspace has the better claim to the GPU:

- that one is urgent, and this one is not, or must start later;
- neither is urgent, both are of projects that the machine's workspaces share, and the other's project used less by its
  weight, by more than the loan B.

It waits YIELD_S for any one workspace, and then goes on as if there were nobody, for PATIENCE_S: whoever has the better
claim and cannot use it (no room for it, a scheduler that hangs) keeps nobody from anything. So nobody starves.
"""

from __future__ import annotations

from collections.abc import Iterable

from researchflow_tmux.domain.register import Want

YIELD_S = 5.0
"""A scheduler sees a lease that ends at once; this is plenty."""
PATIENCE_S = 60.0


def is_better(theirs: Want, mine: Want, loan: float) -> bool:
    """Whether the other want comes first."""
    if theirs.latest_start_s is not None:
        return mine.latest_start_s is None or theirs.latest_start_s < mine.latest_start_s
    if mine.latest_start_s is not None or theirs.ratio is None or mine.ratio is None:
        return False
    return theirs.project != mine.project and theirs.ratio + loan < mine.ratio


class Yielding:
    """Remembers since when this workspace has yielded to which other one."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def to(self, mine: Want, wants: Iterable[tuple[str, Want]], loan: float, now_s: float) -> str | None:
        """The workspace to which `mine` yields now; None = it may start. `now_s` is monotonic."""
        self._since_s = {path: since for path, since in self._since_s.items() if now_s - since < PATIENCE_S}
        for path, want in wants:
            if is_better(want, mine, loan) and now_s - self._since_s.setdefault(path, now_s) < YIELD_S:
                return path
        return None
