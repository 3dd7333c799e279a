"""The child that compares GPUs with the user's function: one JSON line per request line, on pipes.

Run as a file (`python -P user_order_child.py MODULE FUNCTION DIRECTORY SECONDS`), so it imports nothing of the package.
It exists because the function may never return, may print, and may take the process with it: the parent then goes on
without it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Compare = Callable[[Any, Any], Any]


class Nonsense(Exception):  # noqa: N818 - it reads as the fact it states
    """The function returned what is no comparison."""


def main(module: str, function: str, directory: str, loading_s: str) -> int:
    """Load the function, then answer until the parent closes our stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the parent's terminal is the parent's affair
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # what the function prints or asks for is nobody's
        os.dup2(nothing, fd)
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = True  # an edit within the same second would not be seen
    # A parent that was killed cannot kill us: the kernel's alarm does.
    signal.setitimer(signal.ITIMER_REAL, float(loading_s) + 1.0)
    compare: Compare | None = None
    failed = ""
    try:
        compare = load(module, function)
    except BaseException as error:  # noqa: BLE001 - a module may raise what it likes, SystemExit too
        failed = words(error, directory)
    signal.setitimer(signal.ITIMER_REAL, 0)
    send(answers, {"file": file_of(module)})
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, float(request["deadline_s"]) + 1.0)
        answer = {"error": failed} if compare is None else reply(request["infos"], compare, directory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(answers, answer)
    return 0


def file_of(module: str) -> str | None:
    """Where the module is, also one that cannot be loaded."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return None if spec is None else spec.origin


def send(fd: int, answer: dict[str, Any]) -> None:
    """One line to the parent; without one there is nothing left to do."""
    try:
        os.write(fd, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        os._exit(0)


def reply(infos: list[dict[str, Any]], compare: Compare, directory: str) -> dict[str, Any]:
    """What goes back to the parent: `order` or `error`."""
    try:
        return {"order": order(infos, compare)}
    except BaseException as error:  # noqa: BLE001 - and so may the function
        return {"error": words(error, directory)}


def load(module: str, function: str) -> Compare:
    """The function of that name."""
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise Nonsense(f"{module} has no function {function}")
    compare: Compare = found
    return compare


def order(infos: list[dict[str, Any]], compare: Compare) -> list[int]:
    """Places of the infos, the best first."""
    gpus = [SimpleNamespace(**info, place=place) for place, info in enumerate(infos)]
    gpus.sort(key=functools.cmp_to_key(lambda one, other: sign(compare, one, other)))
    for first, second in itertools.pairwise(gpus):
        there, back = sign(compare, first, second), sign(compare, second, first)
        if there != -back:
            raise Nonsense(
                f"for GPU {first.index} and {second.index} it says {there}, the other way round {back}: "
                "return -1 (the first is better), 0 or 1"
            )
    return [gpu.place for gpu in gpus]


def sign(compare: Compare, one: Any, other: Any) -> int:
    """What the function says of two GPUs, as -1, 0 or 1."""
    answer = compare(one, other)
    if not isinstance(answer, (int, float)) or answer != answer:
        raise Nonsense(f"it returned {answer!r}: return -1 (the first is better), 0 or 1")
    return (answer > 0) - (answer < 0)


def words(error: BaseException, directory: str) -> str:
    """The error in one line, with the place in the user's own file."""
    if isinstance(error, Nonsense):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(directory)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    first = (str(error).splitlines() or [""])[0]
    return f"{place}{type(error).__name__}: {first}"[:500]


if __name__ == "__main__":
    # No teardown: what the function imported may hang in its own.
    os._exit(main(*sys.argv[1:5]))
