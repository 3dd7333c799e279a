"""Rounds beside the loop: poked, told once when they fail, and ended with a last one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from researchflow_tmux.adapters.rounds import Round, Rounds
from tests.support import eventually


class Work:
    """Counts rounds; those of `failing` raise."""

    def __init__(self, *failing: int) -> None:
        self.failing, self.rounds, self.told = failing, 0, list[str]()
        self.threads: set[int] = set()
        self.closed = 0
        self.rounds_of = Rounds(
            "work", self.opened, tell=self.told.append, broken="broken", again="again", pause_s=0.0, retry_s=0.01
        )

    @contextmanager
    def opened(self) -> Iterator[Round]:
        """Entered in the thread."""
        yield self.round
        self.closed += 1

    def did(self, number: int) -> bool:
        """Whether there were so many rounds."""
        return self.rounds >= number

    def round(self) -> None:
        """One round."""
        self.rounds += 1
        self.threads.add(threading.get_ident())
        if self.rounds in self.failing:
            raise OSError("disk full") if self.rounds % 2 else ValueError("odd")


def test_each_poke_is_followed_by_a_round_in_one_other_thread() -> None:
    work = Work()
    for number in range(1, 4):
        work.rounds_of.poke()
        eventually(partial(work.did, number))
    work.rounds_of.close(5.0)
    assert work.closed == 1
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads
    assert work.told == []


def test_without_a_poke_there_is_no_round() -> None:
    work = Work()
    work.rounds_of.close(5.0)
    assert (work.rounds, work.closed) == (0, 0)


def test_trouble_and_its_end_are_told_once() -> None:
    work = Work(1, 2, 3)
    work.rounds_of.poke()
    eventually(lambda: work.told[1:] == ["again"])
    work.rounds_of.close(5.0)
    assert work.told == ["broken: disk full; it is tried again every 0.01 s", "again"]


def test_what_is_not_understood_is_told_with_its_kind() -> None:
    work = Work(2)
    work.rounds_of.poke()
    eventually(lambda: work.rounds == 1)
    work.rounds_of.poke()
    eventually(lambda: work.told[1:] == ["again"])
    work.rounds_of.close(5.0)
    assert work.told[0].startswith("broken: ValueError: odd")


def test_an_end_right_after_a_poke_never_waits_for_another_one() -> None:
    for _ in range(200):
        work = Work()
        work.rounds_of.poke()
        work.rounds_of.close(5.0)
        assert work.closed == 1
        assert work.rounds >= 1
