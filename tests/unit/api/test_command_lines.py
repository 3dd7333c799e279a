"""Commands one a line, with what `#@` lines ask for."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.api.command_lines import read
from researchflow_tmux.api.drafting import Wish
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.limits import GpuLimits

TEXT = b"""\
## what all have
#@@ priority=3 env.A=1
python a.py

#@ gpus=2 gpu_memory=12GiB time_limit=90m name=b max_util=50
#@ env.B=2 env.A=0 after=a,c
python b.py   # not a comment for us
# python done.py
! python running.py
"""


def test_lines_ask_for_themselves_over_what_is_wished_for_all() -> None:
    found = read(TEXT)
    assert [each.text for each in found.commands] == ["python a.py", "python b.py   # not a comment for us"]
    assert found.marked == 2
    wish = Wish(gpus=0, group="g", env={"A": "x", "C": "3"}, priority=1)
    assert found.commands[0].wish(wish) == Wish(gpus=0, group="g", env={"A": "1", "C": "3"}, priority=3)
    assert found.commands[1].wish(wish) == Wish(
        name="b",
        gpus=2,
        gpu_memory_mib=12 * 1024,
        limits=GpuLimits(max_util_pct=50),
        time_limit_s=5400.0,
        after=("a", "c"),
        group="g",
        env={"A": "0", "B": "2", "C": "3"},
        priority=3,
    )


def test_a_line_may_say_the_default_against_a_wish() -> None:
    [command] = read(b"#@ gpus=1 priority=0 preemptible=false\ntrue\n").commands
    assert command.wish(Wish(gpus=0, priority=9, preemptible=True)) == Wish(gpus=1, priority=0, preemptible=False)


def test_a_deadline_in_a_line_is_a_moment() -> None:
    [command] = read(b"#@ deadline=2026-12-01T18:00Z\ntrue\n").commands
    assert command.wish(Wish()).deadline == datetime(2026, 12, 1, 18, tzinfo=UTC)


def test_every_line_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read(b"#@ gpsu=2\ntrue\na\0b\necho \xff\n#@ completion=marker\ntrue\n#@ gpus=1\n")
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        ("standard input", line) for line in (1, 3, 4, 6, 7)
    ]


@given(st.binary(max_size=80) | st.text("#@! =\n\\agpus012", max_size=60).map(str.encode))
def test_any_bytes_are_commands_or_an_error_in_words(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        for command in read(data).commands:
            command.wish(Wish())
