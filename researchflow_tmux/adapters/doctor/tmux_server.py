"""tmux: the program, the server, and the settings of a user's tmux.conf that end jobs."""

from __future__ import annotations

import os
import re
import shutil
import time

from researchflow_tmux.adapters.doctor.check import Check, Context, Said, fail, ok, say, warn
from researchflow_tmux.adapters.tmux_socket import find_server, resolve_socket

MIN_VERSION = (3, 0)
FEW_DESCRIPTORS = 64
_CONF_FILES = ("~/.tmux.conf", "~/.config/tmux/tmux.conf", "/etc/tmux.conf")
_NO_LOGIN = ("nologin", "false")


def program(context: Context) -> list[Check]:
    """The program is there and new enough."""
    path = shutil.which("tmux", path=context.environ.get("PATH"))
    if path is None:
        return [fail("tmux", "tmux is not installed", "install it: `apt install tmux`, or `conda install tmux`")]
    said = say([path, "-V"], context.environ)
    version = parse_version(said.out)
    if version is not None and version < MIN_VERSION:
        return [fail("tmux", f"{said.out} ({path}) is too old", "3.0 or newer is needed: `conda install tmux` has one")]
    return [ok("tmux", f"{said.out or 'unknown version'} ({path})")]


def parse_version(text: str) -> tuple[int, int] | None:
    """(3, 3) of `tmux 3.3a` and `tmux next-3.4`; None where there is no such number (`tmux master`)."""
    match = re.search(r"^tmux (?:next-)?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def server(context: Context) -> list[Check]:
    """The server on our socket answers in time and has descriptors left."""
    socket = _socket(context)
    began = time.monotonic()
    said = _tmux(context, socket, "display-message", "-p", "#{pid}")
    took_ms = (time.monotonic() - began) * 1000
    if said.rc is None:
        return [_silent(socket)]
    if said.rc != 0 or not said.out.isdecimal():
        if os.path.exists(socket) and "no server running" not in said.err:
            return [warn("tmux server", f"{socket}: {said.err or said.out}", "see whether `tmux ls` works for you")]
        return [ok("tmux server", f"none runs on {socket}; the first job starts it")]
    pid = int(said.out)
    return [ok("tmux server", f"pid {pid} on {socket} answers in {took_ms:.0f} ms"), descriptors(context, pid)]


def _silent(socket: str) -> Check:
    pid = find_server(socket)
    who = "the server" if pid is None else f"the server (pid {pid})"
    wake = "" if pid is None else f"if it was stopped, `kill -CONT {pid}` wakes it; "
    return fail("tmux server", f"{who} on {socket} does not answer", f"{wake}nothing is done to jobs meanwhile")


def descriptors(context: Context, pid: int) -> Check:
    """The server keeps one descriptor per pane, and a full server wedges."""
    name = "tmux server's descriptors"
    match = re.search(r"^Max open files\s+(\d+)", context.text(f"/proc/{pid}/limits") or "", re.MULTILINE)
    try:
        used = len(os.listdir(context.place(f"/proc/{pid}/fd")))
    except OSError:
        used = None
    if match is None or used is None:
        return warn(name, "its limit cannot be read", "it runs as another user? Use a socket of your own: tmux_socket")
    limit = int(match[1])
    fact = f"{used} of {limit} are in use"
    if limit - used < FEW_DESCRIPTORS:
        return warn(
            name,
            f"{fact}: soon no session can be opened",
            "close old sessions (`rfsched clean`); a server started after `ulimit -n 4096` has more",
        )
    return ok(name, fact)


def configuration(context: Context) -> list[Check]:
    """Settings of tmux.conf that end sessions or keep programs from starting."""
    socket = _socket(context)
    options = {name: _option(context, socket, name) for name in ("destroy-unattached", "exit-unattached")}
    traps = sorted(name for name, value in options.items() if value not in ("", "off"))
    found = []
    if "exit-unattached" in traps:
        found.append(
            fail(
                "tmux.conf",
                "exit-unattached is on: tmux ends all sessions when you detach",
                "remove it from your tmux.conf, or give rfsched a server of its own: tmux_socket: rfsched",
            )
        )
    if "destroy-unattached" in traps:
        found.append(
            warn(
                "tmux.conf",
                "destroy-unattached is on: tmux ends a session when nobody looks at it",
                "rfsched turns it off for its own sessions; those you open yourself stay in danger",
            )
        )
    shell = _option(context, socket, "default-shell") or context.environ.get("SHELL", "")
    if os.path.basename(shell) in _NO_LOGIN:
        fact = f"the default-shell is {shell}: windows that you open by hand end at once"
        found.append(warn("tmux.conf", fact, "jobs do not need it; for yourself: `set -g default-shell /bin/bash`"))
    return found or [ok("tmux.conf", "nothing in it ends sessions")]


def _option(context: Context, socket: str, name: str) -> str:
    """Value in the running server; without one, what the configuration files say; "" = not set."""
    scope = "-sqv" if name.startswith("exit-") else "-gqv"
    said = _tmux(context, socket, "show-options", scope, name)
    if said.rc == 0:
        return said.out
    for path in _CONF_FILES:
        expanded = path.replace("~", context.environ.get("HOME", ""), 1)
        lines = re.findall(rf"^\s*set\S*\s+(?:-\S+\s+)*{name}\s+(\S+)", context.text(expanded) or "", re.MULTILINE)
        if lines:
            return str(lines[-1]).strip("\"'")
    return ""


def _socket(context: Context) -> str:
    if context.socket is not None:
        return context.socket
    return resolve_socket(context.settings.tmux_socket if context.settings else "", context.environ)


def _tmux(context: Context, socket: str, *command: str) -> Said:
    return say(["tmux", "-S", socket, *command], context.environ, timeout_s=0.8)
