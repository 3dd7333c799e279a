"""threadward projects: what their files say, which tasks they are, and how one task runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.sources.threadward.drafts import Drafter, TaskJob, constraints
from researchflow_tmux.adapters.sources.threadward.recorded import record
from researchflow_tmux.adapters.sources.threadward.tasks import Task, expand, write_tasks
from researchflow_tmux.adapters.sources.threadward.template import FILES
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.job.threadward import queue_files

PACKAGE = str(Path(__file__).resolve().parents[3])
VARIABLES = """
def setup_variable_set(variable_set):
    variable_set.add_variable(name="model", values=["org/a", "org/b"], nicknames=["A", "B"])
    variable_set.add_variable("seed", range(0, 3), exceptions={"B": [1]})

def model_to_value(string_value, nickname):
    return f"<{string_value} as {nickname}>"
"""
SETUP = "def setup_variable_set(v):\n    "
TASK = """
def task_method(variables, task_folder, log_file):
    print("runs", variables["model"], variables["seed"], variables.get_nickname("model"))
    open(task_folder + "/done", "w").write(log_file)
"""


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "threadward"
        self.folder.mkdir()
        self.write(TASK, VARIABLES)
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        self.settings = Settings(task_name="t", python_env=sys.executable)
        self.commands = CommandBuilder(self.settings, os.environ, self.paths)

    def write(self, task: str | None = None, variables: str | None = None, constraints: str | None = None) -> None:
        for name, text in (
            ("task_specification", task),
            ("variable_iteration", variables),
            ("resource_constraints", constraints),
        ):
            if text is not None:
                (self.folder / f"{name}.py").write_text(text)

    def tasks(self) -> list[Task]:
        found = expand(str(self.root), record(str(self.root), self.commands, self.paths))
        write_tasks(str(self.root), found)
        return found

    def jobs(self) -> list[TaskJob]:
        found = record(str(self.root), self.commands, self.paths)
        asked, _ = constraints(str(self.root), found)
        tasks = expand(str(self.root), found)
        return Drafter(str(self.root), self.commands, self.paths, self.settings, asked).jobs(tasks, found.hooks)

    def problems(self) -> str:
        with pytest.raises(ConfigError) as caught:
            self.jobs()
        return str(caught.value)

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a task, or a hook, as its job does."""
        command = [sys.executable, "-m", "researchflow_tmux.job.threadward.task", str(self.root), *words]
        given = {**os.environ, "PYTHONPATH": PACKAGE, **env}
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=30)

    def lists(self) -> dict[str, list[str]]:
        queue = str(self.folder / "task_queue")
        return {
            name.split("_")[0]: queue_files.ids(queue, name) for name in (queue_files.SUCCESSFUL, queue_files.FAILED)
        }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# What the files say ---------------------------------------------------------------------------------------------------


def test_tasks_in_order_with_values_nicknames_folders_and_logs(project: Project) -> None:
    tasks = project.tasks()
    assert [task.id for task in tasks] == ["A_0", "A_1", "A_2", "B_1"], "what shares the first variable stands together"
    assert tasks[3].values == {"model": "org/b", "seed": "1"}
    written = json.loads((project.folder / "task_queue" / "all_tasks.json").read_text())
    assert written[0] == {
        "id": "A_0",
        "variables": {"model": {"value": "org/a", "nickname": "A"}, "seed": {"value": "0", "nickname": "0"}},
        "folder": "threadward_results/A/0",
        "log": "threadward_results/A/0/log.txt",
    }
    project.write(variables=VARIABLES + '\nTASK_FOLDER_LOCATION = "VARIABLE_UNDERSCORE"\nRESULTS_PATH = "r"\n')
    assert project.tasks()[0].folder == "r/A_0"


def test_jobs_of_tasks_and_of_hooks_that_do_something(project: Project) -> None:
    hooks = "\ndef before_all_tasks():\n    print(1)\ndef after_all_tasks():\n    print(2)\n"
    project.write(TASK + hooks, constraints="NUM_WORKERS = 3\nNUM_GPUS_PER_WORKER = 1/2\nTASK_TIMEOUT = 60\n")
    before, *tasks, after = project.jobs()
    name = project.root.name
    draft = tasks[0].draft
    assert draft.name == f"{name}_A_0"
    assert draft.argv[-4:] == ("-m", "researchflow_tmux.job.threadward.task", str(project.root), "A_0")
    assert (draft.request.gpus, draft.request.share, draft.request.time_limit_s) == (1, 0.5, 60.0)
    assert draft.array is not None
    assert (draft.array.at_most, draft.after) == (3, (f"{name}_before_all_tasks",))
    assert (draft.labels, draft.output_dir) == ({"model": "A", "seed": "0"}, f"{project.root}/threadward_results/A/0")
    assert before.draft.request.gpus == 0
    assert (after.draft.when, len(after.draft.after)) == ("always", 4)
    project.write(TASK + hooks.replace("print(1)", "'''nothing'''").replace("print(2)", "pass"), constraints="")
    assert [job.task is None for job in project.jobs()] == [False] * 4
    assert project.jobs()[0].draft.request.gpus == 0


def test_the_template_is_a_project(project: Project) -> None:
    project.write(*FILES.values())
    assert [task.id for task in project.tasks()] == ["small_0", "small_1", "small_2", "large_0"]
    assert project.run("small_1").returncode == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("", "there is no function `setup_variable_set(variable_set)`"),
        (SETUP + "pass\n", "adds no variable"),
        (SETUP + "v.add_variable('a', [])\n", "variable_iteration.py:2: a has no values"),
        (SETUP + "v.add_variable('a', 'xyz')\n", ":2: TypeError: expected a list of values, got the text"),
        (SETUP + "v.add_variable('a', [1, 1])\n", ":2: a has a value twice"),
        (SETUP + "v.add_variable('a b', [1])\n", "'a b' cannot be the name of a variable"),
        (SETUP + "v.add_variable('a', [1], interaction='x')\n", "interaction is 'x'"),
        (SETUP + "v.add_variable('a', [1], nickname=[2])\n", ":2: TypeError: "),
        (SETUP + "v.add_variable('a', [1])\n    v.add_variable('b', [1], exceptions={'z': [1]})\n",
         ":3: b: no variable above has the value 'z'"),
        (SETUP + "v.add_variable('a', [1, 2], nicknames=['x', 'x'])\n", "two tasks would have the id x"),
        ("def setup_variable_set(v:\n", ":1: not valid Python"),
        ("import nowhere_at_all\n", ":1: ModuleNotFoundError"),
        ("import os\nos._exit(3)\n", "could not be executed"),
        ("raise SystemExit('no')\n", ":1: SystemExit: no"),
    ],
)  # fmt: skip
def test_problems_of_the_variables(project: Project, variables: str, said: str) -> None:
    project.write(variables=variables)
    assert said in project.problems()


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ("NUM_WORKERS = 0", "NUM_WORKERS is 0; expected a whole number of at least 1"),
        ("NUM_GPUS_PER_WORKER = 1.5", "whole GPUs, or a part of one"),
        ("NUM_GPUS_PER_WORKER = 'two'", "NUM_GPUS_PER_WORKER is 'two'"),
        ("SUCCESS_CONDITION = 'MAYBE'", "SUCCESS_CONDITION is 'MAYBE'; it must be one of NO_ERROR_AND_VERIFY"),
        ("TASK_FOLDER_LOCATION = 'HERE'", "TASK_FOLDER_LOCATION is 'HERE'"),
        ("NUM_WORKERS = ", "not valid Python"),
    ],
)
def test_problems_of_the_constants(project: Project, constants: str, said: str) -> None:
    project.write(constraints=constants)
    assert said in project.problems()


def test_a_missing_file_is_named(project: Project) -> None:
    (project.folder / "task_specification.py").unlink()
    assert "task_specification.py: is not there" in project.problems()


# One task -------------------------------------------------------------------------------------------------------------


def test_a_task_gets_values_made_of_value_and_nickname(project: Project) -> None:
    project.tasks()
    done = project.run("B_1")
    assert (done.returncode, done.stdout) == (0, "runs <org/b as B> 1 B\n")
    folder = project.root / "threadward_results" / "B" / "1"
    assert (folder / "done").read_text() == str(folder / "log.txt")
    assert (folder / "log.txt").read_text() == done.stdout
    assert project.lists() == {"successful": ["B_1"], "failed": []}


HOOKS = """
def say(word):
    print(word)
def before_each_worker(worker_id): say(f"worker {worker_id}")
def before_each_task(variables, task_folder, log_file):
    say("before")
    variables["seed"] = "changed"
def task_method(variables, task_folder, log_file):
    say(variables["seed"])
    BODY
def after_each_task(variables, task_folder, log_file): say("after")
def after_each_worker(worker_id): say("worker gone")
def verify_task_success(variables, task_folder, log_file):
    say("verify")
    return VERDICT
"""


@pytest.mark.parametrize(
    ("condition", "body", "verdict", "code"),
    [
        ("NO_ERROR_AND_VERIFY", "pass", "True", 0),
        ("NO_ERROR_AND_VERIFY", "pass", "False", 1),
        ("NO_ERROR_AND_VERIFY", "1 / 0", "True", 1),
        ("NO_ERROR_AND_VERIFY", "pass", "1 / 0", 1),
        ("NO_ERROR_ONLY", "pass", "False", 0),
        ("NO_ERROR_ONLY", "raise SystemExit(3)", "True", 1),
        ("NO_ERROR_ONLY", "raise SystemExit", "True", 0),
        ("VERIFY_ONLY", "1 / 0", "True", 0),
        ("VERIFY_ONLY", "pass", "False", 1),
        ("ALWAYS_SUCCESS", "1 / 0", "False", 0),
        ("SOMETIMES", "pass", "True", 1),
    ],
)
def test_conditions_and_hooks(project: Project, condition: str, body: str, verdict: str, code: int) -> None:
    task = f"SUCCESS_CONDITION = {condition!r}\n" + HOOKS.replace("BODY", body).replace("VERDICT", verdict)
    project.tasks()
    project.write(task)
    done = project.run("A_0")
    assert done.returncode == code, done.stderr
    assert project.lists() == {"successful": ["A_0"][code:], "failed": ["A_0"][:code]}
    if condition != "SOMETIMES":
        said = ["worker 0", "before", "changed", "after", "worker gone"]
        asks = condition == "VERIFY_ONLY" or (condition == "NO_ERROR_AND_VERIFY" and body == "pass")
        assert [line for line in done.stdout.splitlines() if line in (*said, "verify")] == said + ["verify"] * asks
        raised = body == "1 / 0" or (asks and verdict == "1 / 0")
        assert ("ZeroDivisionError" in done.stdout + done.stderr) is raised


LOUD = """
import os, subprocess, sys
def task_method(variables, task_folder, log_file):
    print("on a terminal:", sys.stdout.isatty())
    sys.stderr.write("e" * 300_000 + "\\n")
    os.write(2, b"w" * 300_000 + b"\\n")
    subprocess.run(["sh", "-c", "echo from a shell"])
def verify_task_success(variables, task_folder, log_file):
    text = open(log_file).read()
    return len(text) > 600_000 and text.endswith("from a shell\\n")
"""


def test_all_output_is_in_the_log_file_when_the_task_is_asked_about(project: Project) -> None:
    project.tasks()
    project.write(LOUD)
    done = project.run("A_0")
    assert done.returncode == 0, done.stderr[-500:]
    log = (project.root / "threadward_results" / "A" / "0" / "log.txt").read_text()
    assert log.startswith("on a terminal: True\n")
    assert done.stdout == log, "and so it is in the session"
    project.write('OUTPUT_MODE = "CONSOLE_ONLY"\n' + TASK)
    assert project.run("A_1").stdout.startswith("runs")
    assert not (project.root / "threadward_results" / "A" / "1" / "log.txt").exists()


def test_a_task_that_succeeds_later_is_no_failed_one_any_more(project: Project) -> None:
    project.tasks()
    project.write("def task_method(*_):\n    raise OSError('disk')\n")
    assert project.run("A_0").returncode == 1
    assert project.lists() == {"successful": [], "failed": ["A_0"]}
    project.write(TASK)
    assert project.run("A_0").returncode == 0
    assert project.lists() == {"successful": ["A_0"], "failed": []}
    assert project.run("nobody").returncode == 2


def test_a_file_that_cannot_be_loaded_fails_the_task(project: Project) -> None:
    project.tasks()
    project.write("import nowhere_at_all\n")
    done = project.run("A_0")
    assert (done.returncode, "nowhere_at_all" in done.stderr) == (1, True)
    assert project.lists()["failed"] == ["A_0"]


def test_a_hook_around_all_tasks(project: Project) -> None:
    project.write("def before_all_tasks():\n    import os\n    print('at', os.path.basename(os.getcwd()))\n")
    done = project.run("--hook", "before_all_tasks")
    assert (done.returncode, done.stdout) == (0, f"at {project.root.name}\n")


@pytest.mark.parametrize(
    ("handling", "verdict", "attempt", "runs", "code", "kept"),
    [
        ("SKIP", True, "1", False, 0, True),
        ("SKIP", True, "2", True, 0, True),
        ("QUIT", True, "1", False, 1, True),
        ("OVERWRITE", True, "1", True, 0, False),
        ("VERIFY", True, "1", False, 0, True),
        ("VERIFY", False, "1", True, 1, True),
    ],
)
def test_a_folder_that_was_there_before(
    project: Project, handling: str, verdict: bool, attempt: str, runs: bool, code: int, kept: bool
) -> None:
    project.tasks()
    check = f"\ndef verify_task_success(*_):\n    return {verdict}\n"
    project.write(f"EXISTING_FOLDER_HANDLING = {handling!r}\n{TASK}{check}")
    folder = project.root / "threadward_results" / "A" / "0"
    folder.mkdir(parents=True)
    (folder / "old").write_text("")
    done = project.run("A_0", RFSCHED_ATTEMPT_NUMBER=attempt)
    assert (done.returncode, "runs" in done.stdout, (folder / "old").exists()) == (code, runs, kept)


def test_many_tasks_note_their_ends_at_once(tmp_path: Path) -> None:
    queue = str(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: queue_files.note(queue, str(number), succeeded=bool(number % 2)), range(60)))
    assert sorted(map(int, queue_files.ids(queue, queue_files.SUCCESSFUL))) == list(range(1, 60, 2))
    assert sorted(map(int, queue_files.ids(queue, queue_files.FAILED))) == list(range(0, 60, 2))
    queue_files.begin(queue, ["1", "2"], ["3", "4"])
    assert {"3", "4"}.isdisjoint(
        queue_files.ids(queue, queue_files.SUCCESSFUL) + queue_files.ids(queue, queue_files.FAILED)
    )
    assert "2" in queue_files.ids(queue, queue_files.SUCCESSFUL)
    assert "2" not in queue_files.ids(queue, queue_files.FAILED)
