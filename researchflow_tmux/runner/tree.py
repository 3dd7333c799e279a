"""The processes of the job: who has ended, who is left, what they used."""

from __future__ import annotations

import os
import time

from researchflow_tmux.runner import procfs, reap
from researchflow_tmux.runner.kernel import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.terminal import Pump

_MOST_PIDS = 4096


class Tree:
    """All processes below the runner. With a subreaper nothing leaves it; else the cookie finds what did."""

    def __init__(self, main_pid: int, tag: str, *, subreaper: bool) -> None:
        self.main_pid = main_pid
        self.status: int | None = None
        self.pids = {main_pid}
        """Those that are known by pid: the main process, and what ended as our child."""
        self.max_rss_kib = 0
        self.cpu_s = 0.0
        self._tag = tag
        self._subreaper = subreaper

    def collect(self) -> bool:
        """Take note of every process that ended; True when none is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return self._subreaper or not reap.find_by_cookie(self._tag)
            if pid == 0:
                return False
            if len(self.pids) < _MOST_PIDS:
                self.pids.add(pid)
            if pid == self.main_pid:
                self.status = status
            self.max_rss_kib = max(self.max_rss_kib, usage.ru_maxrss)
            self.cpu_s += usage.ru_utime + usage.ru_stime

    def living(self) -> list[int]:
        """Return the processes of the tree that still run."""
        found = procfs.descendants(os.getpid())
        return found if self._subreaper else list(dict.fromkeys(found + reap.find_by_cookie(self._tag)))

    def terminate(self, pump: Pump) -> None:
        """Ask the job to end: its process group and what is in the foreground of its terminal."""
        foreground = pump.foreground_group()
        for number in (signal.SIGTERM, signal.SIGCONT):
            if not reap.kill_group(self.main_pid, number):
                reap.kill(self.main_pid, number)  # forked, but not yet the leader of a group
            if foreground not in (self.main_pid, os.getpgrp()):
                reap.kill_group(foreground, number)

    def ask_to_save(self) -> bool:
        """Send SIGUSR1 to the processes that have a handler for it (it kills all others); False = there are none."""
        listening = [pid for pid in self.living() if procfs.catches(pid, signal.SIGUSR1)]
        for pid in listening:
            reap.kill(pid, signal.SIGUSR1)
        return bool(listening)

    def end(self, patience_s: float) -> list[int]:
        """Kill everything at once; return what is still there after `patience_s`."""
        deadline = time.monotonic() + patience_s
        while not self.collect():
            left = self.send(signal.SIGKILL)
            if time.monotonic() > deadline:
                return left
            time.sleep(0.01)
        return []

    def send(self, number: int) -> list[int]:
        """Send a signal to every living process; return who they were."""
        targets = self.living()
        for pid in targets:
            reap.kill(pid, number)
        return targets
