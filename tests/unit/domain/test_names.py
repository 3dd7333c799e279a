"""Names that tmux takes, and that stay apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.domain.names import MAX_SLUG, clean, gpu_suffix, session_name, short_hash

ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# As they come from file names and arguments: bytes that are no UTF-8 are lone surrogates in Python.
NAMES = st.binary(min_size=1, max_size=150).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
CONFUSABLE = st.text(alphabet="ab._:-= é", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("exp_1", "exp_1"),
        ("a-b", "a-b"),
        ("x" * 100, "x" * 100),
        ("a.b", f"a_b_{short_hash('a.b')}"),
        ("a:b", f"a_b_{short_hash('a:b')}"),
        ("-x", f"j-x_{short_hash('-x')}"),
        ("_x", f"j_x_{short_hash('_x')}"),
        ("...", f"job_{short_hash('...')}"),
        ("", f"job_{short_hash('')}"),
        ("x" * 101, f"{'x' * 93}_{short_hash('x' * 101)}"),
    ],
)
def test_cleaned(name: str, cleaned: str) -> None:
    assert clean(name) == cleaned


@given(NAMES | CONFUSABLE, st.sampled_from([20, 93, MAX_SLUG]))
def test_always_allowed_and_never_too_long(name: str, limit: int) -> None:
    found = clean(name, limit)
    assert ALLOWED.fullmatch(found)
    assert len(found) <= limit


@settings(derandomize=True)  # six hex digits: one set in a million would collide
@given(st.sets(CONFUSABLE, max_size=30))
def test_names_that_look_alike_stay_apart(names: set[str]) -> None:
    assert len({clean(name) for name in names}) == len(names)


@given(NAMES)
def test_cleaning_twice_is_cleaning_once(name: str) -> None:
    assert clean(clean(name)) == clean(name)


@pytest.mark.parametrize(
    ("indices", "expected"), [((0,), "t_exp_gpu0"), ((0, 3), "t_exp_gpu0-3"), ((), "t_exp_cpu"), ((12,), "t_exp_gpu12")]
)
def test_session_names(indices: tuple[int, ...], expected: str) -> None:
    assert session_name("t", "exp", indices) == expected
    assert expected.endswith(gpu_suffix(indices))
