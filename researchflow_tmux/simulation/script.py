"""What a simulated job does, as told beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.domain.attempt import Exited, Outcome
from researchflow_tmux.simulation.load import JobLoad

SUCCESS = Exited(code=0, succeeded=True)


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a simulated job."""

    duration_s: float | None = 60.0
    """How long it runs; None = until it is stopped."""
    outcome: Outcome = SUCCESS
    """How it ends if nobody stops it. `Lost` = its runner dies without an exit record."""
    claim_delay_s: float = 0.0
    """Time between the launch and the runner's claim."""
    saves_every_s: float | None = None
    """It saves a checkpoint so often; None = never."""
    stop_delay_s: float = 0.0
    """Time it takes to end when it is asked to."""
    survivors: int = 0
    """Processes that outlive it, until `destroy`."""
    unkillable: int = 0
    """Those of them that `destroy` cannot kill."""
    load: JobLoad = JobLoad(memory_mib=0, util_pct=0)
    """What it does to each of its GPUs."""
    ram_mib: int = 0
    """Memory of the machine that it uses."""
    peak_rss_mib: float | None = None
    cpu_s: float | None = None


class Scripts:
    """Which script an attempt follows: by job name and attempt number, the last one of a list for all later ones."""

    def __init__(
        self, by_name: Mapping[str, Script | Sequence[Script]] | None = None, *, default: Script | None = None
    ) -> None:
        self._by_name = dict(by_name or {})
        self._default = default or Script()

    def set(self, name: str, *scripts: Script) -> None:
        """Give the job its scripts, one for each attempt."""
        self._by_name[name] = scripts

    def of(self, name: str, number: int) -> Script:
        """Return the script of one attempt (1-based)."""
        found = self._by_name.get(name, self._default)
        return found if isinstance(found, Script) else found[min(number, len(found)) - 1]
