"""Short names of values."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.ranking import best, differing, metric_names, ordered
from tests.unit.records.samples import run

NESTED = {"training": {"learning_rate": 0.1, "seed": 1}, "data": {"seed": 2, "host": "x"}, "acc": 7, "a.b": 1}
KEYS = Keys([run(config=NESTED, metrics={"loss": 1.0, "val.acc": 2.0, "val/f1": 3.0}, host="h", git={"commit": "c"})])


@pytest.mark.parametrize(
    ("key", "whole"),
    [
        ("training.learning_rate", "config.training.learning_rate"),
        ("learning_rate", "config.training.learning_rate"),
        ("config.training.learning_rate", "config.training.learning_rate"),
        ("metadata.config.training.seed", "config.training.seed"),
        ("acc", "config.acc"),
        ("metrics.val.acc", "metrics.val.acc"),
        ("val.acc", "metrics.val.acc"),
        ("val/f1", "metrics.val/f1"),
        ("loss.min", "metrics.loss.min"),
        ("extra_info.metrics.loss", "metrics.loss"),
        ("host", "run.host"),
        ("data.host", "config.data.host"),
        ("run.host", "run.host"),
        ("extra_info.host", "run.host"),
        ("metadata.job", "run.job"),
        ("commit", "run.git.commit"),
        ("git.commit", "run.git.commit"),
        ("a.b", "config.a.b"),
    ],
)
def test_a_name_is_found_in_the_config_then_the_metrics_then_the_rest(key: str, whole: str) -> None:
    assert KEYS.find(key) == whole


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("seed", "'seed' is ambiguous: training.seed, data.seed"),
        ("learning_rat", "did you mean learning_rate"),
        ("zzzzzz", "there are training.learning_rate"),
    ],
)
def test_a_name_that_means_nothing_or_too_much_is_refused(key: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        KEYS.find(key)
    assert words in str(error.value)


def test_a_short_name_leads_back() -> None:
    for whole in [*KEYS.all("config"), *KEYS.all("metrics"), *KEYS.all("run")]:
        assert KEYS.find(KEYS.short(whole)) == whole
    assert KEYS.short("config.training.learning_rate") == "learning_rate"
    assert KEYS.short("config.data.seed") == "data.seed"


def test_an_unknown_metric_says_which_there_are() -> None:
    assert KEYS.metric("acc") == "val.acc"
    with pytest.raises(UsageError) as error:
        KEYS.metric("accuracy")
    assert "there are loss, val.acc, val/f1" in str(error.value)
    with pytest.raises(UsageError) as error:
        Keys([run()]).metric("loss")
    assert "RFSCHED_METRICS" in str(error.value)


RUNS = [
    run("exp1", config={"lr": 0.1, "out": "out/exp1", "rfsched": {"gpus": 1}}, metrics={"acc": 0.5}),
    run("exp2", config={"lr": 0.2, "out": "out/exp2", "rfsched": {"gpus": 2}}, metrics={"acc": 0.9, "loss": "nan"}),
    run("exp3", config={"lr": 0.2, "out": "out/exp3", "same": 1}, metrics={}),
]


@pytest.mark.parametrize(
    ("key", "jobs"),
    [("acc", ["exp1", "exp2", "exp3"]), ("-acc", ["exp2", "exp1", "exp3"]), ("-job", ["exp3", "exp2", "exp1"])],
)
def test_order_by_a_value_with_missing_ones_last(key: str, jobs: list[str]) -> None:
    assert [each.job for each in ordered(RUNS, key, Keys(RUNS))] == jobs


@pytest.mark.parametrize(("key", "jobs"), [("acc", ["exp2", "exp1"]), ("-acc", ["exp1", "exp2"]), ("loss", [])])
def test_the_best_has_a_number(key: str, jobs: list[str]) -> None:
    assert [each.job for each in best(RUNS, key, Keys(RUNS))] == jobs


def test_columns_are_what_differs() -> None:
    assert differing(RUNS[:2], Keys(RUNS)) == ["config.lr"]
    assert differing(RUNS, Keys(RUNS)) == ["config.lr", "config.same"]
    assert metric_names(RUNS) == ["metrics.acc", "metrics.loss"]
