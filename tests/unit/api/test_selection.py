"""Which jobs are meant by what a person types."""

from __future__ import annotations

import pytest

from researchflow_tmux.api.selection import select
from researchflow_tmux.domain.errors import UsageError
from tests.unit.engine.samples import job

JOBS = [
    job(1, name="a", group="night", labels={"model": "bert", "seed": "1"}),
    job(2, name="b", group="night", labels={"model": "gpt2", "seed": "1"}),
    job(3, name="lr=0.1", group="day", labels={"model": "bert-large"}),
    job(4, name="4a", group="odd=name"),
    job(5, name="7"),
]


@pytest.mark.parametrize(
    ("patterns", "ids"),
    [
        (["@night"], [1, 2]),
        (["@n*"], [1, 2]),
        (["@*"], [1, 2, 3, 4]),
        (["@model=bert"], [1]),
        (["@model=bert*"], [1, 3]),
        (["@model=*"], [1, 2, 3]),
        (["@seed=1", "lr=0.1"], [1, 2, 3]),
        (["lr=0.1"], [3]),  # without the @ it is a name
        (["@odd=name"], [4]),  # and a group, whatever it is called
        (["@night", "@day"], [1, 2, 3]),
        (["7"], [5]),  # an exact name wins over an id
        (["3"], [3]),
    ],
)
def test_sets_of_jobs(patterns: list[str], ids: list[int]) -> None:
    assert [found.id for found in select(JOBS, patterns)] == ids


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("@nigth", "no job '@nigth'; did you mean '@night'?"),
        ("@model=bart", "no job '@model=bart'; did you mean '@model=bert'?"),
        ("@", "no job '@'"),
        ("model=bert", "no job 'model=bert'"),
        ("@zzz=*", "no job '@zzz=*'"),
    ],
)
def test_a_set_of_none_is_an_error_that_names_what_there_is(pattern: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(JOBS, [pattern])
    assert said in str(caught.value)
