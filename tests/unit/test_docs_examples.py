"""The reader of examples itself: it must not let a wrong page through."""

from __future__ import annotations

import textwrap

import pytest

from tests.acceptance.test_docs import missing, plain, read


def page(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_commands_and_their_output_are_told_apart() -> None:
    steps = read(
        page(
            """
            ```console
            $ rfsched why a
            a (job 1) waiting
              python train.py
            $ false
            $ echo $?
            1
            ```
            """
        )
    ).steps
    assert [step.command for step in steps] == ["rfsched why a", "false", "echo $?"]
    assert steps[0].shown == ["a (job 1) waiting", "  python train.py"]
    assert [step.may_fail for step in steps] == [False, True, False]


def test_comments_say_what_is_not_run_and_what_becomes_a_file() -> None:
    found = read(
        page(
            """
            <!-- run
            cd hidden
            -->
            <!-- not run: needs conda -->
            ```bash
            conda activate x
            ```
            <!-- file: configs/a.yml -->
            ```yaml
            lr: 0.1
            ```
            ```yaml
            only: shown
            ```
            """
        )
    )
    assert found.steps[0].command == "cd hidden"
    assert "lr: 0.1" in found.steps[1].command
    assert len(found.steps) == 2
    assert found.reasons == ["needs conda"]


def test_a_block_in_a_list_is_found() -> None:
    assert [step.command for step in read("1. First:\n\n   ```bash\n   echo a\n   ```\n").steps] == ["echo a"]


def test_a_comment_counts_only_directly_before_its_block() -> None:
    assert read("<!-- not run: no -->\n\ntext\n\n```bash\ntrue\n```\n").steps


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a  1", "b"], ["a 1", "", "b"]),
        (["x", "…", "z"], ["x", "y", "z"]),
        (["took … here"], ["took very long here"]),
        (["up since 10:00:00 (5 s)"], ["up since 23:59:59 (0:17 min)"]),
        ([], ["anything"]),
    ],
)
def test_output_that_is_as_shown(shown: list[str], printed: list[str]) -> None:
    assert missing(shown, printed) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["5 succeeded"], ["4 succeeded"]),
        (["a", "b"], ["b", "a"]),
        (["a", "c"], ["a", "b", "c"]),
        (["a"], []),
    ],
)
def test_output_that_is_not_as_shown(shown: list[str], printed: list[str]) -> None:
    assert missing(shown, printed) is not None


def test_numbers_that_matter_are_compared() -> None:
    assert plain("3 running, attempt 2, exit code 7") == "3 running, attempt 2, exit code 7"
