"""Whose process it is, told from real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters import procs
from tests.support import eventually

TREE = """
    import subprocess, sys
    child = subprocess.Popen(["bash", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    print(child.pid, child.stdout.readline().strip(), flush=True)
    sys.stdin.read()
    child.kill()
"""


@pytest.fixture
def tree() -> Iterator[list[int]]:
    """A process, its child and its grandchild."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TREE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pids = [process.pid, *map(int, process.stdout.readline().split())]
    yield pids
    process.communicate()
    os.kill(pids[2], 9)


def test_the_whole_tree_below_a_runner_is_managed(tree: list[int]) -> None:
    root, child, grandchild = tree
    assert procs.managed([root], tree) == set(tree)
    assert procs.managed([child], tree) == {child, grandchild}
    assert procs.managed([grandchild], [root, child]) == frozenset()
    assert procs.managed([], tree) == frozenset()


def test_a_runner_of_unknown_pid_owns_nothing(tree: list[int]) -> None:
    assert procs.managed([0, -1], [*tree, 0, 1]) == frozenset()


def test_the_cookie_tells_a_jobs_process_whose_runner_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"], env=os.environ | {"RFSCHED_ATTEMPT": "w/1.1"}) as orphan:
        eventually(lambda: procs.managed([], [orphan.pid]))
        orphan.kill()


def test_a_name_with_spaces_and_parentheses(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77/stat").write_text("77 (a) b (c) S 42 1 1 0")
    assert procs.parent(77, proc=str(tmp_path)) == 42
    assert procs.parent(78, proc=str(tmp_path)) == 0
    (tmp_path / "77/stat").write_text("nonsense")
    assert procs.parent(77, proc=str(tmp_path)) == 0


def test_circles_end(tmp_path: Path) -> None:
    for pid, above in ((5, 6), (6, 5)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (x) S {above} 1")
    assert procs.managed([9], [5, 6], proc=str(tmp_path)) == frozenset()


def test_words_for_people(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        eventually(lambda: procs.describe(process.pid).startswith("sleep "))
        words = procs.describe(process.pid)
        process.kill()
    assert words == f"sleep pid {process.pid}, user {procs.user_name(os.getuid())}"
    assert procs.describe(process.pid) == f"pid {process.pid}"
    assert procs.user_name(987654321) == "987654321"
