"""Whatever a table holds: rows become jobs that can be written down, or problems; never an exception."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.adapters.tables.desk import Desk

KEYS = st.sampled_from(["run_num", "need_run_num", "name", "cmd", "lr", "rf.gpus", "rf.env", "rf.after", "rf.x", "#n"])
NUMBERS = st.integers(-2, 3) | st.integers(10**15, 10**40) | st.floats()
TEXTS = st.text(max_size=8) | st.sampled_from(["\0", "\ud800", "{args}", "'", '"$(x)', "a=1 'b", "[x, ", "-1", "nan"])
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS | st.lists(NUMBERS | TEXTS, max_size=2)


def check(desk: Desk, path: Path) -> None:
    """Look, and run what there is to its end."""
    before = path.read_bytes()
    desk.look()
    if not desk.jobs:
        assert desk.problems or path.read_bytes() == before or b"run_num" in path.read_bytes()
    for job in list(desk.jobs.values())[:5]:
        msgspec.json.encode(job)  # as the store does
        for word in (*job.spec.argv, job.spec.shell or ""):
            assert "\0" not in word
        desk.run(job.name)
    desk.look()
    desk.restart()
    desk.look()


@settings(deadline=None, max_examples=80)
@given(st.lists(st.dictionaries(KEYS | st.text(max_size=3), VALUES, max_size=6), max_size=4))
def test_any_json_table(objects: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory(prefix="rft-") as folder:
        desk = Desk(Path(folder), table_command="run {args} {row}")
        check(desk, desk.table("t.json", json.dumps(objects)))


@settings(deadline=None, max_examples=80)
@given(st.lists(KEYS, max_size=4, unique=True), st.lists(st.lists(TEXTS, max_size=5), max_size=4))
def test_any_csv_table(header: list[str], rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="rft-") as folder:
        desk = Desk(Path(folder), table_command="run {args} {row}")
        text = "\n".join(",".join(row) for row in [header, *rows])
        check(desk, desk.table("t.csv", text.encode("utf-8", "surrogatepass")))
