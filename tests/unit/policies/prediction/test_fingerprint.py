"""Which jobs are alike."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from researchflow_tmux.policies.prediction.fingerprint import KINDS, fingerprint, normalised
from tests.unit.policies.prediction.samples import spec


def nearest(left: str, right: str) -> str:
    """The kind of the nearest level that two commands have in common."""
    pairs = zip(fingerprint(spec(left)).levels(), fingerprint(spec(right)).levels(), strict=True)
    return str(next(one[0] for one, other in pairs if one == other))


@dataclass
class Case:
    left: str
    right: str
    kind: str


@pytest.mark.parametrize(
    "case",
    [
        Case("python train.py --lr 0.1", "python3 -u train.py --lr=0.1", "arguments"),
        Case("python train.py --a 1 --b 2", "python train.py --b 2 --a 1", "arguments"),
        Case("python train.py --seed 1", "python train.py --seed 2", "arguments"),
        Case("python train.py --output-dir a --epochs 3", "python train.py --output-dir b --epochs 3", "arguments"),
        Case("python train.py --x /tmp/a1", "python train.py --x /tmp/b2", "arguments"),
        Case("python train.py --epochs 1", "python train.py --epochs 2", "script"),
        Case("python train.py configs/a.yml", "python train.py configs/b.yml", "script"),
        Case("python -m pkg.train 1", "torchrun -m pkg.train 2", "script"),
        Case("A=1 ./run 5", "./run 6", "script"),
        Case("python train.py", "python eval.py", "user"),
        Case("python train.py --shift -1", "python train.py --shift -2", "script"),
    ],
)
def test_the_nearest_level_two_jobs_share(case: Case) -> None:
    assert nearest(case.left, case.right) == case.kind
    assert nearest(case.right, case.left) == case.kind


def test_gpus_and_shares_count_until_they_are_dropped() -> None:
    one, two, half = (
        fingerprint(spec(gpus=gpus, share=share)).levels() for gpus, share in ((1, None), (2, None), (1, 0.5))
    )
    for other in (two, half):
        assert [left == right for left, right in zip(one, other, strict=True)] == [False, False, True, True, True]
    cpu = fingerprint(spec(gpus=0))
    assert cpu.hardware == "cpu"


def test_users_do_not_speak_for_each_other_except_together() -> None:
    pairs = zip(fingerprint(spec(project="a")).levels(), fingerprint(spec(project="b")).levels(), strict=True)
    assert [left == right for left, right in pairs] == [False] * 4 + [True]


def test_shell_lines_are_read_like_commands() -> None:
    plain = fingerprint(spec("python train.py --lr 0.1"))
    assert fingerprint(spec(shell="cd /data && python train.py --lr '0.1'  # the second try")) == plain
    wrapped = msgspec.structs.replace(spec(), argv=("bash", "-lc", "python train.py --lr 0.1"))
    assert fingerprint(wrapped) == plain
    assert fingerprint(spec(shell="echo 'open")).script == "echo"


def test_no_argument_is_kept_in_clear() -> None:
    assert "hunter2" not in repr(fingerprint(spec("python train.py --token hunter2")))


def test_calls_go_by_the_name_of_their_function() -> None:
    call = msgspec.structs.replace(spec("python called.py a"), source="function", name="fit")
    other = msgspec.structs.replace(spec("python called.py b"), source="function", name="score")
    assert fingerprint(call).script == "fit"
    assert fingerprint(other).levels()[1] != fingerprint(call).levels()[1]


def test_an_empty_command_has_a_fingerprint() -> None:
    assert fingerprint(spec(shell="  ")).script == ""
    assert len(fingerprint(spec(shell="#")).levels()) == len(KINDS)


def test_what_is_random_in_arguments_does_not_count() -> None:
    assert normalised(["--x", "run-3fa85f64-5717-4562-b3fc-2c963f66afa6"]) == ["--x=run-#", "--"]
    assert normalised(["2026-01-31_12-00", "plain", "-v"]) == ["-v=", "--", "#", "plain"]
