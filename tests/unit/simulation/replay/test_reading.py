"""Traces from files: both formats, and everything that can be wrong with them, told at once with its place."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.simulation.replay.reading import read_trace
from researchflow_tmux.simulation.replay.trace import TraceJob

HEAD = "job_id,submit_s,duration_s,num_gpus,user,vc\n"


def csv(tmp_path: Path, text: str, name: str = "t.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def problems(path: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(ConfigError) as caught:
        read_trace(path)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


def test_csv(tmp_path: Path) -> None:
    found = read_trace(csv(tmp_path, HEAD + "b,20.5,3,8,,v\n\na,10,60,1,ann,\nz,11,0,1,,\n"))
    assert found.jobs == (
        TraceJob(name="a", submit_s=0.0, duration_s=60.0, gpus=1, user="ann"),
        TraceJob(name="b", submit_s=10.5, duration_s=3.0, gpus=8, project="v"),
    )
    assert (found.name, found.left_out) == ("t.csv", 1)


def test_csv_with_deadlines_projects_and_columns_in_another_order(tmp_path: Path) -> None:
    text = "\ufeffnum_gpus,deadline_s,project,job_id,duration_s,submit_s\n0,70,p,a,60,5\n1,,p,b,60,5\n"
    a, b = read_trace(csv(tmp_path, text)).jobs
    assert (a.gpus, a.project, a.deadline_s) == (0, "p", 65.0), "times count from the first job on"
    assert b.deadline_s is None


def test_swf(tmp_path: Path) -> None:
    lines = [
        "; Version: 2.2",
        "1 100 5 60 16 -1 -1 16 120 -1 1 3 1 7 -1 -1 -1 -1",
        "2 110 5 60 -1 -1 -1 17 120 -1 1 -1 -1 7 -1 -1 -1 -1 ; asked for, not told what it got",
        "3 120 -1 -1 -1 -1 -1 16 120 -1 5 3 1 7 -1 -1 -1 -1",
    ]
    path = csv(tmp_path, "\n".join(lines), "t.swf")
    found = read_trace(path, processors_per_gpu=16)
    assert [(job.name, job.submit_s, job.duration_s, job.gpus) for job in found.jobs] == [
        ("1", 0.0, 60.0, 1),
        ("2", 10.0, 60.0, 2),
    ]
    assert (found.jobs[0].user, found.jobs[0].project, found.jobs[1].user) == ("u3", "g1", "")
    assert found.left_out == 1


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = csv(
        tmp_path, HEAD + "a,x,60,1,,\nb,0,-1,1.5,,\na,0,60,1,,\na,0,60,1,,\nc,0,60\nd,nan,60,1.5,,\ne,0,1,1.5,,\n"
    )
    assert problems(path) == [
        (2, 2, "submit_s: 'x' is not a number"),
        (3, 3, "duration_s: -1 is not a number of at least 0"),
        (5, 1, "job 'a' was there already"),
        (6, 1, "3 values, and the header has 6 columns"),
        (7, 2, "submit_s: nan is not a number of at least 0"),
        (8, 4, "num_gpus: 1.5 is not a whole number"),
    ]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    found = problems(csv(tmp_path, HEAD + "a,x,60,1,,\n" * 50))
    assert len(found) == 21
    assert found[-1][2] == "and 30 more like these"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "the header has no column job_id, submit_s, duration_s, num_gpus"),
        ("t.csv", "job_id,submit_s\n", "the header has no column duration_s, num_gpus"),
        ("t.csv", HEAD, "there is no job in it"),
        ("t.swf", "1 2 3\n", "3 fields, and a line of this format has 18"),
        ("t.txt", HEAD, "a trace is a .csv or a .swf file"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, name: str, text: str, message: str) -> None:
    assert [found[2] for found in problems(csv(tmp_path, text, name))] == [message]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert [found[2] for found in problems(str(tmp_path / "no.csv"))] == ["cannot be read: No such file or directory"]
    (tmp_path / "b.csv").write_bytes(b"job_id,\xff\n")
    assert [found[2] for found in problems(str(tmp_path / "b.csv"))] == ["is not UTF-8 text (byte 7)"]


@given(text=st.text(max_size=200), ending=st.sampled_from(["csv", "swf"]), head=st.booleans())
def test_any_text_is_a_trace_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str, ending: str, head: bool
) -> None:
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    path.write_text((HEAD if head else "") + text, encoding="utf-8", newline="")
    found: tuple[TraceJob, ...] = ()
    with contextlib.suppress(ConfigError):
        found = read_trace(str(path)).jobs
        assert found
    assert all(job.duration_s > 0 and job.submit_s >= 0 for job in found)


def test_a_column_says_which_jobs_may_be_stopped(tmp_path: Path) -> None:
    header = "job_id,submit_s,duration_s,num_gpus,preemptible\n"
    path = tmp_path / "t.csv"
    path.write_text(header + "a,0,60,1,true\nb,0,60,1,\nc,0,60,1,No\n")
    assert [job.preemptible for job in read_trace(str(path)).jobs] == [True, False, False]
    path.write_text(header + "a,0,60,1,maybe\n")
    with pytest.raises(ConfigError, match=r"t\.csv:2:5: preemptible: .maybe. is neither true nor false"):
        read_trace(str(path))
