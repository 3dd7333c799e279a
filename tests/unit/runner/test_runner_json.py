"""The small JSON reader and writer must agree with the standard one."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.runner import jsontext
from tests.unit.runner.runner_harness import PYTHON

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back_by_both(value: object) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value
    assert json.loads(jsontext.dumps(value)) == value
    assert jsontext.loads(json.dumps(value, indent=1)) == value


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', '{"a": 1} x', "nonsense", '"\n"', "[" * 100_000])
def test_anything_else_is_none(text: str) -> None:
    assert jsontext.load_dict(text.encode()) is None


def test_broken_text_is_an_error_in_an_interpreter_without_json_too() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from researchflow_tmux.runner import jsontext\n"
        "print([jsontext.load_dict(t) for t in (b'{', b'{\"a\": 1', b'\"', b'{\"a\": \"\\x01\"}', b'\\xff', b'')])"
    )
    import researchflow_tmux

    root = researchflow_tmux.__path__[0] + "/.."
    done = subprocess.run([PYTHON, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([None] * 6)
