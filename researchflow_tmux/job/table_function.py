"""Runs in a job of a task table: asks the user's function for the command of the row, then becomes that command.

`python table_function.py MODULE:FUNCTION VARIABLE ROW` - the function may also be named as `path/to/file.py:FUNCTION`;
VARIABLE is the environment variable that names the job's GPUs, ROW is JSON. Only here, when the job starts, is known
which GPU it has. Nothing is printed but what the function prints; a function that fails is told in the job's log.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # not the directory of this file: its neighbours would hide modules of the user

import importlib
import importlib.util
import inspect
import json
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

IMPORTING = "RFSCHED_IMPORTING"
"""Set while the user's file is imported: `run_cli` in it does nothing then."""
FAILED = 70
"""Exit code if there is no command (EX_SOFTWARE of sysexits.h)."""


class Row(dict):  # type: ignore[type-arg]
    """The parameters of a row. Empty cells are not among them; asked for by name they are None, as are name and cmd."""

    def __init__(self, values: "dict[str, Any]", besides: "dict[str, Any]") -> None:
        super().__init__({name: value for name, value in values.items() if value is not None})
        self._besides = {**{name: None for name, value in values.items() if value is None}, **besides}

    def __missing__(self, name: str) -> "Any":
        return self._besides[name]


def main(argv: "Sequence[str]") -> "NoReturn":
    """Become the command."""
    place, variable, text = argv
    command = command_of(place, os.environ.get(variable, ""), json.loads(text))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv("/bin/sh", ["/bin/sh", "-c", command])  # noqa: S606 - a shell line is what the function returns


def command_of(place: str, visible: str, raw: "dict[str, Any]") -> str:
    """The command that the function makes; leaves with FAILED if it makes none."""
    row = Row(raw.get("parameters", {}), {"name": raw.get("name"), "cmd": raw.get("cmd")})
    gpus = [int(word) if word.isdigit() else word for word in visible.split(",") if word]
    try:
        function = load(place)
        command = function(*arguments(function, row, gpus))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        fail(f"{place} raised {type(error).__name__}: {error}")
    if not isinstance(command, str) or not command.strip():
        fail(f"{place} returned {command!r:.80}; it must return the command, a text")
    return command


def arguments(function: "Callable[..., Any]", row: Row, gpus: "list[Any]") -> "list[Any]":
    """(row, gpu_id, sorted_gpu_ids), or the first two for a function that takes no more."""
    every = [row, gpus[0] if gpus else None, gpus]
    try:
        inspect.signature(function).bind(*every)
    except TypeError:
        return every[:2]
    return every


def load(place: str) -> "Callable[..., Any]":
    """The function at `module:function` or `path/to/file.py:function`."""
    module_name, _, name = place.rpartition(":")
    outermost = IMPORTING not in os.environ  # what is imported may load something itself
    os.environ[IMPORTING] = "1"
    try:
        module = load_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    finally:
        if outermost:
            del os.environ[IMPORTING]
    found: Callable[..., Any] = getattr(module, name)
    return found


def load_file(path: str) -> "Any":
    """A file as a module, as if it lay on the path; what guards `__main__` in it is not run."""
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def fail(message: str) -> "NoReturn":
    """Say it as the last line of the log and end."""
    sys.stdout.flush()
    print(f"rfsched: no command for this row: {message}", file=sys.stderr, flush=True)  # noqa: T201 - into the log
    sys.exit(FAILED)


if __name__ == "__main__":
    main(sys.argv[1:])
