"""One call at a time in one thread, whose child process can be ended by pid when the call does not come back."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A call handed to the worker. Read `result` only after `wait` said True."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._done = threading.Event()
        self.result: T | Exception | None = None

    def run(self) -> None:
        """Do it (worker's side)."""
        try:
            self.result = self._function()
        except Exception as error:  # noqa: BLE001 - the caller's thread gets it as the result
            self.result = error
        finally:
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is over; False after `timeout_s` seconds."""
        return self._done.wait(timeout_s)


class Worker:
    """A daemon thread (it never holds up the exit of the program) that runs calls in the order given."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Call[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, function: Callable[[], T]) -> Call[T]:
        """Hand over a call."""
        call = Call(function)
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(call)  # type: ignore[arg-type]  # results of any type travel in one queue
        return call

    def end_children(self) -> None:
        """SIGKILL the processes that the running call started.

        The thread starts nothing else, and the kernel lists children by the thread that forked them, so this cannot
        hit another part of the program.
        """
        for pid in self._children():
            with suppress(OSError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in self._children():  # still ours: the number was not given to another process meanwhile
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)

    def close(self) -> None:
        """End the thread after the running call, which is cut short."""
        self._calls.put(None)
        self.end_children()

    def _children(self) -> list[int]:
        thread = self._thread
        if thread is None or thread.native_id is None:
            return []
        try:
            with open(f"/proc/self/task/{thread.native_id}/children", encoding="ascii") as file:
                return [int(word) for word in file.read().split()]
        except OSError:
            return []  # a kernel without that file: the call then stays until tmux answers, still only one

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
