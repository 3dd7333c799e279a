"""Lines of metrics, from well-formed to torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from researchflow_tmux.records.metrics import CHUNK, Series, read_metrics, summaries


def series(steps: list[float], values: list[float]) -> Series:
    return Series(steps=steps, values=values)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"name": "acc", "value": 0.9, "step": 10}\n', {"acc": series([10], [0.9])}),
        ('{"acc": 0.9, "loss": 1, "step": 2, "at": "x"}\n', {"acc": series([2], [0.9]), "loss": series([2], [1])}),
        ('{"acc": 1}\n{"acc": 2}', {"acc": series([0, 1], [1, 2])}),
        ('{"acc": 1}\n{"acc": 2, "st', {"acc": series([0], [1])}),
        ('epoch 1\n\n[1]\n3\n{"acc": true, "x": "y"}\n{"acc": 1}\n', {"acc": series([0], [1])}),
        ('{"acc": 1, "step": null}\n', {"acc": series([0], [1])}),
        ('{"acc": NaN}\n{"acc": 2}\n', {"acc": series([1], [2])}),
        ('{"name": "acc", "value": "nan"}\n', {"acc": series([], [])}),
        ("", {}),
        ("\xff\xfe\n", {}),
    ],
)
def test_a_file_of_metrics(text: str, found: dict[str, Series], tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text.encode("latin-1"))
    assert read_metrics(str(path)) == found


def test_no_file_is_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path / "none")) == {}
    assert summaries(str(tmp_path)) == {}


def test_four_figures_of_a_metric(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": 3}\n{"loss": 1}\n{"loss": 2}\n')
    assert summaries(str(path))["loss"].range() == {"last": 2, "min": 1, "max": 3, "count": 3}


def test_a_training_that_diverged_does_not_look_good(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": 0.5}\n{"loss": NaN}\n')
    assert summaries(str(path))["loss"].range() == {"last": "nan", "min": 0.5, "max": 0.5, "count": 2}


def test_lines_across_the_pieces_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    count = CHUNK // 8
    path.write_text("".join(f'{{"loss": {number}, "step": {number}}}\n' for number in range(count)))
    assert read_metrics(str(path))["loss"].values == [float(number) for number in range(count)]
