"""How good predictions are, on jobs of which the truth is known."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from researchflow_tmux.cli.main import cli
from researchflow_tmux.policies.prediction.accuracy import accuracy
from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.predicting import by_history, by_progress, training
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob, made

WHOLE = "from 10%"


def families(number: int = 3000) -> Trace:
    """Applications of different lengths, each with its own spread; nothing drifts."""
    chance = Chance(3, "families")
    spreads = [chance.uniform(0.05, 1.5) for _ in range(40)]
    jobs = []
    for at in range(number):
        kind = int(chance.uniform(0, 40))
        length_s = 60.0 * 1.2**kind * 2.0 ** (spreads[kind] * sum(chance.uniform(-1, 1) for _ in range(4)))
        jobs.append(TraceJob(name=f"j{at}", submit_s=at * 600.0, duration_s=length_s, user="u", project=f"app{kind}"))
    return made("families", jobs)


def test_four_of_five_durations_lie_in_their_interval() -> None:
    [row] = accuracy(by_history(families()))
    assert row.coverage is not None
    assert 77.0 <= row.coverage <= 83.0
    assert row.predictions > 2900


def test_a_prediction_is_made_of_what_had_ended_by_then() -> None:
    jobs = [TraceJob(name=f"j{at}", submit_s=float(at), duration_s=1000.0, project="a") for at in range(100)]
    assert by_history(made("all at once", jobs)) == []
    later = [TraceJob(name="late", submit_s=5000.0, duration_s=1000.0, project="a")]
    [one] = by_history(made("and one later", [*jobs, *later]))
    assert (one.name, one.predicted_s, one.error) == ("late", 1000.0, 0.0)


def test_from_a_tenth_of_progress_on_the_end_is_known() -> None:
    """The promise: median error at most 5 %, and nine of ten within 15 %, with intervals that hold four of five."""
    rows = {row.moment: row for row in accuracy(by_progress(jobs=150, seed=5))}
    assert set(rows) == {*(f"{tenth}0%" for tenth in range(1, 10)), WHOLE}
    for moment in ("10%", WHOLE):
        error, within = rows[moment].median_error, rows[moment].within_15_pct
        assert error is not None
        assert within is not None
        assert error <= 0.05
        assert within >= 90.0
    coverage = rows[WHOLE].coverage
    assert coverage is not None
    assert 75.0 <= coverage <= 85.0
    assert rows["90%"].median_error is not None
    assert rows["10%"].median_error is not None
    assert rows["90%"].median_error < rows["10%"].median_error


def test_trainings_are_uneven_and_end() -> None:
    reports = list(training(Chance(1, "t")))
    assert reports[0][0] == 0.0
    assert reports[-1][0] == 1.0
    gaps = [after[1] - before[1] for before, after in itertools.pairwise(reports)]
    assert max(gaps) > 2 * min(gaps) > 0


@pytest.mark.parametrize("trace", [True, False])
def test_the_command_prints_a_table_and_json(tmp_path: Path, trace: bool) -> None:
    path = tmp_path / "lab.csv"
    rows = "".join(f"j{at},{at * 100},50,1,u,p\n" for at in range(20))
    path.write_text(f"job_id,submit_s,duration_s,num_gpus,user,project\n{rows}")
    args = ["simulate", "--predict", *(["--trace", str(path)] if trace else ["--jobs", "5"])]
    shown = CliRunner().invoke(cli, args)
    assert shown.exit_code == 0, shown.output
    assert ("when submitted" if trace else "from 10 % of progress on") in shown.output
    found = json.loads(CliRunner().invoke(cli, [*args, "--json"]).output)
    assert found["schema"] == "rfsched.predict/1"
    assert found["accuracy"][0]["predictions"] > 4


def test_the_same_seed_gives_the_same_figures() -> None:
    assert by_progress(jobs=3, seed=1) == by_progress(jobs=3, seed=1)
    assert by_progress(jobs=3, seed=1) != by_progress(jobs=3, seed=2)
