"""What a decision said of a job, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from researchflow_tmux.api.deciding import words
from researchflow_tmux.domain.decisions import Considered, Decision

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def one(answer: str, **fields: Any) -> Considered:
    return Considered(**{"id": 1, "name": "a", "key": (0, False, 1.0, 0.0, 1), "gpus": 2, "answer": answer, **fields})


@pytest.mark.parametrize(
    ("considered", "said"),
    [
        (one("started", asked=True, on=(0, 3)), "started on GPUs 0, 3"),
        (one("started", asked=True, gpus=0), "started"),
        (one("started", asked=True, on=(1,), lane=True), "started on GPU 1, urgent: before its turn to make its"),
        (one("started", asked=True, on=(1,), early=True), "started on GPU 1, before its turn while there was room"),
        (one("threshold", asked=True, text="GPU 0: 3 GiB"), "not started: no GPU has room: GPU 0: 3 GiB"),
        (one("backoff", asked=True), "not started: waits before the next try"),
        (one("reserved"), "first in line: 2 GPUs are kept for it from about "),
        (one("reserved", gpus=1), "first in line: 1 GPU is kept for it from about "),
        (one("capacity"), "no room for 2 GPUs"),
        (one("capacity", gpus=0), "no place for a CPU job"),
        (one("would_delay"), "would delay wide"),
        (one("drain"), "wide was put off too long, so nothing without a time limit passes"),
        (one("cap", project="p"), "project p or its user has as much as it may"),
        (one("cap"), "its user or project has as much as it may"),
        (one("something_new"), "not started: something_new"),
    ],
)
def test_what_a_decision_said(considered: Considered, said: str) -> None:
    wide = one("reserved", id=2, name="wide")
    decision = Decision(
        at=NOW, policy="balanced", waiting=2, considered=(wide, considered), reserved=2, shadow_s=NOW.timestamp()
    )
    assert words(decision, considered).startswith(said)
