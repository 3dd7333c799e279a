"""Submitting from Python, without a scheduler: options, commands, bulk, pipelines, events."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux import UsageError, Workspace, job
from researchflow_tmux.api.cleaning import clean
from researchflow_tmux.api.submitter import BATCH
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.limits import GpuLimits
from researchflow_tmux.domain.resources import ResourceRequest


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    settings = f"task_name: t\ngpu_count: simulated:1\ntmux_socket: {tmp_path}/none\nenv: {{FROM: settings}}\n"
    (tmp_path / "scheduler_config.yml").write_text(settings)
    return Workspace(tmp_path, start=False)


def test_options_become_what_the_job_asks_for(ws: Workspace, tmp_path: Path) -> None:
    first = ws.submit("true", name="first")
    handle = ws.submit(
        ["python", Path("train.py"), "--lr=0.1"],
        name="all",
        gpus=2,
        gpu_memory="12GiB",
        share=0.5,
        max_util=80,
        min_free_memory="1GiB",
        time_limit="90m",
        priority=3,
        retries=2,
        after=[first, "first"],
        when="always",
        group="g",
        labels={"model": "bert", "seed": 1},
        env={"A": 1},
        workdir=tmp_path,
        hold=True,
        verify="test -e out",
        success="verify_only",
        preemptible=True,
    )
    job, spec = handle.job, handle.job.spec
    assert spec.argv == ("python", "train.py", "--lr=0.1")
    assert spec.request == ResourceRequest(
        gpus=2,
        gpu_memory_mib=12288,
        share=0.5,
        limits=GpuLimits(max_util_pct=80, min_free_mib=1024),
        time_limit_s=5400.0,
    )
    assert (spec.priority, spec.retries, spec.after, spec.when, spec.group) == (3, 2, (1, 1), "always", "g")
    assert (spec.preemptible, first.job.spec.preemptible) == (True, False)
    assert (spec.labels, spec.env) == ({"model": "bert", "seed": "1"}, {"FROM": "settings", "A": "1"})
    assert (spec.workdir, spec.verify, spec.success) == (str(tmp_path), "test -e out", "verify_only")
    assert (job.state, handle.state, handle.release(), handle.hold()) == (JobState.HELD, JobState.HELD, True, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu": 1}, "no option 'gpu'; did you mean 'gpus'?"),
        (
            {"gpus": -1, "time_limit": "soon", "share": 2},
            "gpus: expected a whole number from 0 on, got -1\ntime_limit:",
        ),
        ({"gpus": True}, "gpus: expected a whole number"),
        ({"labels": {"a b": "c"}}, "a b=c cannot be a label"),
        ({"labels": ["a"]}, "labels: expected a mapping"),
        ({"env": {"A": object()}}, "env: expected text or a number"),
        ({"when": "sometimes"}, "when: expected success or failure or always"),
        ({"after": ["nobody"]}, "there is no job of that name"),
        ({"after": [1.5]}, "after: expected handles or names of jobs"),
        ({"workdir": "/nowhere/at/all"}, "workdir: /nowhere/at/all is no directory"),
        ({"group": "a=b"}, "'a=b' cannot be a group"),
        ({"max_util": 0}, "max_util: expected a percentage"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_queued(ws: Workspace, options: dict[str, Any], said: str) -> None:
    ws.submit("true")
    with pytest.raises(UsageError) as caught:
        ws.submit("true", **options)
    assert said in str(caught.value)
    assert len(ws.handles()) == 1


@pytest.mark.parametrize("command", ["", "  ", [], 7, [1, 2], lambda: 1, {"command": "x"}])
def test_what_is_no_command(ws: Workspace, command: Any) -> None:
    with pytest.raises(UsageError):
        ws.submit(command)
    assert not (ws.handles() if os.path.exists(ws.paths.database) else [])


def test_a_text_is_a_shell_line_and_a_list_is_a_program(ws: Workspace) -> None:
    assert ws.submit("echo a b").job.spec.shell == "echo a b\n"
    assert ws.submit(["echo", "a b"]).job.spec.argv == ("echo", "a b")
    assert "'my program'" in (ws.submit(["my program"]).job.spec.shell or "")


def test_bulk_comes_as_it_is_yielded_and_keeps_its_order(ws: Workspace) -> None:
    def commands() -> Any:
        for number in range(BATCH + 10):
            yield {"command": ["echo", str(number)], "name": f"n{number}", "priority": number % 3}

    handles = ws.submit_many(commands(), group="bulk")
    assert [handle.id for handle in handles] == list(range(1, BATCH + 11))
    assert [handle.name for handle in handles] == [f"n{number}" for number in range(BATCH + 10)]
    assert handles[7].job.spec.argv == ("echo", "7")
    with pytest.raises(UsageError, match="no option 'pirority'"):
        ws.submit_many([*(["true"] for _ in range(BATCH)), {"command": "true", "pirority": 1}])
    assert len(ws.handles()) == 2 * BATCH + 10  # the batch before stays
    with pytest.raises(UsageError, match="and this is one"):
        ws.submit_many("true")
    with pytest.raises(UsageError, match="has no `command`"):
        ws.submit_many([{"name": "x"}])


def test_handles_are_values(ws: Workspace, tmp_path: Path) -> None:
    one, two = ws.submit_many(["true", "true"], name="same")
    assert one != two
    assert one < two
    assert pickle.loads(pickle.dumps(one)) == one == ws.handle(1)
    assert len({one, two, ws.handle(1)}) == 2
    with pytest.raises(UsageError, match="'same' names 2 jobs"):
        ws.handle("same")
    assert one.cancel()
    assert not one.cancel()
    assert ws.wait([one]) == {one: JobState.CANCELLED}
    assert "cancelled" in str(one.exception())
    one.requeue()
    assert (one.state, one.reason, one.attempts, one.logs()) == (JobState.QUEUED, "requeued", [], "")
    other = tmp_path / "other"
    other.mkdir()
    (other / "scheduler_config.yml").write_text("task_name: o\n")
    with pytest.raises(UsageError, match="is a job of"):
        Workspace(other, start=False).wait([one])
    with pytest.raises(UsageError, match="cannot be waited for in"):
        Workspace(other, start=False).submit("true", after=one)


def test_a_new_workspace_has_no_jobs(ws: Workspace) -> None:
    assert (ws.handles(), ws.wait(), list(ws.as_completed())) == ([], {}, [])
    with pytest.raises(UsageError, match="nothing was queued"):
        ws.handle("x")


def test_why_it_waits(ws: Workspace) -> None:
    assert "no scheduler is running" in (ws.submit("true").why() or "")
    assert "held" in (ws.submit("true", hold=True).why() or "")


def test_waiting_for_what_cannot_end_is_an_error_and_not_for_ever(ws: Workspace) -> None:
    handle = ws.submit("true")
    with pytest.raises(TimeoutError, match="not ended: 1 job: true"):
        handle.wait(0.05)
    with pytest.raises(UsageError, match="1 job still to run, and no scheduler is running"):
        handle.wait(20.0)


WRONG: list[tuple[dict[str, list[str]], list[str]]] = [
    ({}, ["the pipeline p has no jobs"]),
    ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["jobs need each other in a circle: a → b → c → a"]),
    ({"a": ["a"], "b": ["c"], "c": ["b"]}, ["in a circle: a → a", "in a circle: b → c → b"]),
    ({"train": [], "test": ["trian"]}, ["test needs 'trian', which is no job of the pipeline; did you mean 'train'?"]),
]


@pytest.mark.parametrize(("needs", "said"), WRONG)
def test_a_pipeline_that_cannot_be_queues_nothing(ws: Workspace, needs: dict[str, list[str]], said: list[str]) -> None:
    pipeline = ws.pipeline("p")
    for name, of in needs.items():
        pipeline.job(name, "true", needs=of)
    with pytest.raises(UsageError) as caught:
        pipeline.submit()
    assert all(each in str(caught.value) for each in said)
    assert not os.path.exists(ws.paths.database) or ws.handles() == []


def test_a_pipeline_may_be_written_in_any_order(ws: Workspace) -> None:
    before = ws.submit("true", name="before")
    with ws.pipeline("p", gpus=0, priority=2) as pipeline:
        pipeline.job("last", job(len).job("x"), needs=["first", before], priority=5)
        first = pipeline.job("first", "true")
    last = pipeline["last"].job
    assert (last.name, last.spec.group, last.spec.priority) == ("p_last", "p", 5)
    assert set(last.spec.after) == {before.id, pipeline[first].id}
    assert list(pipeline.handles) == ["last", "first"]
    with pytest.raises(UsageError, match="is queued already"):
        pipeline.submit()


def test_what_a_pipeline_makes_of_what(ws: Workspace) -> None:
    def build() -> Any:
        pipeline = ws.pipeline("p", gpus=0)
        pipeline.job("a", "make a", inputs=["src/*"], outputs=["a"])
        pipeline.job("b", "make b", needs="a", outputs=["b"])
        pipeline.job("any", "true", needs="a")
        pipeline.job("c", "make c", needs=["any", "b"], outputs=["c"])
        pipeline.submit()
        return {name: handle.job.spec.files for name, handle in pipeline.handles.items()}

    files = build()
    assert (files["a"].inputs, files["a"].outputs, files["a"].force) == (("src/*",), ("a",), False)
    assert (files["b"].upstream, files["b"].force) == ((files["a"].note,), False)
    assert files["any"] is None
    assert files["c"].force  # it needs a job that always runs
    assert build()["a"] == files["a"]  # the same pipeline again finds its notes
    wrong = ws.pipeline("w")
    wrong.job("f", job(len).job("x"), outputs=["f"])
    wrong.job("i", "true", inputs=["x"])
    wrong.job("n", "true", after="f")
    with pytest.raises(UsageError) as caught:
        wrong.submit()
    assert str(caught.value).splitlines()[:3] == [
        "f: `outputs` are for commands; a function always runs",
        "i: `inputs` without `outputs` say nothing",
        "n: `after` is called `needs` here",
    ]


def test_a_block_that_raises_queues_nothing(ws: Workspace) -> None:
    with suppress(ZeroDivisionError), ws.pipeline("p") as pipeline:
        pipeline.job("a", "true")
        raise ZeroDivisionError
    assert not os.path.exists(ws.paths.database)


def test_events_go_on_where_they_were_left(ws: Workspace) -> None:
    assert list(ws.events(follow=False)) == []  # nothing was ever queued
    stream = ws.events(timeout_s=30.0)
    one, _two = ws.submit_many(["true", "true"])
    assert (next(stream).job_id, next(stream).kind) == (one.id, "job_submitted")
    one.cancel()
    found = next(stream)
    assert (found.text, found.name) == (f"{one.name}: cancelled (by hand)", one.name)
    again = list(ws.events(after=stream.seq - 2, follow=False))
    assert [event.seq for event in again] == [stream.seq - 1, stream.seq]
    assert [event.kind for event in ws.events(after=0, follow=False, jobs=[one])] == ["job_submitted", "job_changed"]
    stream.close()
    assert list(stream) == []
    assert list(ws.events(timeout_s=0.05)) == []


def test_a_job_does_not_come_after_one_that_was_removed(ws: Workspace) -> None:
    gone = ws.submit("true")
    gone.cancel()
    clean(ws, "0s", really=True)
    with pytest.raises(UsageError, match="next: waits for job 1, which is not known any more"):
        ws.submit("true", name="next", after=gone)


def test_settings_that_change_hold_for_the_next_job(ws: Workspace) -> None:
    assert ws.submit("true").job.spec.env == {"FROM": "settings"}
    Path(ws.paths.config).write_text("task_name: t\nenv: {FROM: elsewhere}\n")
    assert ws.submit("true").job.spec.env == {"FROM": "elsewhere"}
