"""The wake FIFO, with real selectors."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters.wake import WakeReader, ensure, wake


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "wake")


@pytest.fixture
def reader(path: str) -> Iterator[WakeReader]:
    reader = WakeReader(path)
    yield reader
    reader.close()


def readable(reader: WakeReader) -> bool:
    return bool(select.select([reader], [], [], 0)[0])


def test_a_poke_is_seen_once(reader: WakeReader, path: str) -> None:
    assert reader.works
    assert not readable(reader)
    assert wake(path)
    assert wake(path)
    assert readable(reader)
    assert reader.drain()
    assert not readable(reader)  # although every writer has gone away
    assert not reader.drain()


def test_a_full_fifo_is_awake_enough(reader: WakeReader, path: str) -> None:
    for _ in range(70_000):
        assert wake(path)
    assert reader.drain()
    assert not readable(reader)


def test_nobody_to_wake(path: str) -> None:
    assert not wake(path)
    assert ensure(path)
    assert ensure(path)
    assert not wake(path)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_fifo_that_is_none(path: str) -> None:
    Path(path).write_text("keep me")
    assert not ensure(path)
    assert not wake(path)
    reader = WakeReader(path)
    assert not reader.works
    assert not readable(reader)
    assert not reader.drain()
    reader.close()
    assert Path(path).read_text() == "keep me"


def test_no_directory_no_fifo(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "wake")
    assert not ensure(missing)
    reader = WakeReader(missing)
    assert not reader.works
    reader.close()
    reader.close()


def test_the_descriptor_is_not_inherited(reader: WakeReader) -> None:
    assert not os.get_inheritable(reader.fileno())
