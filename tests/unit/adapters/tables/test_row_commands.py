"""From cells to commands and resources."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.tables.columns import OPTIONS
from researchflow_tmux.domain.job import JobSpec
from researchflow_tmux.domain.workspace import JobSection
from tests.unit.adapters.tables.desk import Desk
from tests.unit.adapters.tables.workbooks import workbook


def words(spec: JobSpec) -> list[str]:
    """The command as words, whoever splits them."""
    return list(spec.argv) or shlex.split(spec.shell or "")


def only(desk: Desk) -> JobSpec:
    desk.look()
    assert desk.problems == []
    (job,) = desk.jobs.values()
    return job.spec


@pytest.mark.parametrize(
    ("template", "cmd", "expected"),
    [
        ("", "train", ["train", "--lr", "1e-3", "--model", "a b"]),
        ("", "train {lr}", ["train", "1e-3"]),
        ("run {args}", "", ["run", "--lr", "1e-3", "--model", "a b"]),
        ("run {model} {empty}{lr}", "", ["run", "a b", "1e-3"]),
        ("run", "", ["run", "--lr", "1e-3", "--model", "a b"]),
        ("run {args}", "own {lr}", ["own", "1e-3"]),
        ("nice {cmd} -- {args}", "train", ["nice", "train", "--", "--lr", "1e-3", "--model", "a b"]),
        ("echo {name}", "", ["echo", "the name"]),
        ("", "awk {print}", ["awk", "{print}", "--lr", "1e-3", "--model", "a b"]),
    ],
)
def test_templates(tmp_path: Path, template: str, cmd: str, expected: list[str]) -> None:
    desk = Desk(tmp_path, table_command=template)
    desk.table("t.csv", f"name,lr,empty,model,cmd\nthe name,1e-3,,a b,{cmd}\n")
    spec = only(desk)
    assert words(spec) == expected
    assert spec.name == "the name"
    assert spec.group == "t"


def test_row_is_the_whole_row_as_json(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="run {row}")
    desk.table("t.csv", "name,lr,empty\nx,1e-3,\n")
    row = json.loads(words(only(desk))[1])
    assert row == {"parameters": {"lr": 0.001, "empty": None}, "name": "x", "cmd": ""}


def test_blank_cells_notes_and_flowlines_no_command_are_left_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="run {args}")
    desk.table("t.csv", "lr,#why,batch,cmd,name\n,because,64,No command,\n")
    assert words(only(desk)) == ["run", "--batch", "64"]


def test_excel_values_have_no_nan_and_no_point_zero(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="run {args}")
    desk.table("t.xlsx", workbook(["a", "b", "c", "-d"], [64.0, None, False, 1e-5]))
    assert words(only(desk)) == ["run", "--a", "64", "--c", "False", "-d", "1e-05"]


def test_a_shell_line_gets_its_values_quoted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.table("t.csv", 'model,cmd\n"$(rm -rf x); \'y\'","cd a && train {args} > {model}.log"\n')
    shell = only(desk).shell or ""
    assert shell.strip() == "cd a && train --model '$(rm -rf x); '\"'\"'y'\"'\"'' > '$(rm -rf x); '\"'\"'y'\"'\"''.log"


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=20))
def test_any_text_reaches_the_command_as_it_is(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path, table_command="run {args}")
    quoted = '"' + text.replace('"', '""') + '"'
    desk.table("t.csv", f"name,x\nn,{quoted}\n")
    desk.look()
    (job,) = desk.jobs.values()
    assert words(job.spec) == (["run", "--x", text] if text.strip() else ["run"])


def test_options_are_those_of_a_config(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    columns = "rf.gpus,rf.priority,rf.time_limit,rf.retries,rf.after,rf.env,rf.project,rf.group,cmd,name"
    desk.table(
        "t.csv",
        f'{columns}\n,,,,,,,,true,first\n2,5,2h,3,"first, Task:9",A=1 B="x y",vision,night,true,second\n'.replace(
            'B="x y"', "B='x y'"
        )
        + ",,,,,,,,true,Task:9\n",
    )
    desk.look()
    assert desk.problems == []
    spec = next(job.spec for job in desk.jobs.values() if job.name == "second")
    assert (spec.request.gpus, spec.priority, spec.request.time_limit_s, spec.retries) == (2, 5, 7200.0, 3)
    assert spec.env == {"A": "1", "B": "x y"}
    assert spec.group == "night"
    assert spec.project == "vision"
    (draft,) = (draft for draft in Desk(tmp_path).source.read({}).drafts if draft.name == "second")
    assert draft.after == ("first", "Task:9")


def test_a_function_that_verifies_is_given_the_row(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="run", verify="checks:done")
    desk.table("t.csv", "lr,empty,model\n1e-3,,bert\n")
    spec = only(desk)
    assert (spec.verify, spec.variables) == ("checks:done", {"lr": 0.001, "empty": None, "model": "bert"})
    other = Desk(tmp_path, table_command="run", verify="test -s {output_dir}/result.json")
    assert only(other).variables == {}, "nobody would look at them"


def test_room_on_a_gpu_is_asked_for_in_columns(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.table("t.csv", "name,rf.gpu_memory,rf.share,rf.when,cmd\na,12GiB,0.5,always,x\n")
    spec = only(desk)
    assert (spec.request.gpu_memory_mib, spec.request.share, spec.when) == (12 * 1024, 0.5, "always")


def test_a_row_says_whether_it_may_be_stopped_over_what_the_settings_say(tmp_path: Path) -> None:
    desk = Desk(tmp_path, preemptible=True)
    desk.table("t.csv", "name,rf.preemptible,cmd\na,,x\nb,false,x\nc,true,x\n")
    desk.look()
    assert {job.name: job.spec.preemptible for job in desk.jobs.values()} == {"a": True, "b": False, "c": True}


def test_every_key_of_a_section_is_a_column() -> None:
    assert set(JobSection.__struct_fields__) - {"command"} <= set(OPTIONS)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("rf.time_limit", "soon", "rf.time_limit: expected a time"),
        ("rf.priority", "high", "rf.priority: expected a whole number"),
        ("rf.completion", "marker", "needs a completion file, which rows do not have"),
        ("rf.command", "x", "there is no column rf.command"),
    ],
)
def test_an_option_that_cannot_be_had_is_told_at_its_cell(tmp_path: Path, column: str, value: str, text: str) -> None:
    desk = Desk(tmp_path)
    desk.table("t.csv", f"name,{column},cmd\na,{value},x\nb,,x\n")
    desk.look()
    assert desk.waiting() == ["b"]
    assert text in desk.problems[0]
    assert desk.problems[0].startswith("jobs/t.csv:")


def test_settings_that_cannot_work_are_told_for_a_row(tmp_path: Path) -> None:
    for function, text in (("nothing", "names no function"), ("gone.py:f", "does not exist")):
        desk = Desk(tmp_path, table_function=function)
        desk.table("t.csv", "name,x\na,1\n")
        desk.look()
        assert desk.jobs == {}
        assert text in desk.problems[0]


def test_a_command_nobody_can_start_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.table("t.csv", f"name,x,cmd\na,{'y' * 200_000},run\nb,1,run\n")
    desk.look()
    assert desk.waiting() == ["b"]
    assert "bytes long" in desk.problems[0]


def test_names_with_blanks_and_capitals_deserve_a_word(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="run {args}")
    desk.table("t.csv", "Name,batch size\na,3\n")
    reading = desk.look()
    assert len(reading.warnings) == 2
    (job,) = desk.jobs.values()
    assert words(job.spec) == ["run", "--Name", "a", "--batch size", "3"]
