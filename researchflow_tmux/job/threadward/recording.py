"""Runs `setup_variable_set` and writes down what it asks for: `python -m …threadward.recording DIR OUT`.

OUT is JSON with `calls` (one for each `add_variable`), `constants`, `hooks` and `problems`. What is wrong with the
user's files is a problem there, with file and line; this process itself ends with 0.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from .project import CONSTRAINTS, TASKS, VARIABLES, Project, outline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SETUP = "setup_variable_set"
CONSTANTS = (
    "FAILURE_HANDLING", "TASK_FOLDER_LOCATION", "SUCCESS_CONDITION", "OUTPUT_MODE", "EXISTING_FOLDER_HANDLING",
    "TASK_TIMEOUT", "RESULTS_PATH", "NUM_WORKERS", "NUM_GPUS_PER_WORKER", "AVOID_GPUS", "INCLUDE_GPUS",
)  # fmt: skip


class VariableSet:
    """Takes down each `add_variable`; whether it makes sense is judged by who reads it."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def add_variable(
        self, name: Any, values: Any, nicknames: Any = None, interaction: Any = "cartesian", exceptions: Any = None
    ) -> None:
        """As threadward's: values and nicknames are taken as texts."""
        caller = sys._getframe(1)  # noqa: SLF001 - where the user wrote it
        self.calls.append(
            {
                "name": str(name),
                "values": _texts(values),
                "nicknames": None if nicknames is None else _texts(nicknames),
                "interaction": str(interaction),
                "exceptions": {str(key): _texts(allowed) for key, allowed in dict(exceptions or {}).items()},
                "line": caller.f_lineno,
            }
        )


def _texts(values: Any) -> list[str]:
    if isinstance(values, (str, bytes)):  # a list of its letters is what nobody means
        raise TypeError(f"expected a list of values, got the text {values!r}")
    return [str(value) for value in values]


def record(directory: str) -> dict[str, Any]:
    """What the project's files say."""
    project = Project(directory)
    found: dict[str, Any] = {"calls": [], "constants": {}, "hooks": [], "problems": []}
    for name in (TASKS, CONSTRAINTS, VARIABLES):
        path = project.path(name)
        try:
            constants, functions = outline(path)
        except FileNotFoundError:
            if name != CONSTRAINTS:
                found["problems"].append({"file": path, "message": "is not there"})
            continue
        except (OSError, SyntaxError, ValueError) as error:
            found["problems"].append(_problem(error, path))
            continue
        found["constants"].update({key: value for key, value in constants.items() if key in CONSTANTS})
        found["hooks"] += functions
    if not found["problems"]:
        _execute(project, found)
    return found


def _execute(project: Project, found: dict[str, Any]) -> None:
    """The files whose constants may be computed, and the one with the variables."""
    project.enter()
    os.chdir(project.directory)
    path = project.path(CONSTRAINTS)
    try:
        for name in (CONSTRAINTS, VARIABLES):
            path = project.path(name)
            if not os.path.exists(path):
                continue
            module = project.load(name)
            found["constants"].update({key: getattr(module, key) for key in CONSTANTS if hasattr(module, key)})
        setup = getattr(module, SETUP, None)
        if setup is None:
            found["problems"].append({"file": path, "message": f"there is no function `{SETUP}(variable_set)`"})
            return
        variables = VariableSet()
        setup(variables)
        found["calls"] = variables.calls
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises
        found["problems"].append(_problem(error, path))


def _problem(error: BaseException, path: str) -> dict[str, Any]:
    """The error in one line, with the last place in the user's file."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return {"file": error.filename or path, "line": error.lineno, "message": f"not valid Python: {error.msg}"}
    if isinstance(error, OSError) and error.filename == path:
        return {"file": path, "message": f"cannot be read: {error.strerror}"}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = frames[-1].lineno if frames else None
    return {"file": path, "line": line, "message": f"{type(error).__name__}: {error}"}


def main(directory: str, out: str) -> int:
    """Write what the project says to `out`."""
    found = record(directory)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file, default=str)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
