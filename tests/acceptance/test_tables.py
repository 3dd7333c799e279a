"""Task tables with the installed command and real tmux: what ran is counted by what the jobs wrote themselves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from researchflow_tmux.adapters.sources.tables.reading import read_table
from tests.support import eventually
from tests.unit.adapters.tables.desk import Desk
from tests.unit.adapters.tables.workbooks import EXTRAS, SHEET, members, rebuilt, rich
from tests.unit.adapters.tables.workbooks import workbook as plain_workbook
from tests.workspaces import Factory, RealWorkspace, kill9, new_workspace

__all__ = ["new_workspace"]

pytestmark = pytest.mark.tmux

CSV = (
    "\ufeffname;lr;cmd;need_run_num;run_num;rf.retries;note\r\n"
    'a;1e-3;{job} {lr};2;"0";;"keeps its ""quotes"""\r\n'
    'bad;;"echo x >> ran/bad_tries; exit 3";1;0;2;\r\n'
    "\r\n"
    "b;0.10;{job} {lr};2;0;;größer\r\n"
    "c;;{job};0;0;;never\r\n"
    "d;;{job};1;;;"
)


def workbook(job: str) -> bytes:
    """`one` runs twice and `two` once; besides, all that openpyxl would lose."""
    xml = members(rich())[SHEET]
    xml = xml.replace(b"echo a &gt; b", f"{job} &amp;&amp; :".encode()).replace(
        b"<t>true</t>", f"<t>{job}</t>".encode()
    )
    return rebuilt(rich(), {SHEET: xml})


def sort_as_a_spreadsheet_does(workspace: RealWorkspace, path: Path) -> None:
    """The last row first, saved by a program that says that it has the file open."""
    lock = path.with_name(f".~lock.{path.name}#")
    lock.write_text(",you,,;")
    workspace.ok("start")  # the scheduler has looked: what it was about to write is written
    head, *rows = path.read_bytes().rstrip(b"\r\n").split(b"\r\n")
    saved = path.with_name(".saving")
    saved.write_bytes(b"\r\n".join([head, *reversed(rows)]) + b"\r\n")
    saved.replace(path)
    lock.unlink()


def test_rows_run_as_often_as_they_say_whatever_happens(new_workspace: Factory) -> None:
    workspace = new_workspace(retry_delay=0.1)
    job = workspace.script("row.sh", f'{workspace.root}/job.sh; echo "$1" >> "ran/args_$RFSCHED_JOB"')
    (workspace.root / "jobs").mkdir()
    table, book = workspace.root / "jobs" / "todo.csv", workspace.root / "jobs" / "todo.xlsx"
    text = CSV.replace("{job}", job)
    table.write_bytes(text.encode())
    book.write_bytes(workbook(job))
    before = members(book.read_bytes())
    workspace.ok("start", NAP="0.3")
    eventually(lambda: "a" in workspace.runs(), what="a row runs")
    sort_as_a_spreadsheet_does(workspace, table)
    kill9(workspace.scheduler_pid() or 0)
    eventually(lambda: workspace.scheduler_pid(), 20.0, what="the scheduler is back")
    states = workspace.settled()
    assert {name: state for name, state in states.items() if state != "succeeded"} == {"bad": "failed"}
    runs = workspace.runs()
    assert {name: runs[name] for name in ("a", "a#2", "b", "b#2", "d", "one", "one#2", "two")} == dict.fromkeys(
        ("a", "a#2", "b", "b#2", "d", "one", "one#2", "two"), 1
    )
    assert (runs["bad_tries"], runs["c"]) == (3, 0)
    assert (workspace.root / "ran" / "args_a").read_text() == "1e-3\n"
    assert (workspace.root / "ran" / "args_b#2").read_text() == "0.10\n"

    head, *rows = text.split("\r\n")
    expected = "\r\n".join([head, *reversed(rows)]) + "\r\n"
    for old, new in ((';2;"0"', ';2;"2"'), ("{lr};2;0;;größer", "{lr};2;2;;größer"), (";1;;;", ";1;1;;")):
        assert old in expected
        expected = expected.replace(old, new)
    eventually(lambda: table.read_bytes() == expected.encode(), what="all is counted, and nothing else changed")
    expected_sheet = (
        before[SHEET]
        .replace(b'<c r="B2" s="0"><v>0</v></c>', b'<c r="B2" s="0"><v>2</v></c>')
        .replace(b'</is></c><c r="C3">', b'</is></c><c r="B3"><v>1</v></c><c r="C3">')
    )
    eventually(lambda: members(book.read_bytes())[SHEET] == expected_sheet, what="the workbook is counted")
    assert members(book.read_bytes()) == {**before, SHEET: expected_sheet}
    assert EXTRAS.keys() <= before.keys()


def count_until_killed(root: Path, delay_s: float) -> None:
    """In a child: count one success after the other, until the kernel ends it `delay_s` after the first."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        desk = Desk(root)
        desk.look()
        first, *others = desk.waiting()
        desk.run(first)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # no handler: it ends the process where it stands
        signal.setitimer(signal.ITIMER_REAL, delay_s)
        for name in others:
            desk.run(name)
    finally:
        os._exit(0)


@pytest.mark.parametrize("name", ["todo.csv", "todo.xlsx", "todo.json"])
def test_a_table_is_never_half_written(tmp_path: Path, name: str) -> None:
    """Killed at ten moments while it counts as fast as it can."""
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / name
    rows = 400
    if name.endswith("xlsx"):
        path.write_bytes(plain_workbook(["lr", "cmd"], *([index, "x"] for index in range(rows))))
    elif name.endswith("json"):
        path.write_text("[" + ",".join(f'{{"lr": {index}, "cmd": "x"}}' for index in range(rows)) + "]")
    else:
        path.write_text("lr,cmd\n" + "".join(f"{index},x\n" for index in range(rows)))
    seen = 0
    for number in range(10):
        count_until_killed(tmp_path, 0.0005 + 0.003 * number)
        table = read_table(str(path), name)
        assert table is not None
        assert (len(table.rows), table.problems) == (rows, ())
        counted = sum(row.run for row in table.rows)
        assert counted > seen
        assert all(row.run <= 1 for row in table.rows)
        seen = counted
