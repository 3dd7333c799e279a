"""Opening a session: the command, and why it would not do."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from researchflow_tmux.adapters.tmux_snapshot import TAG_OPTION
from researchflow_tmux.ports import LaunchRefused

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Session names that tmux neither changes nor takes for something else in a target."""
TAG = re.compile(r"[A-Za-z0-9._/-]+")
"""Tags that can stand in a tmux format as they are."""
SPARE_DESCRIPTORS = 32
"""A server without free descriptors wedges and hangs its clients; each pane takes one."""

WILL_IT_STAY = (";", "show-options", "-sv", "exit-unattached")
"""Asked along with the first session of a new server, to which nobody can be attached yet."""
SERVER_LEAVES = LaunchRefused(
    why="the tmux server ends when nobody is attached, and the jobs with it: take `exit-unattached on` out of "
    "tmux.conf, or set tmux_socket to a socket whose server has it off",
    host=True,
)


def command(
    name: str, tag: str, argv: Sequence[str], cwd: str, size: tuple[int, int], *, remain: bool
) -> tuple[str, ...]:
    """Return one command that opens and marks the session and prints `server pid:pane pid`.

    One batch: set later, the options would come after the end of a short job, or after a user's `destroy-unattached`.
    """
    width, height = size
    target = f"={name}:"
    return (
        "new-session", "-dP", "-F", "#{pid}:#{pane_pid}", "-s", name, f"-x{width}", f"-y{height}",
        "-c", cwd.replace("#", "##"), *_libraries(), *argv,
        ";", "set-option", "-t", target, TAG_OPTION, tag,
        ";", "set-option", "-t", target, "destroy-unattached", "off",
        ";", "set-option", "-w", "-t", target, "remain-on-exit", "on" if remain else "off",
        # Else "Pane is dead" at the bottom pushes all else off a smaller terminal. (-q: tmux < 3.3)
        ";", "set-option", "-q", "-w", "-t", target, "remain-on-exit-format", "",
    )  # fmt: skip


def _libraries() -> list[str]:
    """The server was started without it, but a Python from an environment module may need it to start at all."""
    path = os.environ.get("LD_LIBRARY_PATH")
    return [f"-eLD_LIBRARY_PATH={path}"] if path else []


def refusal(name: str, tag: str, argv: Sequence[str]) -> LaunchRefused | None:
    """Why such a session cannot be; None = it can."""
    if not NAME.fullmatch(name):
        return LaunchRefused(why=f"{name!r} cannot be a session name: letters, digits, _ and - only", host=False)
    if not TAG.fullmatch(tag):
        return LaunchRefused(why=f"{tag!r} cannot be a session tag", host=False)
    if len(argv) < 2:
        # tmux gives a lone word to the user's shell, which may be nologin.
        return LaunchRefused(why=f"the command of session {name} must have at least two words", host=False)
    return None


def no_room(server_pid: int | None) -> LaunchRefused | None:
    """Why the server should take no further session; None = it may."""
    used, limit = _descriptors(server_pid) if server_pid is not None else (0, None)
    if limit is None or used < limit - SPARE_DESCRIPTORS:
        return None
    return LaunchRefused(
        why=f"the tmux server (pid {server_pid}) has {used} of {limit} descriptors in use: close sessions, "
        "or restart it with a higher `ulimit -n`",
        host=True,
    )


def _descriptors(pid: int) -> tuple[int, int | None]:
    """Descriptors in use and the limit of a process; (0, None) when /proc does not tell."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Max open files"))
        soft = line.split()[3]
        return len(os.listdir(f"/proc/{pid}/fd")), int(soft) if soft.isdigit() else None
    except (OSError, StopIteration):
        return 0, None
