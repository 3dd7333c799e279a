"""The machine: the Python of launches, logging out, starting again after a reboot, the clock."""

from __future__ import annotations

import os
import re
import shutil
import sys

from researchflow_tmux.adapters import autostart
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.doctor.check import Check, Context, fail, ok, say, warn
from researchflow_tmux.adapters.procs import user_name
from researchflow_tmux.domain.errors import RfschedError

_SHIM_MARKS = (b"pyenv exec", b"asdf exec", b"asdf.sh", b"mise x", b"rtx x")
_LOGIND = ("/etc/systemd/logind.conf", "/etc/systemd/logind.conf.d", "/run/systemd/logind.conf.d")
_BUILT_IN = 2025
"""No clock that goes right shows an earlier year."""


def python(context: Context) -> list[Check]:
    """The `python` of the jobs is a program and not a script that looks for one."""
    given = context.settings.python_env if context.settings else ""
    path = shutil.which(given or "python", path=context.environ.get("PATH"))
    if path is None or not is_shim(path):
        return [ok("python", f"{path or given or 'no `python` on PATH'}; rfsched runs on {sys.executable}")]
    said = say([path, "-c", "import sys; print(sys.executable)"], context.environ)
    real = (
        said.out
        if said.rc == 0 and said.out
        else "the path that `python -c 'import sys; print(sys.executable)'` prints"
    )
    return [warn("python", f"{path} is a shim, which costs about 70 ms at each launch", f"set python_env: {real}")]


def is_shim(path: str) -> bool:
    """Whether it is a script of pyenv, asdf or mise that starts the real program."""
    if os.path.basename(os.path.dirname(path)) == "shims":
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(2048)
    except OSError:
        return False
    return head.startswith(b"#!") and any(mark in head for mark in _SHIM_MARKS)


def logout(context: Context) -> list[Check]:
    """systemd-logind may kill everything of a user who logs out, tmux included."""
    name = "logging out"
    if not os.path.isdir(context.place("/run/systemd/system")):
        return [ok(name, "no systemd here: jobs outlive your login")]
    if not kills_user_processes(context):
        return [ok(name, "systemd-logind does not end your processes: jobs outlive your login")]
    user = user_name(os.geteuid())
    said = say(["loginctl", "show-user", user, "-p", "Linger", "--value"], context.environ)
    if said.rc == 0 and said.out == "yes":
        return [ok(name, "lingering is on: jobs outlive your login")]
    fact = "systemd-logind ends all your processes when you log out (KillUserProcesses), jobs included"
    return [warn(name, fact, f"`loginctl enable-linger {user}`, and start tmux by `systemd-run --user --scope tmux`")]


def kills_user_processes(context: Context) -> bool:
    """The last KillUserProcesses of logind.conf and its drop-ins, but not for users it excludes."""
    files = [_LOGIND[0]]
    for directory in _LOGIND[1:]:
        if os.path.isdir(context.place(directory)):
            names = sorted(name for name in os.listdir(context.place(directory)) if name.endswith(".conf"))
            files += [f"{directory}/{name}" for name in names]
    found = {"KillUserProcesses": "no", "KillExcludeUsers": "root"}
    for path in files:
        for key, value in re.findall(
            r"^\s*(KillUserProcesses|KillExcludeUsers)\s*=\s*(.*)$", context.text(path) or "", re.M
        ):
            found[key] = value.strip()
    excluded = user_name(os.geteuid()) in found["KillExcludeUsers"].split()
    return found["KillUserProcesses"].lower() in ("yes", "true", "on", "1") and not excluded


def reboot(context: Context) -> list[Check]:
    """Whether the scheduler comes back after a restart of the machine."""
    name = "after a reboot"
    if context.paths is None:
        return []
    try:
        line = autostart.status(context.paths.root, environ=context.environ)
    except RfschedError as error:
        return [ok(name, f"the scheduler is not started again: {error.message}")]
    if line is None:
        return [ok(name, "the scheduler is not started again (`rfsched autostart on` changes that)")]
    if not _cron_runs(context):
        return [
            warn(name, "cron is asked to start the scheduler, but no cron runs", "`sudo systemctl enable --now cron`")
        ]
    return [ok(name, f"cron starts the scheduler: {line}")]


def _cron_runs(context: Context) -> bool:
    names = (name for name in os.listdir(context.place("/proc")) if name.isdecimal())
    return any((context.text(f"/proc/{name}/comm") or "").strip() in ("cron", "crond", "fcron") for name in names)


def clock(context: Context) -> list[Check]:
    """The clock goes right, and starts of the machine can be told apart."""
    boot_id = (context.text("/proc/sys/kernel/random/boot_id") or "").strip()
    if not boot_id:
        advice = "without /proc/sys/kernel/random/boot_id a reboot cannot be told from a crash: mount /proc"
        return [fail("clock", "the boot id cannot be read", advice)]
    now = SystemClock().now()
    if now.year < _BUILT_IN:
        return [fail("clock", f"it shows {now:%Y-%m-%d %H:%M}", "set the date: times of jobs would make no sense")]
    return [ok("clock", f"boot {boot_id[:8]}")]
