"""Which run is meant."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.runs import one_per_job, one_run
from tests.unit.records.samples import run

RUNS = [
    run("exp1", 1, succeeded=False),
    run("exp1", 2),
    run("exp1", 3, succeeded=False),
    run("exp2", 1, succeeded=False),
    run("exp2", 2, succeeded=False),
    run("twin", 1, job_id=7),
    run("twin", 1, job_id=8),
]


def test_one_per_job_is_the_newest_success_else_the_newest() -> None:
    assert [each.run for each in one_per_job(RUNS)] == ["w/1.2", "w/2.2", "w/7.1", "w/8.1"]


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        ("exp1", "w/1.2"),
        ("1", "w/1.2"),
        ("exp1.3", "w/1.3"),
        ("2.1", "w/2.1"),
        ("00000007", "w/7.1"),
        ("8", "w/8.1"),
    ],
)
def test_a_run_by_job_attempt_or_uuid(wanted: str, tag: str) -> None:
    assert one_run(RUNS, wanted).run == tag


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("twin", "names 2 runs: 7.1 (twin"), ("exp9", "recorded are: exp1, exp2, twin"), ("exp1.9", "no run is recorded")],
)
def test_what_is_not_one_run_is_refused(wanted: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        one_run(RUNS, wanted)
    assert words in str(error.value)
