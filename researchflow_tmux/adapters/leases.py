"""Who holds which share of which GPU on this machine: the tickets of the runners, seen from the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from researchflow_tmux.adapters import procs
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import Ticket
from researchflow_tmux.runner import tickets


class FileLeases:
    """The Leases port over the machine's lease directory."""

    def __init__(self, directory: str | None = None) -> None:
        """Read `directory`; None = the machine's (RFSCHED_LEASE_DIR, /run/lock/rfsched, /var/tmp/rfsched)."""
        self._directory = directory

    @property
    def directory(self) -> str:
        """The lease directory, looked for when it is first needed."""
        if self._directory is None:
            self._directory = tickets.default_dir()
        return self._directory

    def live(self, uuids: Sequence[str]) -> list[Ticket]:
        """The live tickets on these GPUs, our own included. Raises ProbeError when the directory cannot be read."""
        try:
            return [_ticket(uuid, raw) for uuid in uuids for raw in tickets.live(self.directory, uuid)]
        except OSError as error:
            raise ProbeError(
                f"the GPU leases in {self.directory} cannot be read: {error.strerror or error}",
                hint="all users of the machine must be able to read and write there (mode 1777); "
                "RFSCHED_LEASE_DIR names another place, the same for everybody",
            ) from error
        except ValueError as error:
            raise ProbeError(f"the GPU leases cannot be read: {error}") from error

    def managed(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> frozenset[int]:
        """Those of `candidates` that belong to a job of any rfsched workspace: descendants of the runners."""
        return procs.managed(runner_pids, candidates)

    def owners(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> dict[int, int]:
        """The runner that each of `candidates` descends from; those under none of them are left out."""
        return procs.runners_above(candidates, runner_pids)

    def describe(self, pids: Iterable[int]) -> dict[int, str]:
        """Words for processes, such as "python pid 4242, user ann"."""
        return {pid: procs.describe(pid) for pid in pids}


def _ticket(uuid: str, raw: dict[str, Any]) -> Ticket:
    """What the runner wrote; `tickets.read` has checked the figures, the words may be anything."""
    pid = raw.get("pid")
    return Ticket(
        uuid=uuid,
        share=float(raw["share"]),
        holder=str(raw.get("holder") or "somebody"),
        pid=pid if isinstance(pid, int) and pid > 0 else None,
        session=str(raw["session"]) if raw.get("session") else None,
        tag=str(raw["tag"]) if raw.get("tag") else None,
        memory_mib=int(raw["memory_mib"]),
    )
