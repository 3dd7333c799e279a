"""How far a job is, by what it prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.policies.prediction.log_lines import Printed


def fraction(*lines: str) -> float | None:
    printed = Printed()
    for line in lines:
        printed.line(line)
    return printed.fraction


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([" 45%|████▌     | 450/1000 [00:30<00:37, 14.80it/s]"], 0.45),
        (["train:  45%|####5     | 450/1000 [00:30<00:37, 14.80it/s, loss=0.3]"], 0.45),
        (["  0%|          | 0/1000 [00:00<?, ?it/s]"], 0.0),
        (["Epoch 3/10"], 0.2),
        (["Epoch 3/10 - loss: 0.5 - accuracy: 0.8"], 0.3),
        (["Epoch [3/10], Step [50/100], Loss: 0.123"], 0.25),
        (["epoch 3 of 10", "[50/100] loss 0.1"], 0.25),
        (["Epoch 3/10", " 50%|█████     | 5/10 [00:30<00:30, 1.0it/s]"], 0.25),
        (["Epoch 3/10:  50%|█████     | 5/10 [00:30<00:30, 1.0it/s]"], 0.25),
        (["Epoch 3/10 loss 0.1", "step 1/10"], 0.21),
        (["Epoch: 0/4", "Epoch: 1/4"], 0.25),
        (["step 7/70"], 0.1),
        (["Iteration 30 of 60"], 0.5),
        (["[ 25/100] compiling"], 0.25),
        (["Training ━━━━━━━━━━━━╸━━━━━━━  60% 0:00:12"], 0.6),
        (["375/375 [==============================] - 2s"], None),
        (["\x1b[32mEpoch 1/2\x1b[0m"], 0.0),
        (["loaded 3/4 of the files on 2026/01/31"], None),
        (["loss 0.25 at 1e-3"], None),
        (["Epoch 11/10"], None),
        (["step 0/0"], None),
        (["Epoch 3/10", "Epoch 4/10", "100%|██████████| 5/5 [00:01<00:00]"], 0.4),
    ],
)  # fmt: skip
def test_lines_as_programs_print_them(lines: list[str], expected: float | None) -> None:
    found = fraction(*lines)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_new_epoch_forgets_the_bar_of_the_last_one() -> None:
    bar = "100%|██████████| 10/10 [00:30<00:00, 1.0it/s]"
    assert fraction("Epoch 1/2", bar) == 0.5
    assert fraction("Epoch 1/2", bar, "Epoch 2/2") == 0.5


def test_a_long_line_costs_no_more_than_its_end() -> None:
    assert fraction("x" * 1_000_000 + " step 5/10") == 0.5


@given(st.lists(st.text(max_size=300), max_size=5))
def test_no_text_breaks_it(lines: list[str]) -> None:
    found = fraction(*lines)
    assert found is None or 0.0 <= found <= 1.0


PARTS = st.sampled_from(
    [
        *(
            "epoch",
            "Epoch ",
            "step",
            "[",
            "]",
            "/",
            " of ",
            "%|",
            "|",
            "███",
            " [",
            "0",
            "7",
            "12",
            "999999999999",
            "loss",
        ),
        *("\x1b[2K", "\r", " ", ":", "━━━━━━", "-1", "1/1", "0/0", "3/2"),
    ]
)


@given(st.lists(st.lists(PARTS, max_size=30).map("".join), max_size=8))
def test_no_line_of_the_right_words_breaks_it(lines: list[str]) -> None:
    found = fraction(*lines)
    assert found is None or 0.0 <= found <= 1.0
