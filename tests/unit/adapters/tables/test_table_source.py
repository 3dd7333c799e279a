"""Task tables as a job source: how often a row is queued, what is written back, and what a user may do meanwhile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.sources.tables import table_file
from researchflow_tmux.domain.job import JobState
from tests.unit.adapters.tables.desk import Desk
from tests.unit.adapters.tables.workbooks import EXTRAS, SHEET, members, rebuilt, rich, workbook

FAILED, CANCELLED = JobState.FAILED, JobState.CANCELLED


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_row_is_queued_as_often_as_it_still_has_to_run(desk: Desk) -> None:
    desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,true\nb,1,3,true\nc,2,2,true\nd,5,1,true\n")
    desk.look()
    assert desk.states() == ["a queued", "b queued", "b#2 queued"]
    assert desk.look().drafts == ()


def test_counts_that_are_stored_as_text_are_counts(desk: Desk) -> None:
    table = desk.table("todo.json", '[{"name": "a", "cmd": "x", "run_num": "0", "need_run_num": " 2 "}]')
    book = desk.table("todo.xlsx", workbook(["name", "cmd", "run_num", "need_run_num"], ["b", "x", "1", "2"]))
    desk.look()
    assert desk.problems == []
    assert desk.waiting() == ["a", "a#2", "b"]
    desk.run("a")
    desk.run("b")
    assert '"run_num": 1' in table.read_text()
    assert b'<c r="C2"><v>2</v></c>' in members(book.read_bytes())[SHEET]


def test_missing_columns_are_added_and_nothing_else_changes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="echo {args}")
    path = desk.table("todo.csv", "lr;who\r\n1e-3;Jürgen\r\n0.10;'x'\r\n".encode("cp1252"))
    desk.look()
    expected = "lr;who;run_num;need_run_num;name;cmd\r\n1e-3;Jürgen;0;1;Task:0;\r\n0.10;'x';0;1;Task:1;\r\n".encode(
        "cp1252"
    )
    assert path.read_bytes() == expected
    assert desk.waiting() == ["Task:0", "Task:1"]
    desk.look()
    desk.restart()
    desk.look()
    assert (path.read_bytes(), len(desk.jobs)) == (expected, 2)


def test_each_success_is_counted_once(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,2,true\nb,0,1,true\n")
    desk.look()
    desk.run("a")
    assert path.read_text() == "name,run_num,need_run_num,cmd\na,1,2,true\nb,0,1,true\n"
    desk.run("a#2")
    desk.source.write(desk.jobs, list(desk.jobs))
    for _ in range(2):
        desk.restart()
        desk.look()
    assert path.read_text() == "name,run_num,need_run_num,cmd\na,2,2,true\nb,0,1,true\n"
    assert desk.waiting() == ["b"]


def test_a_row_that_fails_is_not_queued_again_ahead_of_the_others(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,2,false\nb,0,1,true\n")
    desk.look()
    before = path.read_bytes()
    desk.run("a", FAILED)
    desk.run("a#2", FAILED)
    desk.look()
    desk.restart()
    desk.look()
    assert path.read_bytes() == before
    assert desk.waiting() == ["b"]
    desk.edit(path, lambda text: text.replace("a,0,2", "a,0,3"))  # that is how the user asks for one more
    assert desk.waiting() == ["b", "a#3"]


def test_a_job_that_is_cancelled_by_hand_stays_cancelled(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,true\n")
    desk.look()
    desk.run("a", CANCELLED)
    desk.edit(path, lambda text: text + "b,0,1,x\n")
    desk.restart()
    desk.look()
    assert desk.waiting() == ["b"]


def test_what_the_user_raises_lowers_and_resets_holds(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,2,true\n")
    desk.look()
    desk.run("a")
    desk.edit(path, lambda text: text.replace("a,1,2", "a,1,4"))
    assert desk.waiting() == ["a#2", "a#3", "a#4"]
    desk.edit(path, lambda text: text.replace("a,1,4", "a,1,2"))
    assert desk.waiting() == ["a#2"]
    desk.edit(path, lambda text: text.replace("a,1,2", "a,1,3"))
    assert desk.waiting() == ["a#2", "a#3"]
    desk.run("a#2")
    desk.run("a#3")
    assert "a,3,3" in path.read_text()
    desk.edit(path, lambda text: text.replace("a,3,3", "a,1,3"))
    assert desk.waiting() == ["a#4", "a#5"]
    desk.run(desk.waiting()[0])
    assert "a,2,3" in path.read_text()


def test_sorting_and_inserting_rows_moves_no_job(desk: Desk) -> None:
    path = desk.table("todo.csv", "lr,cmd,name,run_num,need_run_num\n1,x,,0,1\n2,x,,0,1\n3,x,,0,1\n")
    desk.look()
    keys = set(desk.jobs)
    running = desk.begin("Task:0")
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, "0,x,,5,5", *reversed(rows)]) + "\n")
    desk.look()
    assert set(desk.jobs) == keys
    desk.end(running)
    assert path.read_text().splitlines()[1:] == ["0,x,,5,5", "3,x,,0,1", "2,x,,0,1", "1,x,,1,1"]


def test_a_spreadsheet_may_write_numbers_its_own_way(desk: Desk) -> None:
    path = desk.table("todo.csv", "lr,flag,cmd,name,run_num,need_run_num\n1e-3,true,x,,0,1\n")
    desk.look()
    desk.edit(path, lambda text: text.replace("1e-3,true", "0.001,TRUE"))
    assert len(desk.jobs) == 1


def test_equal_rows_are_separate_tasks(desk: Desk) -> None:
    path = desk.table("todo.csv", "lr,cmd,name,run_num,need_run_num\n1,x,,0,1\n1,x,,0,1\n1,x,,0,1\n")
    desk.look()
    assert len(desk.waiting()) == 3
    second = list(desk.jobs)[1]
    desk.begin("Task:0")
    desk.end(next(iter(desk.jobs)))
    assert path.read_text().splitlines()[1:] == ["1,x,,1,1", "1,x,,0,1", "1,x,,0,1"]
    # the first is deleted while the second runs: two rows are left, of which one is running and one waits
    desk.begin("Task:1")
    desk.edit(path, lambda text: text.replace("1,x,,1,1\n", ""))
    assert len([job for job in desk.jobs.values() if not job.state.ended]) == 2
    desk.end(second)
    assert sorted(path.read_text().splitlines()[1:]) == ["1,x,,0,1", "1,x,,1,1"]


def test_a_deleted_row_is_withdrawn_unless_it_runs_and_comes_back(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\nb,0,2,x\n")
    desk.look()
    running = desk.begin("b")
    whole = path.read_text()
    desk.edit(path, lambda text: text.replace("a,0,1,x\n", "").replace("b,0,2,x\n", ""))
    assert desk.states() == ["a cancelled", "b running", "b#2 cancelled"]
    path.write_text(whole)
    desk.look()
    assert desk.states() == ["a queued", "b running", "b#2 queued"]
    desk.end(running)
    assert "b,1,2" in path.read_text()


def test_a_changed_row_is_another_task_and_its_resources_are_not(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,lr,rf.priority,cmd,run_num,need_run_num\na,1,,x,0,1\n")
    desk.look()
    desk.edit(path, lambda text: text.replace("a,1,,", "a,1,7,"))
    assert [job.spec.priority for job in desk.jobs.values()] == [7]
    desk.edit(path, lambda text: text.replace("a,1,7,", "a,2,7,"))
    assert desk.states() == ["a cancelled", "a queued"]


def test_a_success_whose_attempt_was_requeued_by_hand_counts_again(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\n")
    desk.look()
    desk.run("a")
    key = next(iter(desk.jobs))
    desk._change(key, JobState.QUEUED)
    desk.edit(path, lambda text: text + "\n")
    assert desk.waiting() == ["a"]  # not withdrawn, though the row needs no more
    desk.run("a")
    assert "a,2,1" in path.read_text()


# -- other programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["~$todo.csv", ".~lock.todo.csv#"])
def test_a_table_that_is_open_is_left_alone_until_it_is_closed(desk: Desk, lock: str) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\nb,0,1,x\n")
    desk.look()
    before = path.read_bytes()
    (path.parent / lock).write_text("")
    desk.run("a")
    assert path.read_bytes() == before
    assert "is open in a spreadsheet program" in desk.problems[0]
    desk.look()
    assert "is open in a spreadsheet program" in desk.problems[0]
    desk.restart()
    desk.look()
    assert desk.waiting() == ["b"]
    (path.parent / lock).unlink()
    desk.look()
    assert desk.problems == []
    assert "a,1,1" in path.read_text()


def test_a_write_protected_table_is_left_alone_and_said_so(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\n")
    path.chmod(0o444)
    desk.look()
    desk.run("a")
    assert "is write-protected" in desk.problems[0]
    assert "a,0,1" in path.read_text()
    path.chmod(0o640)
    desk.look()
    assert ("a,1,1" in path.read_text(), path.stat().st_mode & 0o777) == (True, 0o640)


def test_a_link_to_a_table_stays_one(desk: Desk) -> None:
    real = desk.root / "real.csv"
    real.write_text("name,run_num,need_run_num,cmd\na,0,1,x\n")
    (desk.root / "jobs" / "todo.csv").symlink_to("../real.csv")
    desk.look()
    desk.run("a")
    assert (desk.root / "jobs" / "todo.csv").is_symlink()
    assert "a,1,1" in real.read_text()


def test_an_edit_in_the_last_moment_is_not_overwritten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\nb,0,1,x\n")
    desk.look()
    real = user_file.replace
    edits = [lambda text: text + "c,0,1,x\n", lambda text: text.replace("b,0,1", "b,9,9")]

    def replace(file: str, data: bytes, expected: user_file.Seen) -> user_file.Seen:
        if edits:
            path.write_text(edits.pop()(path.read_text()))
        return real(file, data, expected)

    monkeypatch.setattr(user_file, "replace", replace)
    desk.run("a")
    assert path.read_text() == "name,run_num,need_run_num,cmd\na,1,1,x\nb,9,9,x\nc,0,1,x\n"
    desk.look()
    assert desk.states() == ["a succeeded", "b cancelled", "c queued"]


def test_a_count_set_in_the_last_moment_is_counted_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\n")
    desk.look()
    real = user_file.replace
    edits = [lambda text: text.replace("a,0,1", "a,5,9")]

    def replace(file: str, data: bytes, expected: user_file.Seen) -> user_file.Seen:
        if edits:
            path.write_text(edits.pop()(path.read_text()))
        return real(file, data, expected)

    monkeypatch.setattr(user_file, "replace", replace)
    desk.run("a")
    assert "a,6,9" in path.read_text()


@pytest.mark.parametrize("after", [False, True], ids=["before the rename", "after it"])
def test_a_count_is_right_whenever_the_process_is_killed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,3,x\n")
    desk.look()
    desk.run("a")
    real = user_file.replace

    class Killed(BaseException):
        pass

    def replace(file: str, data: bytes, expected: user_file.Seen) -> user_file.Seen:
        if after:
            real(file, data, expected)
        raise Killed

    monkeypatch.setattr(user_file, "replace", replace)
    key = desk.begin("a#2")
    with pytest.raises(Killed):
        desk.end(key)
    monkeypatch.undo()
    desk.restart()
    desk.look()
    assert "a,2,3" in path.read_text()
    assert desk.waiting() == ["a#3"]
    desk.run("a#3")
    desk.restart()
    assert "a,3,3" in path.read_text()


def test_nothing_is_opened_while_nothing_changes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,2,x\n")
    desk.table("bad.json", "{")
    desk.look()
    desk.run("a")
    monkeypatch.setattr(table_file, "read_table", None)
    for _ in range(3):
        assert desk.look().drafts == ()
        assert len(desk.problems) == 1


def test_a_table_that_a_program_is_writing_is_read_when_it_is_done(desk: Desk) -> None:
    path = desk.table("todo.csv", "")
    with path.open("w") as file:
        file.write("name,cmd\na,rm -rf sav")
        file.flush()
        desk.look()
        assert "is being written just now" in desk.problems[0]
        file.write("ed_states\n")
    desk.look()
    assert (desk.waiting(), desk.problems) == (["a"], [])


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_a_table_that_cannot_be_read_takes_no_job_with_it(desk: Desk) -> None:
    good = rich()
    path = desk.table("todo.xlsx", good)
    desk.look()
    assert desk.waiting() == ["one", "one#2", "two"]
    running = desk.begin("one")
    for bad in (good[:-200], b"", b"half"):
        path.write_bytes(bad)
        desk.look()
        assert len(desk.problems) == 1
        assert path.read_bytes() == bad
        assert len(desk.waiting()) == 2
    desk.end(running)
    path.write_bytes(good)
    desk.look()
    assert desk.problems == []
    now = members(path.read_bytes())
    assert b'<c r="B2" s="0"><v>1</v></c>' in now["xl/worksheets/sheet1.xml"]
    assert all(now[name] == content for name, content in EXTRAS.items())


def test_a_file_that_becomes_a_directory_or_vanishes(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,run_num,need_run_num,cmd\na,0,1,x\nb,0,1,x\n")
    desk.look()
    running = desk.begin("a")
    saved = path.read_text()
    path.unlink()
    desk.look()
    assert desk.waiting() == ["b"]  # perhaps it is only being saved
    path.mkdir()
    desk.look()
    assert "is a directory" in desk.problems[0]
    assert desk.waiting() == ["b"]
    path.rmdir()
    desk.look()
    desk.look()
    assert desk.states() == ["a running", "b cancelled"]
    desk.end(running)
    path.write_text(saved)
    desk.look()
    assert desk.waiting() == ["b"]
    assert "a,1,1" in path.read_text()


def test_a_table_deleted_while_no_scheduler_ran_is_withdrawn_at_once(desk: Desk) -> None:
    path = desk.table("todo.csv", "name,cmd\na,x\n")
    desk.look()
    path.unlink()
    desk.restart()
    desk.look()
    assert desk.states() == ["a cancelled"]


def test_bad_rows_are_told_and_good_ones_run(desk: Desk) -> None:
    rows = [
        "name,lr,run_num,need_run_num,rf.gpus,rf.gpuz,cmd",
        "good,1,0,1,0,,x",
        "minus,1,-1,1,,,x",
        "word,1,0,many,,,x",
        "half,1,0.5,1,,,x",
        "much,1,0,99999,,,x",
        "gpus,1,0,1,two,,x",
        "unknown,1,0,1,,1,x",
        "long,1,0,1,,,x,y",
        "idle,1,0,1,,,",
        "fine,2,0,1.0,,,x",
    ]
    desk.table("todo.csv", "\n".join(rows) + "\n")
    desk.look()
    assert desk.waiting() == ["good", "fine"]
    text = "\n".join(desk.problems)
    for words in (
        "jobs/todo.csv:1:38: there is no column rf.gpuz: rows that say something there are not queued",
        "hint: did you mean rf.gpus?",
        "jobs/todo.csv:3:9: run_num is '-1', which is no count",
        "jobs/todo.csv:4:10: need_run_num is 'many', which is no count",
        "jobs/todo.csv:5:8: run_num is '0.5'",
        "jobs/todo.csv:6:10: need_run_num is 99999: more than 10000 runs",
        "jobs/todo.csv:7:12: rf.gpus: expected a whole number of at least 0, got 'two'",
        "jobs/todo.csv:9:16: has more cells (8) than the header has names (7)",
        "jobs/todo.csv:10: has no command",
    ):
        assert words in text
    assert len(desk.problems) == 8


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("0.1,64,x", "0.1 names no column: there is no header"),
        ("lr,lr,cmd", "the column lr is there twice"),
        (",,", "the header names no column"),
        ("lr,run num,cmd", "looks like run_num"),
        ("lr,Need_Run_Num,cmd", "looks like need_run_num"),
    ],
)
def test_a_header_that_cannot_be_understood_queues_nothing(desk: Desk, header: str, words: str) -> None:
    path = desk.table("todo.csv", f"{header}\n1,2,x\n")
    before = path.read_bytes()
    desk.look()
    assert desk.jobs == {}
    assert words in desk.problems[0]
    assert path.read_bytes() == before


def test_more_runs_than_anybody_wants_queue_nothing(desk: Desk) -> None:
    desk.table("todo.csv", "name,need_run_num,cmd\n" + "a,10000,x\n" * 21)
    desk.look()
    assert desk.jobs == {}
    assert "its rows need 210000 runs together; 200000 are possible" in desk.problems[0]


def test_hundreds_of_bad_rows_are_not_told_one_by_one(desk: Desk) -> None:
    desk.table("todo.csv", "name,run_num,cmd\n" + "a,x,x\n" * 500 + "good,0,x\n")
    desk.look()
    assert len(desk.problems) == 21
    assert "480 more rows" in desk.problems[-1]
    assert desk.waiting() == ["good"]


def test_a_formula_in_run_num_is_not_written_over(desk: Desk) -> None:
    sheet = "xl/worksheets/sheet1.xml"
    xml = members(rich())[sheet].replace(b'<c r="B2" s="0"><v>0</v></c>', b'<c r="B2"><f>1-1</f><v>0</v></c>')
    data = rebuilt(rich(), {sheet: xml})
    path = desk.table("todo.xlsx", data)
    desk.look()
    desk.run("one")
    assert "Sheet1!B2: run_num holds a formula, which is not written over" in desk.problems[0]
    desk.run("two")
    desk.look()
    assert desk.waiting() == ["one#2"]
    now = members(path.read_bytes())[sheet]
    assert b"<f>1-1</f><v>0</v>" in now
    assert b'<c r="B3"><v>1</v></c>' in now


def test_hidden_files_and_those_of_open_editors_are_no_tables(desk: Desk) -> None:
    for name in (".todo.csv", "~$todo.xlsx", "notes.md", ".git/x.csv"):
        desk.table(name, "name,cmd\na,x\n")
    desk.table("deep/er/todo.tsv", "name\tcmd\na\tx\n")
    desk.look()
    assert [key.partition("#")[0] for key in desk.jobs] == ["jobs/deep/er/todo.tsv"]
    assert desk.problems == []
    assert str(desk.root / "jobs/deep/er") in desk.source.directories()


def test_a_row_of_nothing_but_notes_is_no_task(tmp_path: Path) -> None:
    desk = Desk(tmp_path, table_command="x")
    path = desk.table("todo.csv", "lr,#note\n1,first\n,the second half:\n2,\n")
    desk.look()
    assert desk.waiting() == ["Task:0", "Task:2"]
    assert path.read_text().splitlines()[2] == ",the second half:"


def test_what_the_settings_name_and_is_no_table_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tables=["gone.csv", "train.py"])
    desk.look()
    assert "`tables` names gone.csv, which does not exist" in desk.problems[0]
    assert "`tables` names train.py, which is no .csv, .tsv, .json, .xlsx file" in desk.problems[1]


def test_a_table_with_two_names_runs_once(desk: Desk) -> None:
    desk.table("a.csv", "name,run_num,need_run_num,cmd\nx,0,1,true\n")
    (desk.root / "jobs" / "b.csv").symlink_to("a.csv")
    desk.look()
    assert desk.waiting() == ["x"]
    assert desk.problems[0].startswith("jobs/b.csv: is the same file as jobs/a.csv")


def test_what_a_killed_writer_has_left_is_cleared_away(desk: Desk) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    left, mine, other = (
        desk.table(name, "x")
        for name in (
            f".todo.csv.{gone.pid}.0123abcd.tmp",
            f".todo.csv.{os.getpid()}.0123abcd.tmp",
            f".todo.csv.{gone.pid}.backup",
        )
    )
    desk.look()
    assert [path.exists() for path in (left, mine, other)] == [False, True, True]


def test_a_name_that_is_not_utf8_is_told(desk: Desk) -> None:
    with open(os.fsencode(desk.root / "jobs") + b"/caf\xe9.csv", "wb") as file:
        file.write(b"name,cmd\na,x\n")
    desk.look()
    assert desk.jobs == {}
    assert desk.problems[0].endswith("jobs/caf\ufffd.csv: has a name that is not UTF-8\n    hint: rename it")


def test_tables_elsewhere_are_named_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    other = tmp_path / "todo.json"
    other.write_text('[{"cmd": "x", "name": "a"}]')
    desk = Desk(tmp_path / "ws", tables=["../todo.json"])
    desk.look()
    desk.run("a")
    assert other.read_text() == '[{"cmd": "x", "name": "a", "run_num": 1, "need_run_num": 1}]'
    assert str(tmp_path) in desk.source.directories()
