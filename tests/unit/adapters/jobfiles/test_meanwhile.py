"""Files that others write while we do, and schedulers that are killed at any point."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.ledger import Ledger
from researchflow_tmux.domain.job import JobState
from tests.unit.adapters.jobfiles.world import World

APPENDER = """
import os, sys, time
number = 0
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)  # nobody types faster
    with open(sys.argv[1], "a") as file:
        file.write(f"echo {number}\\n")
    number += 1
print(number)
"""


def test_lines_appended_while_marks_are_written(tmp_path: Path) -> None:
    world = World(tmp_path, archive_job_files="never")
    world.put("echo first\n")
    world.look()
    stop = tmp_path / "stop"
    appender = [sys.executable, "-c", APPENDER, str(world.path()), str(stop)]
    with subprocess.Popen(appender, stdout=subprocess.PIPE, text=True) as process:
        try:
            while len(world.runs) < 12:
                world.look()
                waiting = [name for name, state in world.states().items() if state == "queued"][:1]
                world.start(*waiting)
                world.end(*waiting)
                assert not world.told()
        finally:
            stop.touch()
        count = int(process.communicate()[0])
    for _ in range(3):
        world.look()
    commands = Counter(line.lstrip("# ") for line in world.text().splitlines())
    assert commands == Counter(["echo first", *(f"echo {number}" for number in range(count))])
    assert len(world.states()) == count + 1
    done = sum(state == "succeeded" for state in world.states().values())
    assert world.text().count("# ") == done >= 12


def test_a_generator_that_keeps_the_file_open(tmp_path: Path) -> None:
    """Its lines would go to a file that we replaced: no mark is written before it has closed it."""
    world = World(tmp_path)
    world.put("echo first\n")
    world.look()
    with world.path().open("a") as file:
        world.start("a_l1")
        file.write("echo second\n")
        file.flush()
        world.look()
        assert world.text() == "echo first\necho second\n"
        assert world.states() == {"a_l1": "running"}
        world.look()  # quiet since: what is there counts, although there may be more to come
        assert "jobs/a.txt: a program has it open for writing" in world.told()
        assert world.states() == {"a_l1": "running", "a_l2": "queued"}
        file.write("echo third\n")
    world.look()
    assert world.text() == "! echo first\necho second\necho third\n"
    assert world.told() == ""


def test_a_program_that_saves_slowly_and_in_place(tmp_path: Path) -> None:
    """It empties the file and writes it anew: what is not there yet is not gone."""
    world = World(tmp_path)
    world.put("echo one\necho two\necho three\n")
    world.look()
    with world.path().open("w") as file:
        for text in ("", "echo one\nec", "ho two\n"):
            file.write(text)
            file.flush()
            for _ in range(3):
                world.look()
    assert "cancelled" not in world.states().values()
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued", "a_l3": "cancelled"}


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put("echo first\n")
    left, of_somebody = tmp_path / "jobs/.a.txt.99999.0123abcd.tmp", tmp_path / "jobs/.a.txt.swp"
    left.write_text("half")
    of_somebody.write_text("an editor's")
    world.restart()
    world.look()
    assert not left.exists()
    assert of_somebody.exists()
    assert world.states() == {"a_l1": "queued"}


OPS = ["start", "succeed", "fail", "killed", "killed unread", "killed unnoted", "look"]
EDITS = ["add", "copy", "swap", "comment"]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(OPS + EDITS), st.integers(0, 7)), max_size=25))
def test_each_line_runs_once_whatever_is_killed_and_moved(ops: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), archive_job_files="never")
        wanted = Counter({"one": 2, "two": 1})
        world.put("echo one\necho two\necho one\n")
        world.look()
        for op, number in ops:
            edit(world, op, number, wanted) if op in EDITS else happen(world, op, number)
            assert all(count == 1 for count in world.runs.values())
        for _ in range(2):
            world.restart()
            world.look()
        while waiting := [name for name, state in world.states().items() if state == "queued"]:
            world.run(*waiting)
        world.end(*(name for name, state in world.states().items() if state == "running"))
        world.look()
        jobs = world.workload.jobs.values()
        ran = Counter((job.spec.shell or "").split()[1] for job in jobs for _ in range(world.runs[job.name]))
        assert ran == wanted
        lines = [line for line in world.text().splitlines() if not line.startswith("##")]
        assert Counter(line.split()[2] for line in lines) == wanted
        marks = Counter({"#": 0, "?": 0}) + Counter(line[0] for line in lines)
        states = Counter(str(job.state) for job in jobs)
        assert (marks["#"], marks["?"]) == (states["succeeded"], states["failed"])


def happen(world: World, op: str, number: int) -> None:
    queued = [name for name, state in world.states().items() if state == "queued"]
    running = [name for name, state in world.states().items() if state == "running"]
    match op:
        case "start" if queued:
            world.start(queued[number % len(queued)], show=number % 2 == 0)
        case "succeed" | "fail" if running:
            state = JobState.SUCCEEDED if op == "succeed" else JobState.FAILED
            world.end(running[number % len(running)], state=state, show=number % 3 != 0)
        case "killed":
            world.restart()
        case "killed unread":
            world.feed.read()
            world.restart()
        case "killed unnoted":
            ledger = Path(Ledger(str(world.root / ".rfsched/sources/jobfile"), "jobs/a.txt").path)
            before = ledger.read_bytes()
            world.show()
            ledger.write_bytes(before)
            world.restart()
        case "look":
            world.look()


def edit(world: World, op: str, number: int, wanted: Counter[str]) -> None:
    lines = world.text().splitlines(keepends=True)
    if op == "add":
        lines.insert(number % 4, f"echo w{number}\n")
        wanted[f"w{number}"] += 1
    elif op == "copy":
        lines.append("echo one\n")
        wanted["one"] += 1
    elif op == "swap":
        lines = [*lines[number % 3 :], *lines[: number % 3]]
    else:
        lines.insert(0, "## a comment\n")
    world.put("".join(lines))
    if op in ("add", "copy"):
        world.look()
