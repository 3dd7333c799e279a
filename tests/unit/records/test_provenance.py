"""Which code ran, asked of a real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from researchflow_tmux.records import provenance as module
from researchflow_tmux.records.bounded_git import git
from researchflow_tmux.records.provenance import CodeNotes, Provenance, code_of, provenance
from tests.unit.records.samples import NOW


def call(root: Path, *args: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    words = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args]
    return subprocess.run(words, cwd=root, env=env, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "sub").mkdir(parents=True)
    call(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("lr = 1\n")
    call(root, "add", "-A")
    call(root, "commit", "-qm", "x")
    return root


def test_a_clean_work_tree_seen_from_below(repo: Path) -> None:
    found = provenance(str(repo / "sub"))
    assert found == Provenance(commit=call(repo, "rev-parse", "HEAD"), branch="main", dirty=False, root=str(repo))


def test_changes_are_kept_as_a_diff(repo: Path) -> None:
    (repo / "train.py").write_text("lr = 2\n")
    found = provenance(str(repo))
    assert found.dirty
    assert found.diff is not None
    assert b"+lr = 2" in found.diff


def test_a_detached_head_has_no_branch(repo: Path) -> None:
    call(repo, "checkout", "-q", "--detach")
    assert provenance(str(repo)).branch is None


@pytest.mark.parametrize("kind", ["no repository", "no commit", "broken", "no git"])
def test_where_git_says_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    place = tmp_path / "other"
    place.mkdir()
    if kind == "no commit":
        call(place, "init", "-q")
    elif kind == "broken":
        (place / ".git").write_text("gitdir: /nonexistent\n")
    elif kind == "no git":
        place = repo
        monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(str(place)).commit is None


def test_a_diff_without_end_is_cut(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIFF_BYTES", 10_000)
    (repo / "train.py").write_text("".join(f"line {number}\n" for number in range(200_000)))
    diff = provenance(str(repo)).diff
    assert diff is not None
    assert len(diff) == 10_000


def test_a_git_that_takes_too_long_is_left(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    assert git(str(repo), "diff", timeout_s=0.1, most_bytes=100) is None


def test_a_note_is_made_once_and_is_private(repo: Path, tmp_path: Path) -> None:
    (repo / "train.py").write_text("lr = 2\n")
    places = [tmp_path / name for name in ("1", "2", "gone")]
    for place in places[:2]:
        place.mkdir()
    notes = CodeNotes()
    notes.note({str(place): str(repo) for place in places}, NOW)
    first = code_of(str(places[0]))
    assert first == code_of(str(places[1]))
    assert first is not None
    assert (first["branch"], first["dirty"], first["noted_at"]) == ("main", True, NOW.isoformat())
    assert (places[0] / "code.diff").stat().st_mode & 0o777 == 0o600
    assert code_of(str(places[2])) is None
    call(repo, "commit", "-qam", "y")
    notes.note({str(places[0]): str(repo)}, NOW)
    assert code_of(str(places[0])) == first


def test_changes_are_not_asked_for_again_where_that_took_too_long(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *diff*) echo x >> {tmp_path}/asked; exec sleep 60;; esac\nexec {real} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    notes = CodeNotes()
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        notes.note({str(tmp_path / name): str(repo)}, NOW)
        code = code_of(str(tmp_path / name))
        assert code is not None
        assert code["dirty"] is None
    assert (tmp_path / "asked").read_text() == "x\n"
