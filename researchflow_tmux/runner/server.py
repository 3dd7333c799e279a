"""The tmux server the runner lives in: is it still there when the pane closes?"""

from __future__ import annotations

import os

from researchflow_tmux.runner import procfs

PATIENCE_S = 0.5


class Server:
    """The server named by $TMUX, held by a pidfd: kill(pid, 0) still succeeds right after a kill -9."""

    def __init__(self) -> None:
        parts = os.environ.get("TMUX", "").rsplit(",", 2)
        self.pid = int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0
        self.fd = -1
        self._started: int | None = None
        if self.pid:
            self._started = procfs.start_time(self.pid)
            try:
                self.fd = os.pidfd_open(self.pid)
            except (OSError, AttributeError):
                self.fd = -1  # gone already, or a kernel without pidfds: /proc answers below

    @property
    def known(self) -> bool:
        """Tell whether the runner was started by tmux at all."""
        return self.pid > 0

    def gone(self) -> bool:
        """Tell whether the server has ended."""
        if self.fd < 0:
            return self._started is None or not procfs.alive(self.pid, self._started)
        import select

        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(0))
