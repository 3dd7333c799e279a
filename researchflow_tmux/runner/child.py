"""Starting the job: fork, a session of its own on the inner pty, the spec's limits, exec with exactly its environment.

What goes wrong before exec travels back through a pipe as "stage errno detail"; an empty pipe that closes is success.
"""

from __future__ import annotations

import fcntl
import os
import termios

from researchflow_tmux.runner import kernel
from researchflow_tmux.runner.kernel import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from researchflow_tmux.runner.spec import Spec

_FROM_PANE = ("TMUX", "TMUX_PANE", "TERM", "COLORTERM")
_EXEC_FAILED = 127
_SIGNALS = [number for number in range(1, signal.NSIG) if number not in (32, 33)]  # those two are libc's own


def environment(spec: Spec) -> dict[str, str]:
    """Return the environment of the job: the spec's, and what only the pane knows."""
    return spec.env | {name: os.environ[name] for name in _FROM_PANE if name in os.environ}


def start(spec: Spec, slave: int, inherit: list[int], prepare: Callable[[int], None] | None = None) -> tuple[int, int]:
    """Fork the job on the terminal `slave`; it inherits the descriptors `inherit` and no others.

    `prepare(pid)` is called while the process waits, before it becomes the job's program. It raises nothing.

    Returns (pid, report): `report` is readable once the job runs (end of file) or failed to start (a line for
    `launch_error.explain`).
    """
    report, channel = os.pipe()
    gate, opener = os.pipe() if prepare is not None else (-1, -1)
    parent = os.getpid()
    # Blocked over the fork: a signal must find either the runner's handlers or the job's defaults, nothing between.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid = os.fork()
    if pid == 0:
        _become_job(spec, slave, inherit, channel, parent, (gate, opener))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(channel)
    if prepare is not None:
        os.close(gate)
        prepare(pid)
        os.close(opener)
    os.set_blocking(report, False)
    return pid, report


def _become_job(spec: Spec, slave: int, inherit: list[int], channel: int, parent: int, gate: tuple[int, int]) -> None:
    stage = "setup"
    try:
        kernel.die_with_parent()
        if os.getppid() != parent:
            os._exit(_EXEC_FAILED)  # the runner ended before the line above took hold
        _pass(*gate)
        _take_terminal(slave)
        _close_others([*inherit, channel])
        _reset_signals()
        _apply_limits(spec)
        stage = "chdir"
        os.chdir(spec.cwd)
        stage = "exec"
        _exec(spec.argv, environment(spec))
    except OSError as error:
        message = f"{stage} {error.errno} {error.filename or ''}"
    except BaseException as error:  # noqa: BLE001 - the forked copy of the runner must never run on
        message = f"{stage} 0 {type(error).__name__}: {error}"
    try:
        os.write(channel, message.encode(errors="surrogateescape")[:4000])
    finally:
        os._exit(_EXEC_FAILED)


def _pass(gate: int, opener: int) -> None:
    """Wait until the runner has prepared this process; it closes the gate, also by ending."""
    if gate >= 0:
        os.close(opener)
        os.read(gate, 1)


def _take_terminal(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


def _close_others(keep: list[int]) -> None:
    low = 3
    for fd in [*sorted(keep), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(low, fd)
        low = fd + 1


def _reset_signals() -> None:
    for number in _SIGNALS:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError, RuntimeError):
            continue  # KILL and STOP
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _apply_limits(spec: Spec) -> None:
    os.umask(spec.umask)
    try:
        if spec.nice:
            os.setpriority(os.PRIO_PROCESS, 0, spec.nice)
    except OSError as error:
        _say(f"nice {spec.nice} was refused: {error.strerror}")
    try:
        if spec.affinity is not None:
            os.sched_setaffinity(0, spec.affinity)
    except (OSError, ValueError, OverflowError) as error:
        _say(f"affinity {spec.affinity} was refused: {error}")
    for name, wanted in spec.rlimits.items():
        _limit(name, wanted)


def _limit(name: str, wanted: list[int]) -> None:
    """Set one limit; what this user may not have becomes the nearest that can be had, and the job's log says so."""
    import resource

    number = getattr(resource, f"RLIMIT_{name}", None)
    if number is None:
        _say(f"limit {name} is unknown on this system")
        return
    soft, hard = wanted
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError) as error:
        ceiling = resource.getrlimit(number)[1]
        infinite = resource.RLIM_INFINITY
        soft = ceiling if soft == infinite or (ceiling != infinite and soft > ceiling) else soft
        resource.setrlimit(number, (soft, ceiling))
        _say(f"limit {name}={wanted[0]}:{wanted[1]} was refused ({error}); it is {soft}:{ceiling}")


def _say(text: str) -> None:
    os.write(2, f"rfsched: {text}\n".encode(errors="replace"))


def _exec(argv: list[str], env: dict[str, str]) -> None:
    """Exec `argv` by the job's own PATH; raise the most telling error if nothing of that name runs."""
    program = argv[0]
    if "/" in program:
        os.execve(program, argv, env)  # noqa: S606 - argv form is the point
    telling = FileNotFoundError(2, "no such program", program)
    for directory in env.get("PATH", os.defpath).split(":"):
        file = os.path.join(directory or ".", program)
        try:
            os.execve(file, argv, env)  # noqa: S606 - as above
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(file):
                raise  # the file is there: its interpreter is not
        except PermissionError as error:
            error.filename = file
            telling = error  # type: ignore[assignment]
    raise telling
