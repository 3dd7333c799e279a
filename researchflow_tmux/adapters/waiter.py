"""Sleeping until something happens: runner pidfds, the wake FIFO and watched directories in one epoll."""

from __future__ import annotations

import contextlib
import os
import re
import select

import inotify_simple

from researchflow_tmux.adapters.wake import WakeReader
from researchflow_tmux.ports import AttemptKey, Wakeup

_TAG = re.compile(r"[A-Za-z0-9]+/(\d{1,18})\.(\d{1,9})")
_ARRIVALS = inotify_simple.flags.CREATE | inotify_simple.flags.MOVED_TO | inotify_simple.flags.ONESHOT
_OF_A_FILE = (
    inotify_simple.flags.CLOSE_WRITE
    | inotify_simple.flags.MODIFY
    | inotify_simple.flags.ATTRIB
    | inotify_simple.flags.MOVE_SELF
    | inotify_simple.flags.DELETE_SELF
)
_CHANGES = (
    inotify_simple.flags.CLOSE_WRITE
    | inotify_simple.flags.MOVED_TO
    | inotify_simple.flags.MOVED_FROM
    | inotify_simple.flags.DELETE
    | inotify_simple.flags.CREATE
)


class EpollWaiter:
    """The Waiter port on Linux. A runner's end is seen within about a millisecond, without polling."""

    def __init__(self, wake: WakeReader | None) -> None:
        self._epoll = select.epoll()
        self._wake = wake
        self._pidfds: dict[AttemptKey, tuple[int, int]] = {}
        self._by_fd: dict[int, AttemptKey] = {}
        self._gone: set[AttemptKey] = set()
        self._unseen: dict[AttemptKey, int] = {}
        """Pids that could not be watched, each told once."""
        self._inotify: inotify_simple.INotify | None = None
        self._watched: dict[int, str] = {}
        self._signal_fd: int | None = None
        if wake is not None:
            self._epoll.register(wake.fileno(), select.EPOLLIN)

    def watch_runner(self, key: AttemptKey, pid: int) -> None:
        """Wake up when the process ends; at once if it is gone. Watching the same pid again changes nothing."""
        known = self._pidfds.get(key)
        if known is not None and known[1] == pid:
            return
        self._forget_descriptor(key)
        try:
            fd = os.pidfd_open(pid)
        except OSError:  # gone already, or no descriptor left: one look now, and the sweep's after that
            if self._unseen.get(key) != pid:
                self._unseen[key] = pid
                self._gone.add(key)
            return
        self._pidfds[key] = (fd, pid)
        self._by_fd[fd] = key
        # Once: a pidfd stays readable, and what one look could not settle is the sweep's. (An empty event mask would
        # not do: newer kernels report a reaped process as EPOLLHUP, which cannot be masked.)
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def forget_runner(self, key: AttemptKey) -> None:
        """Stop watching; unknown keys are fine."""
        self._gone.discard(key)
        self._unseen.pop(key, None)
        self._forget_descriptor(key)

    def _forget_descriptor(self, key: AttemptKey) -> None:
        known = self._pidfds.pop(key, None)
        if known is not None:
            del self._by_fd[known[0]]
            self._epoll.unregister(known[0])
            os.close(known[0])

    def watch_directory(self, path: str) -> bool:
        """Wake up (`directories`) when an entry of the directory changes; False = it cannot be watched.

        Asking again is right for one that was deleted and made anew.
        """
        return self._watch(path, _CHANGES)

    def watch_file(self, path: str) -> bool:
        """Wake up (`directories`) when this one file changes, goes, or is replaced; False = it cannot be watched.

        It is the file that is watched, not its name: ask again after it was replaced.
        """
        return self._watch(path, _OF_A_FILE)

    def watch_arrivals(self, path: str) -> bool:
        """Wake up, once, when something new is in the directory; False = it cannot be watched.

        Ask again for the next time: jobs may make files there all the time. One that is watched already stays so.
        """
        return path in self._watched.values() or self._watch(path, _ARRIVALS)

    def _watch(self, path: str, changes: int) -> bool:
        if self._inotify is None:
            try:
                self._inotify = inotify_simple.INotify(nonblocking=True)
            except OSError:
                return False
            self._epoll.register(self._inotify.fileno(), select.EPOLLIN)
        try:
            self._watched[self._inotify.add_watch(path, changes)] = path
        except OSError:
            return False
        return True

    def wait_on_signals(self, read_fd: int) -> None:
        """Also wake up when `signal.set_wakeup_fd` wrote to this pipe."""
        self._signal_fd = read_fd
        self._epoll.register(read_fd, select.EPOLLIN)

    def wait(self, timeout_s: float) -> Wakeup:
        """Block until something happened, at most `timeout_s` seconds."""
        if self._gone:
            timeout_s = 0.0
        fds = {fd for fd, _ in self._epoll.poll(max(timeout_s, 0.0))}
        runners = {self._by_fd[fd] for fd in fds if fd in self._by_fd} | self._gone
        self._gone = set()
        lines = self._wake.drain() if self._wake is not None and self._wake.fileno() in fds else []
        told = {line: _TAG.fullmatch(line) for line in lines}
        runners |= {(int(tag[1]), int(tag[2])) for tag in told.values() if tag}
        poked = not all(told.values())
        if self._signal_fd in fds and self._signal_fd is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._signal_fd, 4096)
        return Wakeup(runners=frozenset(runners), poked=poked, directories=self._changed(fds))

    def close(self) -> None:
        """Give all descriptors back."""
        for key in list(self._pidfds):
            self.forget_runner(key)
        if self._inotify is not None:
            self._inotify.close()
        self._epoll.close()

    def _changed(self, fds: set[int]) -> frozenset[str]:
        if self._inotify is None or self._inotify.fileno() not in fds:
            return frozenset()
        events = self._inotify.read(timeout=0)
        changed = frozenset(self._watched[event.wd] for event in events if event.wd in self._watched)
        for event in events:
            if event.mask & inotify_simple.flags.IGNORED:  # no longer watched: it is gone, or was told once
                self._watched.pop(event.wd, None)
        return changed
