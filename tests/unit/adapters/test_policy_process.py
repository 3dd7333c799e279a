"""A policy plug-in in its own process: whatever it does, the answer is an answer or a PolicyError in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.adapters import procs
from researchflow_tmux.adapters.policy_check import check_plugin
from researchflow_tmux.adapters.policy_process import PolicyProcess
from researchflow_tmux.domain.errors import ConfigError, PolicyError
from researchflow_tmux.domain.plugin import PluginEvent, PluginFacts, PluginGpu, PluginJob, PluginRun, Question
from tests.support import eventually

Make = Callable[..., PolicyProcess]

GOOD = """
class Mine:
    def __init__(self):
        self.seen = 0

    def order(self, job, facts):
        print("thinking about", job.name)
        return (-job.priority, job.expected_s * max(job.gpus, 1))

    def admit(self, job, facts):
        if sum(run.project == job.project for run in facts.running) >= 1:
            return f"project {job.project} has one already"
        return True
"""


def job(number: int, **fields: Any) -> PluginJob:
    usual: dict[str, Any] = {
        "name": f"j{number}", "project": "", "user": "", "group": "", "labels": {}, "array": "", "source": "command",
        "priority": 0, "gpus": 1, "share": 1.0, "gpu_memory_mib": None, "cpus": None, "memory_mib": None,
        "expected_s": 3600.0, "p80_s": 3600.0, "time_limit_s": None, "deadline_s": None, "queued_s": 0.0,
        "ready_s": 0.0, "attempts": 0, "failed_before": False,
    }  # fmt: skip
    return PluginJob(id=number, **{**usual, **fields})


def running(project: str) -> PluginRun:
    return PluginRun(id=99, name="r", project=project, user="", priority=0, gpus=1, started_s=0.0, ends_s=1.0)


def facts(*runs: PluginRun) -> PluginFacts:
    gpu = PluginGpu(index=0, name="GPU", free=1.0, total_mib=None, in_use_mib=None)
    return PluginFacts(now_s=0.0, gpus=[gpu], running=list(runs), waiting=1, used={}, weights={})


def asking(*jobs: PluginJob, runs: tuple[PluginRun, ...] = (), **more: Any) -> Question:
    return Question(facts=facts(*runs), jobs=list(jobs), **more)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[PolicyProcess] = []

    def process(code: str, name: str = "mine:Mine", **options: Any) -> PolicyProcess:
        (tmp_path / "mine.py").write_text(code)
        usual = {"patient": True, "deadline_s": 20.0, "loading_s": 30.0}
        made.append(PolicyProcess(name, str(tmp_path), **{**usual, **options}))
        return made[-1]

    yield process
    for one in made:
        one.close()


def test_it_orders_and_refuses_and_tells_only_what_changed(make: Make) -> None:
    process = make(GOOD)
    hooks = process.hooks()
    assert hooks is not None
    assert (hooks.order, hooks.admit, hooks.on_event, hooks.by_facts) == (2, 2, 0, True)
    answer = process.ask(asking(job(1), job(2, priority=3, project="a", gpus=2), runs=(running("a"),)))
    assert answer.keys == {1: (0.0, 3600.0), 2: (-3.0, 7200.0)}
    assert answer.refused == {2: "project a has one already"}
    answer = process.ask(asking(job(3), runs=(running("a"),)))
    assert (answer.keys, answer.refused) == ({3: (0.0, 3600.0)}, {}), "the others are as they were"
    assert process.ask(asking(gone=[1])).refused == {2: None}, "it may start now"


@pytest.mark.parametrize("name", ["mine:Mine", "mine.py:Mine", "mine:ready", "mine:order", "mine.py:order"])
def test_a_class_an_object_and_a_function_will_do(make: Make, name: str) -> None:
    process = make(GOOD + "\nready = Mine()\n\ndef order(job):\n    return job.id\n", name)
    assert len(process.ask(asking(job(1), job(2))).keys) == 2 if process.hooks() else False


def test_a_hook_without_facts_is_asked_once_a_job_until_an_event_says_anew(make: Make) -> None:
    process = make(
        "class Mine:\n    asked = 0\n"
        "    def order(self, job):\n        self.asked += 1\n        return self.asked\n"
        "    def on_event(self, event):\n        return event.kind == 'failed'\n"
    )
    hooks = process.hooks()
    assert hooks is not None
    assert not hooks.by_facts
    assert process.ask(asking(job(1), job(2))).keys == {1: (1.0,), 2: (2.0,)}
    assert process.ask(asking(job(3))).keys == {3: (3.0,)}
    event = PluginEvent(kind="started", at_s=0.0, job=3, name="j3", project="", user="", gpus=1)
    assert process.ask(asking(events=[event])).keys == {}
    failed = PluginEvent(kind="failed", at_s=0.0, job=3, name="j3", project="", user="", gpus=1)
    assert process.ask(asking(events=[failed])).keys == {1: (4.0,), 2: (5.0,), 3: (6.0,)}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Mine:\n    pass\n", r"it has none of the hooks order\(job, facts\) or admit"),
        ("class Mine:\n    def order(self):\n        pass\n", r"mine\.py:2: its order\(\) cannot be called as order\("),
        ("class Mine:\n    def order(self, a, b, c):\n        pass\n", r"mine\.py:2: .* cannot be called as order\("),
        ("class Mine:\n    async def admit(self, job):\n        pass\n", r"mine\.py:2: its admit must be a plain"),
        ("class Mine:\n    order = 3\n", "its order is no function"),
        ("class Mine:\n    def __init__(self, x):\n        pass\n", "Mine is made without arguments"),
        ("class Theirs:\n    pass\n", r"mine\.py has no Mine; it has Theirs"),
        ("import no_such_thing\n", r"mine\.py:1: ModuleNotFoundError"),
        ("class Mine\n", r"mine\.py:1: SyntaxError"),
        ("raise SystemExit(3)\n", r"mine\.py:1: SystemExit: 3"),
        ("import os\nos._exit(9)\n", r"its process ended while it was loaded \(exit code 9\)"),
    ],
)
def test_what_cannot_be_loaded_is_named_before_it_is_set(make: Make, tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(PolicyError, match=rf"policy mine:Mine: .*{words}"):
        make(code).hooks()
    with pytest.raises(ConfigError, match=words) as found:
        check_plugin("mine:Mine", str(tmp_path), f"{tmp_path}/scheduler_config.yml:4")
    problem = found.value.problems[0]
    assert (problem.file, problem.line) == (f"{tmp_path}/scheduler_config.yml", 4)
    assert problem.hint is not None
    assert "order(job, facts)" in problem.hint


def test_a_module_that_is_not_there_is_named(make: Make) -> None:
    with pytest.raises(PolicyError, match="No module named 'theirs'"):
        make(GOOD, "theirs:Mine").hooks()
    with pytest.raises(PolicyError, match=r"there is no file .*/theirs\.py"):
        make(GOOD, "theirs.py:Mine").hooks()
    check_plugin("balanced", "/nowhere")  # a built-in one needs no look


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return job.no_such_field", r"mine\.py:3: AttributeError: .*no_such_field.* \(about the job j1\)"),
        ("return None", "order returned None: return a number or a tuple of numbers"),
        ("return 'first'", "order returned 'first'"),
        ("return float('nan')", "order returned nan"),
        ("return ()", r"order returned \(\)"),
        ("return tuple(range(99))", r"order returned \(0, 1"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os; os._exit(9)", r"its process ended \(exit code 9\)"),
        ("import os; os.kill(os.getpid(), 9)", r"its process ended \(killed by signal 9\)"),
        ("import os; os.closerange(0, 99)", "its process ended"),
        ("return [0] * 10**9", r"MemoryError: .*it may use so much memory and no more"),
        ("job.name = 'other'", "AttributeError"),
    ],
)
def test_what_it_does_wrong_is_an_error_with_its_place(make: Make, body: str, words: str) -> None:
    process = make(f"class Mine:\n    def order(self, job):\n        {body}\n", most_mib=512)
    process.hooks()
    with pytest.raises(PolicyError, match=rf"policy mine:Mine: .*{words}"):
        process.ask(asking(job(1)))
    with pytest.raises(PolicyError, match="its process is gone"):
        process.ask(asking(job(1)))
    process.reload()
    assert process.hooks() is not None, "and it can be loaded anew"


@pytest.mark.parametrize("answer", ["False", "None", "''", "1"])
def test_an_answer_of_admit_that_says_neither_is_refused(make: Make, answer: str) -> None:
    process = make(f"class Mine:\n    def admit(self, job):\n        return {answer}\n")
    process.hooks()
    with pytest.raises(PolicyError, match="return True, or the reason why not"):
        process.ask(asking(job(1)))


def test_one_that_never_answers_costs_one_deadline_and_is_killed(make: Make) -> None:
    process = make("class Mine:\n    def order(self, job):\n        while True: pass\n", deadline_s=0.2)
    process.hooks()
    child = process._child
    assert child is not None
    begin_s = time.monotonic()
    with pytest.raises(PolicyError, match=r"gave no answer within 0\.2 s"):
        process.ask(asking(*(job(number) for number in range(1, 2000))))
    assert time.monotonic() - begin_s < 10
    assert child.poll() is not None
    assert procs.parent(child.pid) == 0


def test_one_that_reads_nothing_cannot_stall_who_asks(make: Make) -> None:
    process = make("import time\nclass Mine:\n    def order(self, job):\n        time.sleep(600)\n", deadline_s=0.3)
    process.hooks()
    with pytest.raises(PolicyError, match="gave no answer"):
        process.ask(asking(*(job(number, name="x" * 500) for number in range(1, 2000))))


def test_one_that_is_never_loaded_is_given_up(make: Make, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n{GOOD}"
    process = make(code, patient=False)
    assert process.hooks() is None, "the loop is not held up"
    go.touch()
    assert eventually(process.hooks) is not None
    go.unlink()
    process = make(code, loading_s=0.2)
    with pytest.raises(PolicyError, match=r"is not loaded within 0\.2 s"):
        process.hooks()
    assert not process.changed()


def test_an_edit_of_its_file_or_of_one_that_it_imports_is_seen(make: Make, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("FACTOR = 1\n")
    process = make("import helper\nclass Mine:\n    def order(self, job):\n        return job.id * helper.FACTOR\n")
    process.hooks()
    assert process.ask(asking(job(2))).keys == {2: (2.0,)}
    assert not process.changed()
    (tmp_path / "helper.py").write_text("FACTOR = 10\n")
    assert process.changed()
    process.reload()
    assert process.hooks() is not None
    assert not process.changed()
    assert process.ask(asking(job(2))).keys == {2: (20.0,)}


def test_a_file_that_appears_is_seen(make: Make, tmp_path: Path) -> None:
    process = make(GOOD, "late:Mine")
    with pytest.raises(PolicyError):
        process.hooks()
    assert not process.changed()
    (tmp_path / "late.py").write_text(GOOD)
    assert process.changed()
