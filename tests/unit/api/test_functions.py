"""Functions as jobs, without a scheduler: what is written, by value, and what comes back from a run of it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from researchflow_tmux import called, job
from researchflow_tmux.api import call_files
from researchflow_tmux.api.cleaning import clean
from researchflow_tmux.api.functions import Call, JobFunction, own_modules
from researchflow_tmux.api.python import Workspace
from researchflow_tmux.domain.errors import RemoteError, ResultError, UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import WorkspacePaths
from tests.unit.engine import samples


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return WorkspacePaths(root=str(tmp_path), config=str(tmp_path / "scheduler_config.yml"))


def run(paths: WorkspacePaths, call: Call[Any], *, state: JobState | None = None) -> Job:
    """Run a call as the runner would; the job as it then is."""
    [(key, argv)] = call_files.pack(paths, [call])
    directory = paths.attempt_dir(1, 1)
    os.makedirs(directory)
    env = {**os.environ, "RFSCHED_METRICS": f"{directory}/metrics.jsonl"}
    done = subprocess.run(argv, env=env, cwd="/", capture_output=True, check=False)
    ended = state or (JobState.FAILED if done.returncode else JobState.SUCCEEDED)
    found = samples.job(1, ended, attempts=1, exit_code=done.returncode)
    return replace(found, spec=replace(found.spec, source=call_files.SOURCE, key=key))


@job(gpus=2, name="adding")
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def test_a_function_stays_a_function_and_keeps_its_options() -> None:
    assert (add(1), add.__name__, add.__doc__) == (2, "add", "Add.")
    call = add.having(gpus=0).job(1, b=2)
    assert (call.args, call.kwargs, call.options, call.name) == ((1,), {"b": 2}, {"gpus": 0, "name": "adding"}, "add")
    assert isinstance(job(len), JobFunction)
    with pytest.raises(UsageError, match="no option 'gpsu'; did you mean 'gpus'"):
        job(gpsu=1)


def test_the_users_modules_go_by_value_and_installed_ones_by_name() -> None:
    own = {module.__name__ for module in own_modules()}
    assert __name__ in own
    assert not own & {"json", "msgspec", "pytest", "researchflow_tmux.called"}


def test_a_module_may_change_or_go_after_submission(paths: WorkspacePaths, tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("FACTOR = 3\ndef times(x):\n    return helper(x)\ndef helper(x):\n    return FACTOR * x\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import mine  # type: ignore[import-not-found]

        call = job(mine.times).job(7)
        [(_, argv)] = call_files.pack(paths, [call])
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("mine", None)
    module.write_text("raise RuntimeError\n")
    os.makedirs(paths.attempt_dir(1, 1))
    env = {**os.environ, "RFSCHED_METRICS": os.path.join(paths.attempt_dir(1, 1), "m")}
    subprocess.run(argv, env=env, cwd="/", check=True)
    done = replace(samples.job(1, JobState.SUCCEEDED, attempts=1))
    assert call_files.result_of(paths, done) == 21


def test_functions_without_a_source(paths: WorkspacePaths) -> None:
    """As in a notebook."""
    scope: dict[str, Any] = {"__name__": "__main__", "base": 10}
    exec("class Box:\n    def __init__(self, x): self.x = x\ndef make(x): return Box(base + x)\n", scope)
    found = call_files.result_of(paths, run(paths, job(scope["make"]).job(5)))
    assert (type(found) is scope["Box"], found.x) == (True, 15)


def test_a_function_of_many_calls_is_written_once(paths: WorkspacePaths) -> None:
    blob = os.urandom(50_000)
    calls = [job(lambda x: (len(blob), x)).job(1)]
    calls += [Call(calls[0].function, (number,), {}, {}) for number in range(9)]
    packed = list(call_files.pack(paths, calls))
    [path] = {argv[3] for _, argv in packed}
    assert 50_000 < os.path.getsize(path) < 70_000
    assert [called.load(path, int(argv[4]))[1] for _, argv in packed] == [(1,), *((number,) for number in range(9))]


class UnpicklableError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no")


def raising(error: BaseException) -> None:
    raise error


def test_what_a_function_raises_comes_back(paths: WorkspacePaths) -> None:
    failed = run(paths, job(lambda: raising(KeyError("x"))).job())
    error = call_files.error_of(paths, failed)
    assert isinstance(error, RemoteError)
    assert (repr(error.original), repr(error.__cause__), error.code) == ("KeyError('x')", "KeyError('x')", 1)
    assert error.traceback.splitlines()[-1] == "KeyError: 'x'"
    assert "called.py" not in error.traceback
    again = pickle.loads(pickle.dumps(error))  # through a pool of processes, say
    assert (str(again), again.code, again.state, repr(again.original)) == (str(error), 1, "failed", "KeyError('x')")


@pytest.mark.parametrize(
    ("function", "said", "code"),
    [
        (lambda: raising(UnpicklableError("odd")), "UnpicklableError: odd", 1),
        (lambda: sys.exit(3), "SystemExit: 3", 3),
        (lambda: (number for number in range(0)), "it returned a generator, which cannot be pickled", 1),
        (threading.Lock, "it returned a lock, which cannot be pickled", 1),
    ],
)
def test_what_cannot_be_pickled_is_told_in_words(paths: WorkspacePaths, function: Any, said: str, code: int) -> None:
    error = call_files.error_of(paths, run(paths, job(function).job()))
    assert error is not None
    assert said in str(error)
    assert error.code == code


def test_leaving_with_zero_is_a_result(paths: WorkspacePaths) -> None:
    assert call_files.result_of(paths, run(paths, job(lambda: sys.exit()).job())) is None


async def soon(x: int) -> int:
    import asyncio

    return await asyncio.to_thread(lambda: x + 1)


def test_a_coroutine_function_is_run_to_its_end(paths: WorkspacePaths) -> None:
    assert call_files.result_of(paths, run(paths, job(soon).job(1))) == 2


def test_another_python_version_is_named(paths: WorkspacePaths) -> None:
    done = run(paths, job(lambda: 1).job())
    path = os.path.join(paths.attempt_dir(1, 1), called.RESULT_NAME)
    with open(path, "wb") as file:
        file.write(json.dumps({"version": 1, "python": "2.7", "kind": "value"}).encode() + b"\nnonsense")
    with pytest.raises(ResultError, match=r"it was written by Python 2\.7, and this is Python 3\."):
        call_files.result_of(paths, done)
    [(_, argv)] = call_files.pack(paths, [job(lambda: 1).job()])
    text = Path(argv[3]).read_bytes().replace(f'"python": "{called.HERE}"'.encode(), b'"python": "2.17"')
    Path(argv[3]).write_bytes(text)
    env = {**os.environ, "RFSCHED_METRICS": os.path.join(paths.attempt_dir(1, 1), "m")}
    done_again = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert "it was submitted by Python 2.17" in done_again.stderr
    error = call_files.error_of(paths, replace(done, state=JobState.FAILED))
    assert error is not None
    assert "the function cannot be read" in str(error)


def test_a_result_that_is_not_there_is_said_to_be_so(paths: WorkspacePaths) -> None:
    ended = samples.job(1, JobState.SUCCEEDED, attempts=1)
    with pytest.raises(ResultError, match="the result of j1 is not there"):
        call_files.result_of(paths, ended)
    assert call_files.error_of(paths, ended) is None


def test_nothing_is_left_of_calls_that_cannot_be_packed(paths: WorkspacePaths) -> None:
    with pytest.raises(UsageError, match="an argument of lambda cannot be pickled"):
        list(call_files.pack(paths, [job(lambda x: x).job(1), job(lambda x: x).job(threading.Lock())]))
    assert os.listdir(paths.calls) == []


def test_cleaning_takes_call_files_that_no_job_needs(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text(f"task_name: t\ntmux_socket: {tmp_path}/none\n")
    ws = Workspace(tmp_path, start=False)
    one, two = ws.submit_many([add.job(1), add.job(2)])
    three = ws.submit(add.job(3))
    one.cancel()
    three.cancel()
    files = set(os.listdir(ws.paths.calls))
    assert len(files) == 2
    assert clean(ws, "0s", really=False).files == 1
    assert clean(ws, "0s", really=True).jobs == ["adding", "adding"]
    assert len(set(os.listdir(ws.paths.calls)) & files) == 1  # the second call of the first file still waits
    two.cancel()
    clean(ws, "0s", really=True)
    assert os.listdir(ws.paths.calls) == []


def test_main_of_a_script(tmp_path: Path) -> None:
    """What a script defines has no module that a job could import."""
    (tmp_path / "scheduler_config.yml").write_text(f"task_name: t\ntmux_socket: {tmp_path}/none\n")
    script = """
        import subprocess, sys, os
        from researchflow_tmux import job
        from researchflow_tmux.api import call_files
        from researchflow_tmux.api.python import Workspace

        class Box:
            def __init__(self, x): self.x = x

        @job(gpus=0)
        def double(box): return Box(2 * box.x)

        paths = Workspace(".", start=False).paths
        [(_, argv)] = call_files.pack(paths, [double.job(Box(4))])
        os.makedirs(paths.attempt_dir(1, 1))
        env = {**os.environ, "RFSCHED_METRICS": paths.attempt_dir(1, 1) + "/m"}
        subprocess.run(argv, env=env, check=True)
        class Ended: id = 1; attempts = 1; name = "x"
        found = call_files.result_of(paths, Ended)
        assert type(found) is Box and found.x == 8, found
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
