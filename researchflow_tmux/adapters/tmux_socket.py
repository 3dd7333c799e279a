"""Where the tmux socket is, and bringing it back when a cleaner of /tmp deleted it from under a living server."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

from researchflow_tmux.domain.errors import HostUnreachable
from researchflow_tmux.runner import procfs

_LISTENING = "00010000"
_LONGEST_PATH = 107
_REVIVAL_S = 1.0


def resolve_socket(setting: str, environ: Mapping[str, str]) -> str:
    """Return the absolute path of the socket that the setting `tmux_socket` means.

    "" is the socket of the tmux we are in, else this user's default one; a name is meant as `tmux -L`, an absolute
    path as `tmux -S`. The directory is made if it is missing. Raises HostUnreachable when it is not safe to use.
    """
    path = _path(os.path.expanduser(setting), environ)
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise HostUnreachable(
            f"the tmux socket {path} has too long a path: the system takes {_LONGEST_PATH} bytes",
            hint="set tmux_socket to a shorter absolute path",
        )
    return path


def _path(setting: str, environ: Mapping[str, str]) -> str:
    if os.path.isabs(setting):
        return os.path.normpath(setting)
    if "/" in setting:
        raise HostUnreachable(
            f"tmux_socket is {setting!r}, neither a name nor an absolute path", hint="give the absolute path"
        )
    inside = environ.get("TMUX", "").rpartition(",")[0].rpartition(",")[0]
    if not setting and os.path.isabs(inside):
        return inside
    directory = os.path.join(os.path.realpath(environ.get("TMUX_TMPDIR") or "/tmp"), f"tmux-{os.getuid()}")  # noqa: S108 - tmux's own place
    _make_private(directory)
    return os.path.join(directory, setting or "default")


def ready_socket(path: str) -> str:
    """Return the absolute path of a socket known from before, with its directory made again if a reboot took it.

    Raises HostUnreachable when it cannot be made.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        _make_private(directory)
    return path


def _make_private(directory: str) -> None:
    try:
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        facts = os.lstat(directory)
    except OSError as error:
        raise HostUnreachable(
            f"the directory of the tmux socket, {directory}, cannot be made: {error.strerror}",
            hint="set TMUX_TMPDIR to a directory of yours, or tmux_socket to an absolute path",
        ) from error
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o007:
        raise HostUnreachable(
            f"the directory of the tmux socket, {directory}, is not private to you",
            hint=f"look at it with ls -ld {directory}; it must be your directory with mode 0700",
        )


def find_server(socket_path: str) -> int | None:
    """Return the pid of the tmux server that listens at this path, even if the socket's file was deleted."""
    inodes = _listening_inodes(socket_path)
    return next((pid for pid in procfs.pids() if _is_tmux(pid) and _has_socket(pid, inodes)), None) if inodes else None


def ensure_socket(socket_path: str, server_pid: int | None = None) -> Literal["absent", "present", "unknown"]:
    """Have a living server recreate its deleted socket (SIGUSR1), so that nobody starts a second server beside it.

    "absent" = no server lives; "present" = its socket is there (again); "unknown" = it lives but does not react.
    `server_pid` spares the search when it is known; it is checked all the same.
    """
    server = server_pid if server_pid is not None and _serves(server_pid, socket_path) else find_server(socket_path)
    if server is None:
        return "absent"
    if os.path.exists(socket_path):
        return "present"
    with suppress(OSError):
        os.makedirs(os.path.dirname(socket_path), mode=0o700, exist_ok=True)
        handle = os.pidfd_open(server)
        try:
            if _serves(server, socket_path):
                signal.pidfd_send_signal(handle, signal.SIGUSR1)
        finally:
            os.close(handle)
    return "present" if _appears(socket_path) else "unknown"


def _appears(path: str) -> bool:
    pause_s, waited_s, never = 0.001, 0.0, threading.Event()
    while not os.path.exists(path):
        if waited_s > _REVIVAL_S:
            return False
        never.wait(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, 0.1)
    return True


def _serves(pid: int, socket_path: str) -> bool:
    return _is_tmux(pid) and _has_socket(pid, _listening_inodes(socket_path))


def _listening_inodes(socket_path: str) -> set[str]:
    """The kernel goes on listing a bound socket under its path after the file is gone."""
    found = set()
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.rstrip("\n").split(maxsplit=7)
                if len(fields) == 8 and fields[3] == _LISTENING and fields[7] == socket_path:
                    found.add(fields[6])
    except OSError:
        return set()
    return found


def _is_tmux(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().startswith("tmux")
    except OSError:
        return False


def _has_socket(pid: int, inodes: set[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") in wanted:
                    return True
    return False
