"""What people type to find runs."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.terms import Term, matching, parse
from tests.unit.records.samples import run

RUNS = [
    run(
        "exp1", config={"lr": 0.1, "model": "bert", "tags": ["a", "b"], "amp": True}, metrics={"acc": 0.9}, gpus=[0, 1]
    ),
    run(
        "exp2",
        config={"lr": 1, "model": "bert-large", "seed": "012"},
        metrics={"acc": 0.5},
        outcome="failed: exit code 1",
    ),
    run("other3", config={"lr": 0.001, "model": None, "amp": False}, metrics={"val/acc": "nan"}, group="g"),
]


@pytest.mark.parametrize(
    ("text", "key", "sign", "value"),
    [
        ("lr=0.1", "lr", "=", "0.1"),
        ("lr==0.1", "lr", "=", "0.1"),
        ("lr = 0.1", "lr", "=", "0.1"),
        ("lr>=0.1", "lr", ">=", "0.1"),
        ("lr<=.1", "lr", "<=", ".1"),
        ("lr!=0.1", "lr", "!=", "0.1"),
        ("val/acc>0.9", "val/acc", ">", "0.9"),
        ("model~^a=b<c$", "model", "~", "^a=b<c$"),
        ("model!~x", "model", "!~", "x"),
        ("a.b=c=d", "a.b", "=", "c=d"),
        ("note=", "note", "=", ""),
        ("learning rate=1", "learning rate", "=", "1"),
    ],
)
def test_a_comparison_is_read(text: str, key: str, sign: str, value: str) -> None:
    assert parse(text) == Term(key=key, sign=sign, text=value)


@pytest.mark.parametrize("text", ["exp1", "exp*", "@group", "=3", ""])
def test_what_is_no_comparison_is_a_job(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        (["lr=0.1"], ["exp1"]),
        (["lr=1e-1"], ["exp1"]),
        (["lr=1"], ["exp2"]),
        (["lr=1.0"], ["exp2"]),
        (["lr!=1"], ["exp1", "other3"]),
        (["lr<0.1"], ["other3"]),
        (["lr>0.01", "lr<1"], ["exp1"]),
        (["lr>=0.1"], ["exp1", "exp2"]),
        (["lr<=0.1", "amp=false"], ["other3"]),
        (["amp=true"], ["exp1"]),
        (["amp=1"], []),
        (["model=bert"], ["exp1"]),
        (["model~bert"], ["exp1", "exp2"]),
        (["model!~large"], ["exp1", "other3"]),
        (["model=null"], ["other3"]),
        (["model>bert"], ["exp2"]),
        (["lr>bert"], []),
        (["seed=012"], ["exp2"]),
        (["tags=a"], ["exp1"]),
        (["tags=[a, b]"], ["exp1"]),
        (["gpus=1"], ["exp1"]),
        (["acc>0.6"], ["exp1"]),
        (["val/acc>0"], []),
        (["val/acc=nan"], ["other3"]),
        (["outcome~exit code"], ["exp2"]),
        (["succeeded=true", "acc<0.6"], ["exp2"]),
        (["exp1"], ["exp1"]),
        (["exp*"], ["exp1", "exp2"]),
        (["2", "other3"], ["exp2", "other3"]),
        (["@g"], ["other3"]),
        (["exp*", "lr=1"], ["exp2"]),
        ([], ["exp1", "exp2", "other3"]),
    ],
)
def test_runs_are_found(terms: list[str], found: list[str]) -> None:
    assert [each.job for each in matching(RUNS, terms)] == found


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (["model~("], "not a regular expression"),
        (["nothing"], "no run is recorded of a job 'nothing'"),
        (["shwo"], "did you mean `rfsched results show`?"),
        (["mdel=1"], "did you mean model"),
        (["mdel=1", "nothing"], "'nothing'"),
    ],
)
def test_what_cannot_be_understood_is_said(terms: list[str], words: str) -> None:
    with pytest.raises(UsageError) as error:
        matching(RUNS, terms, commands=["show", "diff"])
    assert words in str(error.value)
