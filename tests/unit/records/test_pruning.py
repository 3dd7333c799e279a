"""Removing records, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.catching_up import catch_up, results_dir
from researchflow_tmux.records.comparing import compare
from researchflow_tmux.records.pruning import older_than, prune, without_best
from researchflow_tmux.records.runs import read_runs
from researchflow_tmux.results import MetadataStorage
from tests.unit.records import samples
from tests.unit.records.samples import NOW, run

RUNS = [
    run(f"exp{number}", metrics={"acc": number / 10}, ended_at=(NOW + timedelta(days=number)).isoformat())
    for number in range(1, 6)
]


def test_age_counts_from_the_end() -> None:
    assert [each.job for each in older_than(RUNS, NOW + timedelta(days=2, hours=1))] == ["exp1", "exp2"]
    assert older_than([run("x1")], NOW) == []


@pytest.mark.parametrize(("rule", "left"), [("acc:2", ["exp1"]), ("-acc:1", ["exp2"]), ("acc:0", ["exp1", "exp2"])])
def test_the_best_are_kept(rule: str, left: list[str]) -> None:
    runs = RUNS[:3] if rule == "acc:2" else RUNS
    assert [each.job for each in without_best(runs, rule, RUNS[:2])] == left


@pytest.mark.parametrize("rule", ["acc", "acc:", "acc:x", ":", "nothing:3"])
def test_a_rule_that_cannot_be_understood(rule: str) -> None:
    with pytest.raises(UsageError):
        without_best(RUNS, rule, RUNS)


@pytest.fixture
def results(tmp_path: Path) -> str:
    paths = samples.workspace(tmp_path / "ws")
    samples.history(paths, range(1, 5))
    catch_up(paths)
    return results_dir(paths)


def files(results: str) -> set[str]:
    return {str(path.relative_to(results)) for path in Path(results, "runs").rglob("*") if path.is_file()}


def test_a_dry_run_removes_nothing(results: str) -> None:
    runs, before = read_runs(results), files(results)
    found = prune(results, runs[:2], really=False)
    assert (found.runs, found.files, found.done) == (["exp1.1", "exp2.1"], 4, False)
    assert found.bytes > 0
    assert (len(read_runs(results)), files(results)) == (4, before)


def test_entries_go_with_their_files_and_nothing_else(results: str) -> None:
    runs = read_runs(results)
    mine = Path(results, "runs", runs[0].uuid, "notes.txt")
    mine.write_text("mine")
    Path(results, "elsewhere.txt").write_text("x")
    with MetadataStorage(results) as storage:
        own = storage.create_entry(metadata={"mine": 1})
        storage.update_entry(runs[1].uuid, attachments={"figure": "figures/a.png"})
    Path(results, "figures", "a.png").write_text("x")
    found = prune(results, read_runs(results)[:3], really=True)
    assert (found.runs, found.kept, found.done) == (["exp1.1", "exp3.1"], ["exp2.1"], True)
    assert [each.job for each in read_runs(results)] == ["exp2", "exp4"]
    assert mine.exists()
    assert not Path(results, "runs", runs[2].uuid).exists()
    assert Path(results, "figures", "a.png").exists()
    assert Path(results, "elsewhere.txt").exists()
    with MetadataStorage(results) as storage:
        assert storage.get_entry(own)["metadata"] == {"mine": 1}


def test_two_runs_side_by_side(results: str) -> None:
    a = run("exp1", config={"lr": 0.1, "same": 1}, metrics={"acc": 0.5}, git={"commit": "a"}, environment="e", host="h")
    b = run("exp2", config={"lr": 0.2, "same": 1, "new": None}, metrics={"loss": 1.0}, git={"commit": "b"}, host="h")
    for each, text in ((a, "-x\n+y\n"), (b, "-x\n+z\n")):
        each.entry["attachments"]["diff"] = f"{each.job}.diff"
        Path(results, f"{each.job}.diff").write_text(text)
    found = compare(a, b, results)
    assert [(each.name, each.a, each.b) for each in found.config] == [("lr", 0.1, 0.2), ("new", None, None)]
    assert [(each.name, each.a, each.b) for each in found.code] == [("git.commit", "a", "b")]
    assert [(each.name, each.a, each.b) for each in found.environment] == [("environment", "e", None)]
    assert [(each.name, each.a, each.b) for each in found.metrics] == [("acc", 0.5, None), ("loss", None, 1.0)]
    assert found.run == []
    assert found.same_config_keys == 1
    assert {"-+y", "++z"} <= set(found.code_diff)
    assert compare(a, a, results).code_diff == []
