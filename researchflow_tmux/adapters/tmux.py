"""tmux behind libtmux: every call in one thread with a deadline, one in flight, and "I do not know" as an answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.one_call import Call, Worker
from researchflow_tmux.domain.errors import HostUnreachable, LaunchError
from researchflow_tmux.ports import Unknown

MAX_COMMAND_BYTES = 16_000
"""tmux sends a command in one 16 KiB message; a little is its header."""

_TRIAL_WAIT_S = 0.05
_JUNK_PREFIXES = ("RFSCHED_", "LD_", "PYTHON")
_JUNK = frozenset({"TMUX", "TMUX_PANE", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV", "OLDPWD", "SHLVL", "_"})


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What tmux answered."""

    rc: int
    stdout: list[str]
    stderr: str

    @property
    def server_down(self) -> bool:
        """True when there is certainly no server on the socket."""
        return self.rc != 0 and ("no server running" in self.stderr or self.socket_missing)

    @property
    def socket_missing(self) -> bool:
        """True when the socket's file is not there: a server may still live without it."""
        return self.rc != 0 and "error connecting to" in self.stderr and "No such file or directory" in self.stderr


Answer = Output | Unknown


class Tmux:
    """One tmux server, by the absolute path of its socket.

    A server that does not answer (stopped, out of descriptors) costs a caller one deadline, once; the client is then
    ended, so that it cannot act late. Further calls answer Unknown at once, while a single harmless trial call waits
    for the server; its answer ends that state. A client hands its descriptors to the server, so libtmux reads on from
    a dead client until the server goes on or ends: that is the one thread and the one defunct child that wait.
    """

    def __init__(self, socket_path: str, *, deadline_s: float = 5.0, config_file: str | None = None) -> None:
        program = shutil.which("tmux")
        if program is None:
            raise HostUnreachable("tmux is not installed", hint="install it: apt install tmux, or conda install tmux")
        self.socket_path = socket_path
        self.deadline_s = deadline_s
        self._program = program
        self._config_file = config_file
        self._clock = SystemClock()
        self._worker = Worker(f"tmux {socket_path}")
        self._turn = threading.Lock()
        self._stuck = False
        self._trial: Call[Output] | None = None
        self._trial_since = 0.0

    def call(self, *args: str) -> Answer:
        """Run one tmux command (or several, separated by the argument `;`) and return what it said.

        Raises LaunchError when the command is longer than tmux takes.
        """
        _check_length(args)
        return self._in_turn(partial(self._server_cmd, args))

    def start(self, *args: str) -> Answer:
        """Run a command that may start the server: from `/`, with an environment free of what is ours alone.

        A server passes on for its whole life what its first client had; libtmux cannot say with what to start it.
        """
        _check_length(args)
        return self._in_turn(partial(self._clean_start, args))

    def close(self) -> None:
        """End the worker thread, and the child of a call that hangs."""
        self._worker.close()

    # -- one call in flight

    def _in_turn(self, function: Callable[[], Output]) -> Answer:
        if not self._turn.acquire(timeout=self.deadline_s):
            return self._silent()
        try:
            if self._stuck and not self._recovered():
                return self._silent()
            call = self._worker.submit(function)
            if call.wait(self.deadline_s):
                return _answer(call)
            self._stuck = True
            self._worker.end_children()
            return self._silent()
        finally:
            self._turn.release()

    def _recovered(self) -> bool:
        """Look at the trial call, or begin one; never waits for a stuck server."""
        now = self._clock.monotonic()
        if self._trial is None:
            self._trial = self._worker.submit(partial(self._server_cmd, ("display-message", "-p", "#{pid}")))
            self._trial_since = now
            self._trial.wait(_TRIAL_WAIT_S)
        trial = self._trial
        if trial.wait(0):
            self._trial = None
            self._stuck = isinstance(_answer(trial), Unknown)
        elif now - self._trial_since > self.deadline_s:
            self._worker.end_children()
            self._trial_since = now
        return not self._stuck

    def _silent(self) -> Unknown:
        return Unknown(why=f"the tmux server on {self.socket_path} does not answer within {self.deadline_s:g} s")

    # -- the two ways to run tmux (worker's side)

    def _server_cmd(self, args: tuple[str, ...]) -> Output:
        result = self._server.cmd(*escaped(args))
        return Output(rc=result.returncode or 0, stdout=result.stdout, stderr="\n".join(result.stderr))

    @cached_property
    def _server(self) -> Any:
        import libtmux  # 80 ms: only those who talk to tmux pay it

        return libtmux.Server(socket_path=self.socket_path, config_file=self._config_file, tmux_bin=self._program)

    def _clean_start(self, args: tuple[str, ...]) -> Output:
        config = [f"-f{self._config_file}"] if self._config_file else []
        result = subprocess.run(
            [self._program, *config, f"-S{self.socket_path}", *escaped(args)],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=server_environment(os.environ),
        )
        return Output(rc=result.returncode, stdout=result.stdout.splitlines(), stderr=result.stderr.strip())


def escaped(args: tuple[str, ...]) -> list[str]:
    """Return the arguments so that tmux takes only a lone `;` for its command separator."""
    return [f"{arg[:-1]}\\;" if arg.endswith(";") and arg != ";" else arg for arg in args]


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a new server: the user's, without what belongs to this program or to one job."""
    return {name: value for name, value in environ.items() if not name.startswith(_JUNK_PREFIXES) and name not in _JUNK}


def _check_length(args: tuple[str, ...]) -> None:
    size = sum(len(os.fsencode(arg)) + 1 for arg in args)
    if size > MAX_COMMAND_BYTES:
        raise LaunchError(
            f"the tmux command that begins `{' '.join(args)[:60]}` has {size} bytes; tmux takes {MAX_COMMAND_BYTES}",
            hint="shorten the path of the workspace",
        )


def _answer(call: Call[Output]) -> Answer:
    result = call.result
    if isinstance(result, Output):
        # A negative code: the client was killed before it answered.
        return result if result.rc >= 0 else Unknown(why=f"the tmux client was killed by signal {-result.rc}")
    return Unknown(why=f"tmux could not be run: {result}")
