"""Taking GPU shares: under the gates of all GPUs at once, all of them or none.

If the lease directory is cleaned away while attempts run, their tickets are invisible to the next taker, which makes
the directory anew. `Leases.refresh` keeps age-based cleaners away and puts a missing ticket back within a minute;
until then the schedulers' own books and the measured GPU memory are what keeps a GPU from being given out twice.
"""

from __future__ import annotations

import fcntl
import os
import time

from researchflow_tmux.runner import claim, files, jsontext, tickets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from researchflow_tmux.runner.spec import Lease

_GATE_PATIENCE_S = 5.0
_RELEASE_PATIENCE_S = 1.0
_EPSILON = 1e-6


class SlotTaken(Exception):  # noqa: N818 - an outcome, not a fault
    """Not admitted; the message names the holders."""


class Need:
    """What is asked of one GPU: `share`, declared `memory_mib`, and `total_mib` if declared memory is limited."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.uuid = str(raw.get("uuid"))
        self.share = float(raw.get("share", 1.0))
        self.memory_mib = float(raw.get("memory_mib") or 0)
        self.total_mib: float | None = raw.get("total_mib")
        if not 0 <= self.share <= 1 or not self.memory_mib >= 0:
            raise ValueError(f"GPU {self.uuid}: share {self.share} and memory_mib {self.memory_mib} cannot be had")

    def refusal(self, others: list[dict[str, Any]]) -> str:
        """Return why this need does not fit beside the live tickets `others`, "" if it does."""
        taken = sum(float(ticket["share"]) for ticket in others)
        memory = sum(float(ticket["memory_mib"]) for ticket in others)
        if taken + self.share > 1 + _EPSILON:
            return f"GPU {self.uuid}: {taken:g} of it is taken, {self.share:g} more does not fit ({_holders(others)})"
        if self.memory_mib and self.total_mib is not None and memory + self.memory_mib > self.total_mib:
            room = f"{min(memory, self.total_mib):g} of {self.total_mib:g} MiB are taken"
            return f"GPU {self.uuid}: {room}, {self.memory_mib:g} more do not fit ({_holders(others)})"
        return ""


class Leases:
    """The tickets of one attempt: `inherit` is what the job's tree keeps locked together with the runner."""

    def __init__(self, lease: Lease, tag: str) -> None:
        self._lease = lease
        self._tag = tag
        self._name = f"{tag.replace('/', '_')[-150:].lstrip('.')}.{os.getpid()}.{time.monotonic_ns()}"
        self._held: list[tuple[int, str, Need]] = []

    @property
    def inherit(self) -> list[int]:
        """Descriptors the job inherits."""
        return [fd for fd, _, _ in self._held]

    def add(self, need: Need) -> None:
        """Create the locked ticket for one need; the caller holds the gate."""
        path = os.path.join(tickets.gpu_dir(self._lease.directory, need.uuid), self._name)
        hidden = os.path.join(os.path.dirname(path), f".{self._name}")
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.fchmod(fd, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.write_all(fd, self._content(need))
            os.rename(hidden, path)
        except OSError:
            os.close(fd)
            files.remove(hidden)
            raise
        os.set_inheritable(fd, True)
        self._held.append((fd, path, need))

    def refresh(self) -> None:
        """Show cleaners that the tickets are in use, and make those anew that were cleaned away."""
        for fd, path, need in list(self._held):
            try:
                os.utime(fd)
                os.utime(os.path.join(os.path.dirname(path), tickets.GATE))
            except OSError:
                pass  # another user's gate: its own attempts refresh it
            if not claim.same_file(fd, path):
                self._put_back(need)

    def release(self) -> None:
        """Give all shares back; call it once the job's tree is proven dead."""
        for fd, path, _ in self._held:
            if claim.same_file(fd, path):
                files.remove(path)
            os.close(fd)
        self._held = []

    def _put_back(self, need: Need) -> None:
        try:
            tickets.make_shared_dir(self._lease.directory)
            tickets.make_shared_dir(tickets.gpu_dir(self._lease.directory, need.uuid))
            self.add(need)  # the old descriptor stays open: the job holds it too
        except OSError:
            return

    def _content(self, need: Need) -> bytes:
        who = {"holder": self._lease.holder, "session": self._lease.session, "tag": self._tag}
        mine = {"pid": os.getpid(), "uid": os.geteuid(), "share": need.share, "memory_mib": need.memory_mib}
        return jsontext.dumps(who | mine).encode()


def take(lease: Lease, tag: str) -> Leases:
    """Take every share the lease names, or none.

    SlotTaken after about a second of retries (a ticket in the act of being released). OSError or ValueError: the lease
    directory or the request cannot be used at all.
    """
    needs = _merged(lease.gpus)
    previous = os.umask(0o022)  # other users must be able to read gates and tickets
    try:
        return _take(lease, tag, needs)
    finally:
        os.umask(previous)


def _take(lease: Lease, tag: str, needs: list[Need]) -> Leases:
    deadline = time.monotonic() + _RELEASE_PATIENCE_S
    while True:
        gates = _lock_gates(lease.directory, [need.uuid for need in needs])
        try:
            reasons = [need.refusal(_others(lease.directory, need.uuid)) for need in needs]
            if not any(reasons):
                return _create(lease, tag, needs)
        finally:
            for fd in gates:
                os.close(fd)
        if time.monotonic() > deadline:
            raise SlotTaken("; ".join(filter(None, reasons)))
        time.sleep(0.05)


def _merged(gpus: list[dict[str, Any]]) -> list[Need]:
    """Return one need per GPU in the order in which everybody locks; several shares of one GPU add up."""
    needs: dict[str, Need] = {}
    for raw in gpus:
        need = Need(raw)
        if earlier := needs.get(need.uuid):
            need = Need(raw | {"share": earlier.share + need.share, "memory_mib": earlier.memory_mib + need.memory_mib})
        needs[need.uuid] = need
    return [needs[uuid] for uuid in sorted(needs)]


def _create(lease: Lease, tag: str, needs: list[Need]) -> Leases:
    leases = Leases(lease, tag)
    try:
        for need in needs:
            leases.add(need)
    except OSError:
        leases.release()
        raise
    return leases


def _others(lease_dir: str, uuid: str) -> list[dict[str, Any]]:
    """Return the live tickets and tidy away our own dead ones; under the gate nobody is in the middle of making one."""
    directory = tickets.gpu_dir(lease_dir, uuid)
    alive = []
    for name in tickets.names(directory):
        path = os.path.join(directory, name)
        ticket = tickets.read(path)
        if ticket is None:
            tickets.remove_if_ours(path)
        else:
            alive.append(ticket)
    return alive


def _lock_gates(lease_dir: str, uuids: list[str]) -> list[int]:
    deadline = time.monotonic() + _GATE_PATIENCE_S
    locked: list[int] = []
    try:
        for uuid in uuids:
            directory = tickets.gpu_dir(lease_dir, uuid)
            locked.append(_lock_until(directory, deadline))
    except (OSError, SlotTaken):
        for fd in locked:
            os.close(fd)
        raise
    return locked


def lock_gate(directory: str, patience_s: float) -> int:
    """Return a descriptor that holds the gate of `directory` until it is closed; SlotTaken after `patience_s`."""
    return _lock_until(directory, time.monotonic() + patience_s)


def _lock_until(directory: str, deadline: float) -> int:
    path = os.path.join(directory, tickets.GATE)
    while True:
        fd = _open_gate(directory, path)
        if _flock_until(fd, deadline) and claim.same_file(fd, path):
            return fd
        os.close(fd)
        if time.monotonic() > deadline:
            raise SlotTaken(f"{path} stayed locked for {_GATE_PATIENCE_S:g} s: another runner is stuck in it")


def _flock_until(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def _open_gate(directory: str, path: str) -> int:
    """Open the gate read-only: sticky directories refuse O_CREAT on other people's files, and flock needs no more."""
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            tickets.make_shared_dir(os.path.dirname(directory))
            tickets.make_shared_dir(directory)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except (FileExistsError, FileNotFoundError):
            continue
        os.fchmod(fd, 0o644)
        return fd


def _holders(others: list[dict[str, Any]]) -> str:
    return ", ".join(f"{ticket.get('holder') or 'unknown'} {ticket['share']:g}" for ticket in others)
