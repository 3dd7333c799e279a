"""Runs one Python function as a job: `python -P called.py FILE OFFSET`. What it returns is left in a file.

It runs in the Python that submitted the function, by file name and with that Python's module path; of this package it
imports nothing. Besides the standard library it needs cloudpickle, which that Python has. This module is also read by
whoever packs calls and reads results: each format is written and read in one place.

A call file is a line of JSON for each call, followed by what it points to: the pickled function and the pickled
arguments. A result file is a line of JSON, followed by the pickled value or exception.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from typing import IO, Any

VERSION = 1
RESULT_NAME = "result"
VALUE, RAISED, UNPICKLABLE, UNREADABLE = "value", "raised", "unpicklable", "unreadable"
"""Kinds of results: a value, an exception of the function, a value that cannot be pickled, a call that cannot be
unpickled."""
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python version that matters to pickled code."""


def main(argv: list[str]) -> int:
    """Run the call at an offset of a file; 0 = it returned, and what it returned is on disk."""
    path, offset = argv
    directory = os.path.dirname(os.environ["RFSCHED_METRICS"])  # the attempt's: what lies there is this attempt's
    target = os.path.join(directory, RESULT_NAME)
    try:
        function, args, kwargs = load(path, int(offset))
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is what there is to tell
        return _fail(target, UNREADABLE, f"the function cannot be read: {_words(error)}", error)
    try:
        value = _run(function, args, kwargs)
    except KeyboardInterrupt:
        raise  # told to stop: that is no result
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is what there is to tell
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            return _fail(target, RAISED, _words(error), error)
        value = None
    try:
        write(target, {"kind": VALUE}, value)
    except OSError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is what there is to tell
        message = f"it returned {_kind(value)}, which cannot be pickled: {_words(error)}"
        return _fail(target, UNPICKLABLE, message, error)
    return 0


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value = function(*args, **kwargs)
    if not hasattr(value, "__await__") or not hasattr(value, "send"):
        return value
    import asyncio

    return asyncio.run(value)


# Calls ----------------------------------------------------------------------------------------------------------------


def load(path: str, offset: int) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return function, args and kwargs. Raises RuntimeError under another Python than that which wrote the call."""
    with open(path, "rb") as file:
        file.seek(offset)
        call = json.loads(file.readline())
        if call["python"] != HERE:
            raise RuntimeError(f"it was submitted by Python {call['python']}; {sys.executable} is Python {HERE} now")
        sys.path[:] = call["sys_path"]
        file.seek(call["function"])
        function = pickle.load(file)  # noqa: S301 - written by this user, readable by him alone
        file.seek(call["arguments"])
        args, kwargs = pickle.load(file)  # noqa: S301 - as above
    return function, args, kwargs


# Results --------------------------------------------------------------------------------------------------------------


def write(path: str, facts: dict[str, Any], content: Any) -> None:
    """Write a result, whole or not at all; readable by its owner alone."""
    temporary = f"{path}.{os.getpid()}"
    file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
    try:
        with file:
            facts = {"version": VERSION, "python": HERE, **facts}
            file.write(json.dumps(facts).encode() + b"\n")
            dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(file: IO[bytes]) -> dict[str, Any]:
    """Return the facts of a result; what follows in the file is the pickled content."""
    facts = json.loads(file.readline())
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise ValueError("it was written by another version of rfsched")
    return facts


def dump(content: Any, file: IO[bytes]) -> None:
    """Pickle with what `__main__` and closures define by value."""
    import cloudpickle

    cloudpickle.dump(content, file, protocol=5)


def _fail(target: str, kind: str, message: str, error: BaseException) -> int:
    """Say on the screen and in the result what went wrong; the exception itself goes along if it can be pickled."""
    if kind == UNPICKLABLE:
        print(message, file=sys.stderr, flush=True)  # noqa: T201 - the job's own screen and log
        text = ""
    else:
        text = "".join(traceback.format_exception(type(error), error, _after_us(error)))
        print(text, end="", file=sys.stderr, flush=True)  # noqa: T201 - as above
    facts = {"kind": kind, "message": message, "type": type(error).__name__, "traceback": text}
    try:
        write(target, facts, error if kind == RAISED else None)
    except OSError:
        raise
    except BaseException:  # noqa: BLE001 - an exception that holds what cannot be pickled
        write(target, facts, None)
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code else 1


def _after_us(error: BaseException) -> Any:
    """The traceback from the function on: what called it is of no interest."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename == __file__:
        found = found.tb_next
    return found


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"a{'n' if name[:1] in 'aeiou' else ''} {name}"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)
