"""The tasks of a threadward project: every combination of its variables, each with a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.sources.sweeps import templates
from researchflow_tmux.adapters.sources.threadward.recorded import Call, Recorded
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.sweeps import Combination, VariableSet
from researchflow_tmux.job.threadward.project import FOLDER, QUEUE, VARIABLES
from researchflow_tmux.job.threadward.queue_files import ALL
from researchflow_tmux.job.threadward.task import LOG

RESULTS = "threadward_results"
LOCATIONS = ("VARIABLE_SUBFOLDER", "VARIABLE_UNDERSCORE")
MOST_TASKS = 100_000


class TaskVariable(msgspec.Struct, frozen=True, kw_only=True):
    """One variable of a task, as the files of the queue have it."""

    value: str
    nickname: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task, as `all_tasks.json` has it."""

    id: str
    variables: dict[str, TaskVariable]
    folder: str
    """Relative to the project."""
    log: str

    @property
    def values(self) -> dict[str, str]:
        """The values of its variables."""
        return {name: each.value for name, each in self.variables.items()}

    @property
    def nicks(self) -> dict[str, str]:
        """Their nicknames."""
        return {name: each.nickname for name, each in self.variables.items()}


def expand(directory: str, found: Recorded) -> list[Task]:
    """All tasks, those that share the first variables together. Raises ConfigError."""
    file = os.path.join(directory, FOLDER, f"{VARIABLES}.py")
    variables = _variables(file, found.calls)
    size = variables.sweep().size()
    if size > MOST_TASKS:
        raise ConfigError([Problem(message=f"stands for {size} combinations; {MOST_TASKS} are the most", file=file)])
    location = found.constants.get("TASK_FOLDER_LOCATION", LOCATIONS[0])
    if location not in LOCATIONS:
        message = f"TASK_FOLDER_LOCATION is {location!r}; it must be {' or '.join(LOCATIONS)}"
        raise ConfigError([Problem(message=message, file=file)])
    results = found.constants.get("RESULTS_PATH")
    root = results if isinstance(results, str) and results else RESULTS
    names = [call.name for call in found.calls]
    tasks = [_task(root, names, combination, location) for combination in variables]
    if not tasks:
        raise ConfigError([Problem(message="no combination is left by the exceptions", file=file)])
    _refuse_equal(file, tasks)
    return tasks


def _variables(file: str, calls: Sequence[Call]) -> VariableSet:
    variables = VariableSet()
    problems = [] if calls else [Problem(message="setup_variable_set adds no variable", file=file)]
    for call in calls:
        try:
            if not templates.WORD.fullmatch(f"{{{call.name}}}"):
                raise ValueError(f"{call.name!r} cannot be the name of a variable: letters, digits and _")
            if call.interaction not in ("cartesian", "zip"):
                raise ValueError(f"interaction is {call.interaction!r}; it must be 'cartesian' or 'zip'")
            variables.add_variable(call.name, call.values, call.nicknames, call.interaction, call.exceptions)  # type: ignore[arg-type]
        except ValueError as error:
            problems.append(Problem(message=str(error), file=file, line=call.line))
    if problems:
        raise ConfigError(problems)
    return variables


def _task(root: str, names: Sequence[str], combination: Combination, location: str) -> Task:
    nicks = {name: combination.get_nickname(name) for name in names}
    words = [f"{{{name}}}" for name in names]
    task_id = templates.folder("_".join(words), nicks)
    folder = os.path.join(root, task_id if location == LOCATIONS[1] else templates.folder("/".join(words), nicks))
    given = {name: TaskVariable(value=combination[name].text, nickname=nicks[name]) for name in names}
    return Task(id=task_id, variables=given, folder=folder, log=os.path.join(folder, LOG))


def _refuse_equal(file: str, tasks: Sequence[Task]) -> None:
    problems = []
    for what in ("id", "folder"):
        first: dict[str, Task] = {}
        for task in tasks:
            same = first.setdefault(getattr(task, what), task)
            if same is not task:
                message = f"two tasks would have the {what} {getattr(task, what)}: {same.nicks} and {task.nicks}"
                problems.append(Problem(message=message, file=file, hint="give values nicknames of their own"))
                break
    if problems:
        raise ConfigError(problems[:1])


def write_tasks(directory: str, tasks: Sequence[Task]) -> None:
    """Write `all_tasks.json`. Raises OSError."""
    queue = os.path.join(directory, FOLDER, QUEUE)
    os.makedirs(queue, exist_ok=True)
    built: Any = msgspec.json.format(msgspec.json.encode(list(tasks)), indent=1)
    write_atomic(os.path.join(queue, ALL), built)
