"""The Python API against a real scheduler in a real tmux: functions by value, their results, crashes, coroutines."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux import JobFailed, JobHandle, RemoteError, UsageError, Workspace, job
from researchflow_tmux.domain.job import JobState
from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux
SOON_S = 30.0


class Point:
    """A type of the user's own module: it goes to the job and comes back as this very type."""

    def __init__(self, x: int) -> None:
        self.x = x


@job(gpus=0)
def double(point: Point, *, plus: int = 0) -> Point:
    print("doubling", point.x)
    return Point(2 * point.x + plus)


@job(gpus=0)
def refuse(x: int) -> None:
    raise ValueError(f"no {x}")


def ready(workspace: RealWorkspace, **settings: Any) -> Workspace:
    workspace.configure(max_cpu_jobs=4, **settings)
    return Workspace(workspace.root)


def test_functions_run_by_value_and_what_they_return_comes_back(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    here = os.getpid()
    handle = ws.submit(double.job(Point(20), plus=2), name="twice", labels={"seed": 1})
    assert double(Point(1)).x == 2  # called, it runs here
    found = handle.result(SOON_S)
    assert (type(found), found.x) == (Point, 42)
    assert (handle.state, handle.logs(), len(handle.attempts)) == (JobState.SUCCEEDED, "doubling 20\n", 1)
    elsewhere = ws.submit(job(lambda: (os.getpid(), here, sys.executable)).job(), gpus=0).result(SOON_S)
    assert elsewhere[0] != here
    assert elsewhere[1:] == (here, sys.executable)  # a closure, in the same Python
    size = 20_000_000
    assert job(len).submit(ws, os.urandom(size)).result(SOON_S) == size
    again = pickle.loads(pickle.dumps(handle))
    assert (again, hash(again), again.result().x) == (handle, hash(handle), 42)
    assert ws.handle("twice") == handle == ws.handles("@seed=1")[0]
    private = list((workspace.root / ".rfsched" / "calls").iterdir())
    private += list((workspace.root / ".rfsched" / "attempts").glob("*/*/result"))
    assert len(private) == 6
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}


def test_what_goes_wrong_in_a_job_is_told_where_its_result_is_asked_for(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    raised, odd, command, slow = (
        refuse.submit(ws, 3),
        ws.submit(job(lambda: (number for number in range(0))).job(), gpus=0, name="odd"),
        ws.submit("exit 7", gpus=0, name="seven"),
        ws.submit(["sleep", "60"], gpus=0, time_limit=0.2, name="slow"),
    )
    with pytest.raises(RemoteError, match="ValueError: no 3") as caught:
        raised.result(SOON_S)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "in refuse" in caught.value.traceback
    assert caught.value.traceback in raised.logs()
    with pytest.raises(RemoteError, match="it returned a generator, which cannot be pickled"):
        odd.result(SOON_S)
    with pytest.raises(JobFailed, match="seven: failed: exit code 7") as failed:
        command.result(SOON_S)
    assert (failed.value.code, failed.value.state) == (7, "failed")
    assert "time limit" in str(slow.exception(SOON_S))
    good = ws.submit(["true"], gpus=0)
    outcomes = ws.results([good, raised, command], SOON_S, return_exceptions=True)
    assert [type(each) for each in outcomes] == [int, RemoteError, JobFailed]
    with pytest.raises(UsageError, match="an argument of lambda cannot be pickled"):
        job(lambda numbers: len(list(numbers))).submit(ws, (number for number in range(0)))
    assert len(ws.handles()) == 5  # nothing was queued


def test_a_result_survives_the_scheduler_and_a_retry(workspace: RealWorkspace) -> None:
    ws = ready(workspace, retry_delay=0.1)
    go = workspace.root / "go"

    def patient(go: str) -> int:
        from pathlib import Path

        from researchflow_tmux import current_job
        from tests.support import eventually

        me = current_job()
        eventually(Path(go).exists, SOON_S)
        if me.attempt == 1:
            raise OSError("the first time")
        return me.attempt

    handle = ws.submit(job(patient).job(str(go)), gpus=0, name="patient", retries=1)
    eventually(lambda: handle.state is JobState.ACTIVE, what="it runs")
    workspace.runner("patient")
    pid = workspace.scheduler_pid()
    assert pid is not None
    kill9(pid)
    go.touch()
    assert handle.result(SOON_S) == 2
    assert len(handle.attempts) == 2


def test_jobs_as_they_end_and_events_as_they_happen(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    slow = ws.submit("sleep 0.6", gpus=0, name="slow")
    quick = ws.submit_many(({"command": ["true"], "name": f"quick{n}"} for n in range(3)), gpus=0, group="q")
    order = list(ws.as_completed([slow, *quick], SOON_S))
    assert order[-1] == slow
    assert set(order) == {slow, *quick}
    assert ws.wait(quick, SOON_S) == dict.fromkeys(quick, JobState.SUCCEEDED)
    told = list(ws.events(after=0, follow=False, jobs=quick, kinds=["job_changed"]))
    assert sorted(event.text for event in told) == [f"quick{n}: succeeded" for n in range(3)]
    stream = ws.events(timeout_s=SOON_S)
    last = ws.submit("true", gpus=0, name="last")
    seen = []
    for event in stream:
        seen.append(event)
        if event.text == "last: succeeded":
            stream.close()
    assert seen[0].text == "last: queued"
    resumed = ws.events(after=seen[0].seq, follow=False)
    assert [event.seq for event in resumed][: len(seen) - 1] == [event.seq for event in seen[1:]]
    with pytest.raises(TimeoutError, match="not ended: 1 job: held"):
        ws.submit("true", gpus=0, hold=True, name="held").wait(0.1)
    assert last.state is JobState.SUCCEEDED


def test_coroutines_wait_without_blocking_their_loop(workspace: RealWorkspace) -> None:
    """One job ends only when the loop has turned ten times while all of them were awaited."""
    ws = ready(workspace)
    go = workspace.root / "go"

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        def beat(count: int = 0) -> None:
            if count == 10:
                go.touch()
            else:
                loop.call_later(0.005, beat, count + 1)

        handles = [ws.submit(double.job(Point(n)), group="a") for n in range(3)]
        bad = refuse.submit(ws, 1)
        held = ws.submit(f"until [ -e {go} ]; do sleep 0.01; done", gpus=0)
        loop.call_soon(beat)
        found = await asyncio.wait_for(asyncio.gather(*handles, bad, held, return_exceptions=True), SOON_S)
        kinds = [event.kind async for event in ws.events(after=0, follow=False)]
        assert kinds.count("job_submitted") == 5
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_forever(ws), 0.1)
        return found

    async def _forever(ws: Workspace) -> None:
        await ws.submit("true", gpus=0, hold=True)

    found = asyncio.run(main())
    assert [point.x for point in found[:3]] == [0, 2, 4]
    assert isinstance(found[3], RemoteError)
    assert found[4] == 0


def test_pipelines_of_functions_and_commands(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    with ws.pipeline("p", gpus=0) as pipeline:
        first = pipeline.job("first", double.job(Point(1)))
        second = pipeline.job("second", "exit 1", needs=[first])
        pipeline.job("rescue", "echo to the rescue", needs=second, when="failure")
        pipeline.job("never", "true", needs=["second"])
        pipeline.job("tidy", "true", needs=["never", second], when="always")
    states = pipeline.wait(SOON_S)
    assert {name: str(state) for name, state in states.items()} == {
        "first": "succeeded",
        "second": "failed",
        "rescue": "succeeded",
        "never": "skipped",
        "tidy": "succeeded",
    }
    assert pipeline[first].result().x == 2
    assert {handle.name for handle in ws.handles("@p")} == {f"p_{name}" for name in states}
    with pytest.raises(JobFailed, match="p_second"):
        pipeline.results()


def test_a_pipeline_runs_again_only_what_is_out_of_date(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    source = workspace.root / "source.txt"
    source.write_text("3\n1\n2\n")

    def made(**options: Any) -> dict[str, Any]:
        with ws.pipeline("p", gpus=0, workdir=workspace.root) as pipeline:
            pipeline.job("sort", "echo sort >> ran/all; sort source.txt > sorted.txt", inputs=["source.txt"],
                         outputs=["sorted.txt"], **options)  # fmt: skip
            pipeline.job("first", "echo first >> ran/all; head -1 sorted.txt > first.txt", needs="sort",
                         inputs=["sorted.txt"], outputs=["first.txt"])  # fmt: skip
        return pipeline.results(SOON_S)

    def ran() -> list[str]:
        return (workspace.root / "ran" / "all").read_text().split()

    assert made() == {"sort": 0, "first": 0}
    assert made() == {"sort": None, "first": None}
    assert ran() == ["sort", "first"]  # the second time there was nothing to do
    source.write_text("0\n3\n1\n2\n")
    made()
    assert ran() == ["sort", "first"] * 2
    made(force=True)
    assert ran() == ["sort", "first"] * 3
    assert (workspace.root / "first.txt").read_text() == "0\n"


SUBMITTER = textwrap.dedent(
    """
    import sys
    from researchflow_tmux import Workspace
    root, number, count, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    workspace = Workspace(root, start=False)
    for turn in range(count):
        handle = workspace.submit(["true"], name=f"s{number}_{turn}", gpus=1)
        print(handle.id, handle.name, flush=True)
    """
)


def submitters(root: Path, number: int, count: int, out: Path) -> list[subprocess.Popen[bytes]]:
    script = out / "submit.py"
    script.write_text(SUBMITTER)
    processes = []
    for each in range(number):
        with (out / f"{each}.out").open("wb") as file:
            command = [sys.executable, str(script), str(root), str(each), str(count), "0"]
            processes.append(subprocess.Popen(command, stdout=file))
    return processes


def accepted(out: Path) -> dict[int, str]:
    """The ids that submitters were given, with the names; no id twice."""
    lines = [line.split() for file in out.glob("*.out") for line in file.read_text().splitlines()]
    found = {int(job_id): name for job_id, name in (line for line in lines if len(line) == 2)}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize("with_scheduler", [True, False])
def test_eight_processes_lose_no_job_and_double_none(
    workspace: RealWorkspace, tmp_path: Path, *, with_scheduler: bool
) -> None:
    """One of them is killed in the middle: what it was told is accepted is there, once, as are all of the others'."""
    out = tmp_path / "out"
    out.mkdir()
    if with_scheduler:
        workspace.configure(max_jobs_per_gpu=1, gpu_count="simulated:1")
        workspace.ok("add", "--name", "busy", "sleep 600")  # so that none of the others starts
        workspace.wait_for("busy", "running")
    count, number = 500, 8
    processes = submitters(workspace.root, number, count, out)
    victim = processes[0]
    eventually(lambda: len((out / "0.out").read_text().splitlines()) > 20, 60.0, what="it has submitted some")
    victim.send_signal(signal.SIGKILL)
    assert [process.wait(timeout=100) for process in processes] == [-signal.SIGKILL] + [0] * (number - 1)
    told = accepted(out)
    there = {each.id: each.name for each in workspace.api.jobs()}
    there = {job_id: name for job_id, name in there.items() if name != "busy"}
    assert told.items() <= there.items()
    assert len(set(there.values())) == len(there), "doubled"
    others = {name for name in there.values() if not name.startswith("s0_")}
    assert others == {f"s{each}_{turn}" for each in range(1, number) for turn in range(count)}
    of_victim = len(there) - len(others)
    assert len([name for name in told.values() if name.startswith("s0_")]) <= of_victim < count


def test_a_handle_of_another_process_is_the_same(workspace: RealWorkspace) -> None:
    ws = ready(workspace)
    handle = ws.submit(double.job(Point(3)), name="here")
    assert handle.result(SOON_S).x == 6
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).wait(5))"
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(handle), capture_output=True, check=True)
    assert done.stdout == b"succeeded\n"
    assert isinstance(handle, JobHandle)
