"""The parent's end of nvml_child.py: start it, ask it within a deadline, kill it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from researchflow_tmux.domain.errors import ProbeError

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nvml_child.py")
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class NvmlChild:
    """One running nvml_child.py and its two pipes."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        spec = importlib.util.find_spec("pynvml")
        directory = os.path.dirname(spec.origin) if spec is not None and spec.origin else ""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", CHILD, directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env=None if environ is None else dict(environ),
            )
        except OSError as error:
            raise ProbeError(f"the GPU reader could not be started: {sys.executable}: {error.strerror}") from error
        self.pid = self._process.pid
        self.killed = False
        self._sent = 0

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def request(self, deadline_s: float, *, survey: bool = False) -> dict[str, Any]:
        """One question, one answer. Raises ProbeError; the child is of no use then."""
        assert self._process.stdin is not None
        self._sent += 1
        line = json.dumps({"id": self._sent, "deadline_s": deadline_s, "survey": survey}) + "\n"
        try:
            self._process.stdin.write(line.encode())
        except OSError as error:
            raise ProbeError(f"the GPU reader {self._end()}") from error
        answer = self._line(time.monotonic() + deadline_s, deadline_s)
        try:
            value = json.loads(answer)
        except ValueError as error:
            raise ProbeError(f"the GPU reader gave no sensible answer: {answer[:80]!r}") from error
        if not isinstance(value, dict) or value.get("id") != self._sent:
            raise ProbeError(f"the GPU reader answered another question: {answer[:80]!r}")
        return value

    def _line(self, until: float, deadline_s: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        received = b""
        while not received.endswith(b"\n"):
            if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
                raise ProbeError(
                    f"the NVIDIA driver did not answer within {deadline_s:g} s",
                    hint="try `nvidia-smi`; if that hangs too, `dmesg | grep -i xid` tells what the driver met",
                )
            part = os.read(fd, 65536)
            if not part:
                raise ProbeError(f"the GPU reader {self._end()}")
            received += part
            if len(received) > MAX_ANSWER_BYTES:
                raise ProbeError("the GPU reader does not stop talking")
        return received

    def _end(self) -> str:
        """How it ended, in words."""
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def kill(self) -> None:
        """SIGKILL, and wait a moment for the end; a child in the kernel's hands stays `alive`."""
        self.killed = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
