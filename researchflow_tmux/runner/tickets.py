"""Tickets: who holds which share of which GPU, across workspaces and users of one machine.

`LEASE_DIR/<gpu uuid>/` has one file per running attempt, exclusively locked by its runner and by the job that inherits
the descriptor: the kernel drops the lock with the last of them, so a ticket that can be locked is dead, whatever it
says. New tickets appear under the directory's `gate` lock (see `admission`), already locked: a reader's momentary
shared lock can therefore never be in the way of the runner's exclusive one.
"""

from __future__ import annotations

import os
import stat

from researchflow_tmux.runner import claim, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GATE = "gate"
ALL_MIB = 1_000_000_000
"""More than any GPU has: what a ticket that cannot be understood may have been promised."""
_PLACES = ("/run/lock/rfsched", "/var/tmp/rfsched")  # noqa: S108 - kept over logouts, and no cleaner of /tmp comes by


def default_dir() -> str:
    """Return the machine's lease directory, creating it: $RFSCHED_LEASE_DIR, /run/lock/rfsched or /var/tmp/rfsched.

    All users of a machine must come to the same answer, so the first that exists or can be made is taken.
    """
    chosen = os.environ.get("RFSCHED_LEASE_DIR")
    for place in [chosen] if chosen else _PLACES:
        try:
            make_shared_dir(place)
        except OSError:
            continue
        return place
    return chosen or _PLACES[-1]


def make_shared_dir(path: str) -> None:
    """Have `path` as a directory in which every user may create files and none may remove another's (mode 1777)."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    previous = os.umask(0)
    try:
        os.mkdir(path, 0o1777)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(20, "is not a directory (symbolic links are not followed)", path) from None
    finally:
        os.umask(previous)


def gpu_dir(lease_dir: str, uuid: str) -> str:
    """Return the directory of one GPU; ValueError for an id that is no plain file name."""
    if not uuid or "/" in uuid or uuid.startswith("."):
        raise ValueError(f"GPU id {uuid!r} is no plain name")
    return os.path.join(lease_dir, uuid)


def live(lease_dir: str, uuid: str) -> list[dict[str, Any]]:
    """Return the live tickets of a GPU: dicts with holder, pid, share, memory_mib, session, tag, uid, ticket.

    Never waits, never disturbs a runner, needs no gate; what it returns may change at once.
    """
    directory = gpu_dir(lease_dir, uuid)
    found = (read(os.path.join(directory, name)) for name in names(directory) if not name.startswith("."))
    return [ticket for ticket in found if ticket is not None]


def names(directory: str) -> list[str]:
    """Return the names of all ticket files in a GPU's directory, unfinished ones (`.name`) included."""
    try:
        return sorted(name for name in os.listdir(directory) if name != GATE)
    except FileNotFoundError:
        return []


def read(path: str) -> dict[str, Any] | None:
    """Return the ticket if it is live, None if it is dead or gone.

    A live ticket that cannot be understood counts as the whole GPU: unknown is not free.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _whole_gpu(path, f"a file nobody but its owner can read ({error.strerror})")
    try:
        if claim.lockable(fd):
            return None
        content = jsontext.load_dict(os.read(fd, 1 << 16)) or _whole_gpu(path, "an unreadable ticket")
    finally:
        os.close(fd)
    share, memory_mib = content.get("share"), content.get("memory_mib")
    if not _number(share, 1.0) or not _number(memory_mib, ALL_MIB):
        content |= _whole_gpu(path, str(content.get("holder", "")))
    return content | {"ticket": os.path.basename(path)}


def remove_if_ours(path: str) -> None:
    """Unlink a dead ticket of this user. Only under the gate; other people's are theirs to remove."""
    try:
        ours = os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return
    if ours:
        files.remove(path)


def _number(value: Any, largest: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= largest


def _whole_gpu(path: str, holder: str) -> dict[str, Any]:
    return {"holder": holder, "pid": 0, "share": 1.0, "memory_mib": ALL_MIB, "session": "", "tag": "", "uid": -1} | {
        "ticket": os.path.basename(path)
    }
