"""What a job reports or prints about how far it is, read little by little."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.job_progress import MOST_BYTES, Followed, begun, fraction_of, look


class Watched:
    """An attempt's two files."""

    def __init__(self, root: Path) -> None:
        self.report, self.log = root / "progress.json", root / "job.log"
        self.followed = begun()
        self.at_s = 1_000_000

    def look(self) -> bool:
        return look(self.followed, str(self.report), str(self.log))

    def prints(self, text: str) -> bool:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)
        return self._later(self.log)

    def reports(self, text: str) -> bool:
        self.report.write_text(text)
        return self._later(self.report)

    def _later(self, path: Path) -> bool:
        self.at_s += 10
        os.utime(path, (self.at_s, self.at_s))
        return self.look()

    @property
    def fraction(self) -> float | None:
        return self.followed.track.shown


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_what_was_not_written_is_not_known(watched: Watched) -> None:
    assert not watched.look()
    assert watched.fraction is None
    assert not look(watched.followed, str(watched.report), None)


def test_reports_are_read_once_each(watched: Watched) -> None:
    assert watched.reports('{"fraction": 0.1}')
    assert not watched.look()
    assert watched.reports('{"done": 3, "total": 10}')
    assert (watched.followed.track.source, watched.fraction) == ("progress", 0.3)
    assert watched.followed.track.steps == [(0.2, 10.0)]


def test_what_is_reported_takes_the_place_of_what_is_printed(watched: Watched) -> None:
    assert watched.prints("step 5/10\n")
    assert (watched.followed.track.source, watched.fraction) == ("log", 0.5)
    assert watched.reports("0.2")
    assert (watched.followed.track.source, watched.fraction) == ("progress", 0.2)
    assert not watched.prints("step 9/10\n")
    assert watched.fraction == 0.2


def test_a_log_is_read_as_it_grows_with_lines_that_are_whole(watched: Watched) -> None:
    assert watched.prints("Epoch 1/4\r\nstep 1/")
    assert watched.fraction == 0.0
    assert watched.prints("2\n")
    assert watched.fraction == 0.125
    assert watched.prints("\r 75%|███  | 3/4 [00:01<00:00]\r")
    assert watched.fraction == 0.1875


def test_of_a_flood_only_the_end_is_read(watched: Watched) -> None:
    flood = "".join(f"step {number}/100000\n" for number in range(50_000))
    assert len(flood) > 10 * MOST_BYTES
    assert watched.prints(flood)
    assert watched.fraction == pytest.approx(0.49999)


def test_an_epoch_is_not_missed_in_a_flood_of_its_steps(watched: Watched) -> None:
    steps = "".join(f"step {number}/100\r" for number in range(100))
    assert len(steps) < MOST_BYTES
    assert watched.prints(f"Epoch 2/4\n{steps}\n")
    assert watched.fraction == pytest.approx(0.4975)


def test_a_line_without_end_does_not_stop_it(watched: Watched) -> None:
    watched.prints("x" * (3 * MOST_BYTES))
    watched.prints("y" * MOST_BYTES)
    assert watched.prints("\nstep 1/4\n")
    assert watched.fraction == 0.25


def test_another_file_under_the_same_name_is_read_from_its_begin(watched: Watched) -> None:
    watched.prints("step 1/4\nmore words than the next file has, to be sure of it\n")
    watched.log.unlink()
    assert watched.prints("step 2/4\n")
    assert watched.fraction == 0.5


def test_reading_goes_on_after_a_restart_of_the_scheduler(watched: Watched) -> None:
    import msgspec

    watched.prints("Epoch 2/4\n")
    watched.followed = msgspec.json.decode(msgspec.json.encode(watched.followed), type=Followed)
    assert watched.prints("step 1/2\n")
    assert watched.fraction == 0.375


@pytest.mark.parametrize(
    "text",
    ["", "x", "null", "[]", '{"fraction": "a"}', "true", '{"fraction": 2}', "NaN", "1e999", '{"done": 1, "total": 0}'],
)
def test_what_is_no_progress_is_not_believed(watched: Watched, text: str) -> None:
    assert not watched.reports(text)
    assert watched.fraction is None


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=5).map(lambda it: json.dumps(it).encode())
)
def test_no_report_breaks_it(report: bytes) -> None:
    found = fraction_of(report)
    assert found is None or 0.0 <= found <= 1.0
