"""A job with inputs and outputs: when it runs, when it has nothing to do, and when its success is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.runner import freshness
from researchflow_tmux.runner.freshness import Rule, Seen, load, why_run
from tests.unit.runner.runner_harness import Attempts

MADE = "cat in/*.txt > out.txt; echo ran >> runs"


def rule(root: Path, **changes: Any) -> dict[str, Any]:
    """The `files` of a spec."""
    note = str(root / "notes" / "job.json")
    return {"definition": "d1", "note": note, "inputs": ["in/*.txt"], "outputs": ["out.txt"]} | changes


def as_rule(root: Path, files: dict[str, Any]) -> Rule:
    return Rule(cwd=str(root), **({"upstream": []} | files))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text(name)
    return tmp_path


def test_it_runs_once_and_then_has_nothing_to_do(root: Path, attempts: Attempts) -> None:
    files = rule(root)
    first = attempts.sh(MADE, files=files).run()
    assert (first["outcome"], first["succeeded"], first["exit_code"]) == ("exited", True, 0)
    second = attempts.sh(MADE, files=files).run()
    assert (second["outcome"], second["succeeded"], second["exit_code"]) == ("up_to_date", True, None)
    assert second["started_at"] is None
    assert (root / "runs").read_text() == "ran\n"
    note = Path(files["note"])
    assert (stat.S_IMODE(note.stat().st_mode), stat.S_IMODE(note.parent.stat().st_mode)) == (0o600, 0o700)
    forced = attempts.sh(MADE, files=files | {"force": True}).run()
    assert forced["outcome"] == "exited"


def test_what_is_looked_at_are_the_files_as_they_are_when_it_would_start(root: Path, attempts: Attempts) -> None:
    attempts.sh(MADE, files=rule(root)).run()
    waiting = attempts.sh(MADE, files=rule(root))  # queued when all was up to date
    (root / "in" / "b.txt").write_text("changed since")
    assert waiting.run()["outcome"] == "exited"
    assert "changed since" in (root / "out.txt").read_text()


def test_a_missing_input_is_named_and_nothing_runs(root: Path, attempts: Attempts) -> None:
    record = attempts.sh(MADE, files=rule(root, inputs=["in/*.txt", "data.csv", "more/**/*.csv"])).run()
    assert (record["outcome"], record["succeeded"]) == ("launch_failed", False)
    assert record["reason"] == f"its inputs are not there: data.csv, more/**/*.csv (below {root})"
    assert not (root / "runs").exists()


def test_a_success_without_its_output_is_none(root: Path, attempts: Attempts) -> None:
    attempt = attempts.sh("true", files=rule(root, outputs=["out.txt", "more/*.pt"]))
    record = attempt.run()
    assert (record["outcome"], record["exit_code"], record["succeeded"]) == ("exited", 0, False)
    assert record["unmade"] == ["out.txt", "more/*.pt"]
    assert record["reason"] == "out.txt, more/*.pt are not there after it"
    assert not Path(attempt.marker).exists(), "and it is not marked as complete"
    assert load(as_rule(root, rule(root))) is None


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_half_written_outputs_of_a_failure_never_count(root: Path, attempts: Attempts, end: str) -> None:
    files = rule(root)
    attempts.sh(MADE, files=files).run()
    (root / "in" / "a.txt").write_text("new")
    assert not attempts.sh(f"echo half > out.txt; {end}", files=files).run()["succeeded"]
    assert attempts.sh(MADE, files=files).run()["outcome"] == "exited", "although out.txt is newer than all its inputs"


def test_of_a_killed_runner_nothing_counts_either(root: Path, attempts: Attempts) -> None:
    files = rule(root)
    attempts.sh(MADE, files=files).run()
    attempt = attempts.sh("echo half > out.txt; echo half; sleep 60", files=files | {"definition": "d2"})
    attempt.start()
    attempt.says("half")
    os.kill(attempt.runner_pid(), 9)
    attempt.end()
    assert attempts.sh(MADE, files=files).run()["outcome"] == "exited"


def test_a_launch_that_comes_to_nothing_leaves_what_was_made(root: Path, attempts: Attempts) -> None:
    files = rule(root)
    attempts.sh(MADE, files=files).run()
    asked = attempts.sh(MADE, files=files | {"force": True})
    Path(asked.dir, "stop").write_text('{"by": "user", "reason": ""}')
    assert asked.run()["outcome"] == "killed"
    assert attempts.sh(MADE, files=files).run()["outcome"] == "up_to_date"


# The rule, case by case -----------------------------------------------------------------------------------------------


def noted(root: Path, **changes: Any) -> Rule:
    """A rule whose success was noted with the files as they are."""
    (root / "out.txt").write_text("made")
    made = as_rule(root, rule(root, **changes))
    freshness.save(made, Seen(made))
    return made


def reason(made: Rule) -> str:
    return why_run(Seen(made), load(made), made.definition)


def touch(path: Path, seconds: int) -> None:
    """Set a file's time relative to what it is."""
    now = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(now, now))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: None, ""),
        (lambda root: touch(root / "out.txt", 5), ""),
        (lambda root: touch(root / "in" / "a.txt", 5), "in/a.txt changed"),
        (lambda root: touch(root / "in" / "a.txt", -5000), "in/a.txt changed"),
        (lambda root: (root / "in" / "c.txt").write_text(""), "in/c.txt is new"),
        (lambda root: (root / "in" / "a.txt").unlink(), "in/a.txt is gone"),
        (lambda root: [(root / "in" / f"{name}.txt").write_text("longer") for name in "ab"], "in/a.txt changed (and 1"),
        (lambda root: (root / "out.txt").unlink(), "out.txt is missing"),
        (lambda root: touch(root / "out.txt", -5000), "is newer than out.txt"),
    ],
)  # fmt: skip
def test_why_it_runs_again(root: Path, change: Any, words: str) -> None:
    made = noted(root)
    change(root)
    assert words in reason(made)
    assert bool(reason(made)) is bool(words)


def test_another_definition_and_a_need_that_ran_again(root: Path) -> None:
    above = root / "notes" / "above.json"
    above.parent.mkdir()
    above.write_text("{}")
    made = noted(root, upstream=[str(above)])
    assert reason(made) == ""
    touch(above, 1)
    assert reason(made) == "a job that it needs ran again"
    above.unlink()
    assert reason(made) == "a job that it needs ran again"
    made = noted(root)
    made.definition = "d2"
    assert reason(made) == "its definition changed"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 2}', b"\xff" * 50])
def test_a_note_that_cannot_be_understood_counts_for_nothing(root: Path, content: bytes) -> None:
    made = noted(root)
    Path(made.note).write_bytes(content)
    assert reason(made) == "it has not succeeded with these files yet"


def test_a_file_that_is_called_like_a_pattern_is_meant_itself(root: Path) -> None:
    (root / "in" / "[x].txt").write_text("")
    (root / "in" / "x.txt").write_text("")
    assert list(Seen(as_rule(root, rule(root, inputs=["in/[x].txt"]))).inputs) == ["in/[x].txt"]
    assert set(Seen(as_rule(root, rule(root, inputs=["in/[ab].txt"]))).inputs) == {"in/a.txt", "in/b.txt"}


def test_what_a_pattern_finds_of_its_own_outputs_is_no_input(root: Path, attempts: Attempts) -> None:
    files = rule(root, inputs=["in/*"], outputs=["in/out"])
    assert attempts.sh("cat in/*.txt > in/out", files=files).run()["outcome"] == "exited"
    assert attempts.sh("cat in/*.txt > in/out", files=files).run()["outcome"] == "up_to_date"


def test_many_inputs_are_noted_by_a_digest(root: Path) -> None:
    for number in range(600):
        (root / "in" / f"{number}.txt").touch()
    made = noted(root)
    assert reason(made) == ""
    assert Path(made.note).stat().st_size < 500
    (root / "in" / "7.txt").write_text("x")
    assert reason(made) == "its inputs changed"


STAMPS = st.dictionaries(st.text(max_size=5), st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=4)


@given(before=STAMPS, now=STAMPS)
def test_up_to_date_means_all_as_it_was(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Whatever stood there before and stands there now: without a reason only if nothing differs."""
    seen = Seen.__new__(Seen)
    seen.inputs, seen.outputs, seen.upstream, seen.missing_inputs, seen.missing_outputs = now, {}, {}, [], []
    names = {name: list(stamp) for name, stamp in before.items()}
    note = {"version": 1, "definition": "d", "inputs": freshness.digest(before), "names": names, "upstream": {}}
    assert bool(why_run(seen, note, "d")) is (before != now)
