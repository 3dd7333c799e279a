"""Runs one task of a threadward project, in the job's own process: `python -m …threadward.task DIR ID`.

The exit code says whether the task succeeded by the project's SUCCESS_CONDITION.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import traceback

from . import queue_files
from .output import Output
from .project import QUEUE, TASKS, VARIABLES, Project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any

SUCCEEDED, FAILED, UNUSABLE = 0, 1, 2
LOG = "log.txt"
WORKER_ID = 0
"""Each job is a worker of its own, with one task."""
CONDITIONS = ("NO_ERROR_AND_VERIFY", "NO_ERROR_ONLY", "VERIFY_ONLY", "ALWAYS_SUCCESS")


class Variables(dict):  # type: ignore[type-arg]
    """What a task is given: values by the names of the variables."""

    def __init__(self, nicknames: dict[str, str]) -> None:
        super().__init__()
        self._nicknames = nicknames

    def get_nickname(self, name: str) -> str:
        """What the value of this variable is called. Raises KeyError."""
        return self._nicknames[name]


class Task:
    """One task, ready to run."""

    def __init__(self, project: Project, record: dict[str, Any]) -> None:
        self.id = str(record["id"])
        self.record = record
        self.folder = os.path.join(project.directory, record["folder"])
        self.log = os.path.join(project.directory, record["log"])
        project.enter()
        self.converters = project.load(VARIABLES)
        self.module = project.load(TASKS)
        self.values = Variables({name: each["nickname"] for name, each in record["variables"].items()})
        self.error: str | None = None
        self.output: Output | None = None

    # -- running

    def run(self) -> bool:
        """Run the task with its hooks; whether it succeeded."""
        condition = getattr(self.module, "SUCCESS_CONDITION", CONDITIONS[0])
        if condition not in CONDITIONS:
            _say(f"SUCCESS_CONDITION is {condition!r}; it must be one of {', '.join(CONDITIONS)}")
            return False
        with self._guarded():
            self._convert()
            self._call(self.module, "before_each_worker", WORKER_ID)
            self._call(self.converters, "on_hierarchical_load", self.values, WORKER_ID)
            self._hook("before_each_task")
            self._hook("task_method")
        with self._guarded():
            self._hook("after_each_task")
        with self._guarded():
            self._call(self.converters, "on_hierarchical_unload", self.values, WORKER_ID)
        with self._guarded():
            self._call(self.module, "after_each_worker", WORKER_ID)
        if self.output is not None:
            self.output.end()
        if condition in ("NO_ERROR_ONLY", "ALWAYS_SUCCESS"):
            return condition == "ALWAYS_SUCCESS" or self.error is None
        verified = False
        if condition == "VERIFY_ONLY" or self.error is None:
            with self._guarded():
                verified = self.verified()
            if not verified:
                _say("verify_task_success did not say yes")
        return verified

    def verified(self) -> bool:
        """What the project's own check says; a project without one has nothing against it."""
        check = getattr(self.module, "verify_task_success", None)
        return True if check is None else bool(check(self.values, self.folder, self.log))

    def _convert(self) -> None:
        if self.values:
            return
        for name, each in self.record["variables"].items():
            converter = getattr(self.converters, f"{name}_to_value", None)
            value = each["value"]
            self.values[name] = value if converter is None else converter(value, each["nickname"])

    def _hook(self, name: str) -> None:
        self._call(self.module, name, self.values, self.folder, self.log)

    @staticmethod
    def _call(module: ModuleType, name: str, *arguments: Any) -> None:
        hook = getattr(module, name, None)
        if hook is not None:
            hook(*arguments)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error of the user's code is told where people look, and is the task's, not ours."""
        try:
            yield
        except SystemExit as error:
            if error.code not in (None, 0):
                self.error = self.error or f"exit {error.code}"
                _say(f"the task called exit({error.code!r})")
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises
            self.error = self.error or f"{type(error).__name__}: {error}"
            traceback.print_exc()

    # -- its folder

    def make_folder(self) -> None:
        """The folder of the task; from here on what it prints is in its log file too."""
        os.makedirs(self.folder, exist_ok=True)
        if getattr(self.module, "OUTPUT_MODE", None) == "CONSOLE_ONLY":
            return
        output = Output(self.log)
        try:
            output.begin()
        except OSError as error:
            _say(f"no log file {self.log}: {error.strerror}")
        else:
            self.output = output

    def settled_by_folder(self) -> bool | None:
        """What EXISTING_FOLDER_HANDLING makes of a folder that was there before the task ever ran; None = run it."""
        handling = getattr(self.module, "EXISTING_FOLDER_HANDLING", None)
        handling = handling or getattr(self.converters, "EXISTING_FOLDER_HANDLING", None)
        first = os.environ.get("RFSCHED_ATTEMPT_NUMBER", "1") == "1"
        if handling is None or not first or not _has_files(self.folder):
            return None
        _say(f"{self.folder} is there already: {handling}")
        if handling == "SKIP":
            return True
        if handling == "QUIT":
            return False
        if handling == "OVERWRITE":
            shutil.rmtree(self.folder)
            return None
        with self._guarded():
            self._convert()
            if self.verified():
                return True
        self.error = None
        return None


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"threadward: {text}\n")
    sys.stderr.flush()


def _has_files(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False


def run(directory: str, task_id: str) -> int:
    """Run one task of the project in `directory`, and note how it ended."""
    project = Project(directory)
    queue = os.path.join(project.folder, QUEUE)
    try:
        record = next((each for each in queue_files.tasks(queue) if str(each["id"]) == task_id), None)
        if record is None:
            _say(f"{queue}/{queue_files.ALL} has no task {task_id!r}: was the project changed?")
            return UNUSABLE
        os.chdir(project.directory)
        task = Task(project, record)
    except Exception:  # noqa: BLE001 - as above
        traceback.print_exc()
        queue_files.note(queue, task_id, succeeded=False)
        return FAILED
    settled = task.settled_by_folder()
    if settled is None:
        task.make_folder()
        settled = task.run()
    queue_files.note(queue, task_id, succeeded=settled)
    sys.stdout.flush()
    sys.stderr.flush()
    return SUCCEEDED if settled else FAILED


def run_hook(directory: str, name: str) -> int:
    """Call `before_all_tasks` or `after_all_tasks`."""
    project = Project(directory)
    os.chdir(project.directory)
    project.enter()
    getattr(project.load(TASKS), name)()
    return SUCCEEDED


if __name__ == "__main__":
    if sys.argv[2] == "--hook":
        sys.exit(run_hook(sys.argv[1], sys.argv[3]))
    sys.exit(run(sys.argv[1], sys.argv[2]))
