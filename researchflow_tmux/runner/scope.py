"""A control group for the job from the user's own systemd: there the kernel itself holds the limits, without root.

The job's process is put into it while it waits to become the job's program: parent, environment, signals stay as they
are, so that all the ways in which the tree is kept and found go on working. `busctl` is what asks: a call of a few
milliseconds, and no library.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from researchflow_tmux.runner.spec import Limits

_TIMEOUT_S = 3.0
_POLL_S = 0.002
_NEEDED = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "PATH")


class ScopeError(Exception):
    """There is no such group to be had; the message says why."""


def enter(
    pid: int,
    name: str,
    limits: Limits,
    env: Mapping[str, str],
    *,
    proc: str = "/proc",
    groups: str = "/sys/fs/cgroup",
) -> str:
    """Put the process `pid` into a scope of its own with these limits; return the directory of that control group.

    Returns only after the kernel shows the limit. Raises ScopeError: then the process is where it was, or in a group
    without the limit; either way it may go on.
    """
    _call(pid, name, limits, env)
    directory = _wait_for(f"{proc}/{pid}/cgroup", name, groups)
    if limits.memory_mib is not None:
        _check(os.path.join(directory, "memory.max"), str(limits.memory_mib << 20))
    return directory


def _call(pid: int, name: str, limits: Limits, env: Mapping[str, str]) -> None:
    import subprocess

    properties = [["PIDs", "au", "1", str(pid)], ["CollectMode", "s", "inactive-or-failed"]]
    if limits.memory_mib is not None:
        properties.append(["MemoryMax", "t", str(limits.memory_mib << 20)])
        properties.append(["MemorySwapMax", "t", "0"])
    if limits.cpus is not None:
        properties.append(["CPUQuotaPerSecUSec", "t", str(limits.cpus * 1_000_000)])
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    words = [word for each in properties for word in each]
    command = ["busctl", "--user", f"--timeout={_TIMEOUT_S:g}", "call", *manager, "StartTransientUnit"]
    command += ["ssa(sv)a(sa(sv))", name, "fail", str(len(properties)), *words, "0"]
    # Not the job's: a job without PATH, or with a bus of its own, must not decide whether it is limited.
    own = {key: os.environ.get(key) or env.get(key) or _usual(key) for key in _NEEDED}
    try:
        done = subprocess.run(
            command, env=own, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S + 1, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScopeError(f"busctl: {getattr(error, 'strerror', None) or 'no answer in time'}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ScopeError(lines[-1] if lines else f"busctl ended with {done.returncode}")


def _usual(key: str) -> str:
    runtime = f"/run/user/{os.getuid()}"
    return {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus", "PATH": os.defpath}[key]


def _wait_for(file: str, name: str, groups: str) -> str:
    """The call is answered before the process has moved."""
    import time

    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        path = _group_in(file)
        if path.endswith("/" + name):
            return os.path.join(groups, path.lstrip("/"))
        if time.monotonic() > deadline:
            raise ScopeError(f"the process did not get into {name}")
        time.sleep(_POLL_S)


def _group_in(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return next((line[3:].strip() for line in file if line.startswith("0::")), "")
    except OSError as error:
        raise ScopeError(f"the process cannot be looked at: {error.strerror}") from None


def _check(path: str, wanted: str) -> None:
    """What systemd accepts it need not be able to do: a user's manager may not have been given the controller."""
    try:
        with open(path, encoding="ascii") as file:
            found = file.read().strip()
    except OSError:
        raise ScopeError("this user's systemd has no say over memory (the controller is not delegated)") from None
    # The kernel rounds to whole pages.
    if not found.isdigit() or int(found) > int(wanted):
        raise ScopeError(f"the limit did not take: {path} says {found}")
