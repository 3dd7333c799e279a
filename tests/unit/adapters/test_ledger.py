"""The notes on a user's file: durable, private, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path

from researchflow_tmux.adapters.sources.ledger import Ledger


def test_what_was_noted_is_there_for_the_next_process(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "jobfile"
    assert Ledger(str(directory), "jobs/a.txt").load() == {}
    Ledger(str(directory), "jobs/a.txt").save({"1": "#", "2": ""})
    assert Ledger(str(directory), "jobs/a.txt").load() == {"1": "#", "2": ""}
    assert Ledger(str(directory), "jobs/b/a.txt").load() == {}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in directory.iterdir()] == [0o600]


def test_what_cannot_be_understood_counts_as_nothing(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), "a.txt")
    for content in (b"", b"\xff\x00", b'{"a": 1}', b"[]"):
        Path(ledger.path).write_bytes(content)
        assert ledger.load() == {}
    ledger.forget()
    ledger.forget()
    assert list(tmp_path.iterdir()) == []
