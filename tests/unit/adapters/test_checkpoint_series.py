"""Where a job's checkpoints are, and which one its next attempt is given."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters import checkpoint_series
from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.adapters.checkpoint_series import Series, place_of
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.job import names
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import FILE
from researchflow_tmux.job.store import Part, Saved
from researchflow_tmux.runner import record
from tests.support import eventually
from tests.tmux_fixtures import make_job, plan

MINE = "ws1/1.1"


def bench(root: Path, checkpoint_dir: str = "checkpoints") -> Bench:
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    return Bench(workspace_id="ws1", paths=paths, settings=Settings(task_name="t", checkpoint_dir=checkpoint_dir))


@pytest.fixture
def made(tmp_path: Path) -> Bench:
    return bench(tmp_path)


@pytest.fixture
def series(made: Bench) -> Iterator[Series]:
    opened = Series(made)
    yield opened
    opened.close()


@pytest.fixture
def job() -> Job:
    return replace(make_job(1, "exit 0"), attempts=1)


def second(job: Job) -> Attempt:
    return replace(plan(job), number=2)


def save(place: str, step: int, attempt: str = MINE) -> Saved:
    parts = [Part("model.bin", lambda: iter([b"weights"]))]
    return LocalStore(place).write(parts, step=step, attempt=attempt)


def ended(made: Bench, number: int, started_at: float | None, ended_at: float) -> None:
    """The exit record of an attempt."""
    directory = made.paths.attempt_dir(1, number)
    os.makedirs(directory)
    fd = record.preallocate(record.path(directory))
    record.write(fd, {"started_at": started_at, "ended_at": ended_at})
    os.close(fd)


def test_a_place_for_each_job_and_each_series(made: Bench, job: Job, tmp_path: Path) -> None:
    assert place_of(made, job) == f"{tmp_path}/checkpoints/{job.slug}"
    assert place_of(made, replace(job, succeeded_attempt=2)) == f"{tmp_path}/checkpoints/{job.slug}_after_a2"


def test_places_that_workspaces_may_share_carry_a_hash(job: Job, tmp_path: Path) -> None:
    for directory in ("/data/checkpoints", "s3://bucket/x/"):
        inside = bench(tmp_path, checkpoint_dir=directory)
        place = place_of(inside, job)
        assert place.startswith(f"{directory.rstrip('/')}/{job.slug}_")
        assert place != place_of(replace(inside, workspace_id="ws2"), job)


def test_the_first_attempt_is_given_none(series: Series, made: Bench, job: Job) -> None:
    attempt, warnings = series.continued(plan(job), job)
    assert (attempt.checkpoints, attempt.resumed_from, attempt.resumed_step) == (place_of(made, job), None, None)
    assert warnings == []
    assert not os.path.exists(place_of(made, job)), "only who saves makes it"


def test_the_next_one_is_given_the_newest_and_the_work_that_is_lost(series: Series, made: Bench, job: Job) -> None:
    place = place_of(made, job)
    save(place, 100)
    saved = save(place, 200)
    now = time.time()
    ended(made, 1, now - 500, now + 38)
    attempt, warnings = series.continued(second(job), job)
    assert (attempt.resumed_step, attempt.resumed_from, warnings) == (200, saved.place, [])
    assert attempt.lost_s == pytest.approx(38, abs=2)


def test_an_attempt_that_began_with_the_same_checkpoint_lost_only_its_own_time(
    series: Series, made: Bench, job: Job
) -> None:
    save(place_of(made, job), 100)
    now = time.time()
    ended(made, 1, now - 500, now + 10)
    ended(made, 2, now + 1000, now + 1020)
    ended(made, 3, None, now + 1100)  # its slot was taken: it never ran
    attempt, _ = series.continued(replace(plan(job), number=4), job)
    assert attempt.lost_s == pytest.approx(20)


def test_what_a_lost_attempt_lost_is_unknown(series: Series, made: Bench, job: Job) -> None:
    save(place_of(made, job), 100)
    attempt, _ = series.continued(second(job), job)
    assert (attempt.resumed_step, attempt.lost_s) == (100, None)


def test_a_damaged_one_is_passed_over_with_a_warning(series: Series, made: Bench, job: Job) -> None:
    place = place_of(made, job)
    sound, torn = save(place, 100), save(place, 200)
    Path(torn.place, "model.bin").write_bytes(b"weigh")
    os.makedirs(f"{place}/.draft-host-1-abc")  # and what a killed writer left is none at all
    attempt, warnings = series.continued(second(job), job)
    assert attempt.resumed_from == sound.place
    assert len(warnings) == 1
    assert torn.name in warnings[0]
    assert "passed over" in warnings[0]


def test_all_damaged_is_said_and_the_job_is_given_none(series: Series, made: Bench, job: Job) -> None:
    Path(save(place_of(made, job), 100).place, FILE).unlink()
    attempt, warnings = series.continued(second(job), job)
    assert attempt.resumed_from is None
    assert "none of the 1 checkpoints" in warnings[0]


def test_a_rerun_of_finished_work_begins_afresh(series: Series, made: Bench, job: Job) -> None:
    save(place_of(made, job), 100)
    attempt, _ = series.continued(second(job), replace(job, succeeded_attempt=1))
    assert attempt.resumed_from is None


def test_those_of_a_removed_job_of_that_name_are_not_taken(series: Series, made: Bench, job: Job) -> None:
    place = place_of(made, job)
    save(place, 100, attempt="ws1/77.1")
    attempt, warnings = series.continued(plan(job), job)
    assert (attempt.checkpoints, attempt.resumed_from) == (f"{place}_job1", None)
    assert "those of another job" in warnings[0]
    saved = save(f"{place}_job1", 5)
    attempt, warnings = series.continued(second(job), job)
    assert (attempt.resumed_from, warnings) == (saved.place, [])


def test_those_put_there_by_hand_are_taken(series: Series, made: Bench, job: Job) -> None:
    saved = save(place_of(made, job), 100, attempt="")
    assert series.continued(plan(job), job)[0].resumed_from == saved.place


def test_at_a_url_only_the_job_looks(job: Job, tmp_path: Path) -> None:
    series = Series(bench(tmp_path, checkpoint_dir="s3://bucket/x"))
    attempt, warnings = series.continued(second(job), job)
    assert (attempt.resumed_from, warnings) == (None, [])
    assert (attempt.checkpoints or "").startswith("s3://bucket/x/")


def test_a_file_system_that_hangs_holds_up_nobody(
    series: Series, made: Bench, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_series, "LOOK_S", 0.05)
    place = place_of(made, job)
    manifest = Path(place, names.following([], 1), FILE)
    manifest.parent.mkdir(parents=True)
    os.mkfifo(manifest)  # whoever opens it waits for a writer, as on a server that does not answer
    for said in ("cannot be seen within", "still hangs"):
        attempt, warnings = series.continued(second(job), job)
        assert (attempt.checkpoints, attempt.resumed_from) == (place, None)
        assert said in warnings[0]
    writer = os.open(manifest, os.O_WRONLY)
    manifest.unlink()  # first: whoever opened it once more would wait for a writer that never comes
    os.close(writer)
    eventually(lambda: "none of the 1" in series.continued(second(job), job)[1][0], what="the next one sees again")


def test_when_the_newest_checkpoint_was_saved_is_seen_where_one_can_look(
    series: Series, job: Job, tmp_path: Path
) -> None:
    place = str(tmp_path / "there")
    attempt = replace(second(job), checkpoints=place)
    assert series.saved_at(attempt) is None, "there is no such directory yet"
    save(place, 1)
    newest = save(place, 2)
    os.utime(newest.place, (1000, 2000))
    assert series.saved_at(attempt) == datetime.fromtimestamp(2000, UTC)
    assert series.saved_at(replace(attempt, checkpoints="s3://bucket/x")) is None
    assert series.saved_at(replace(attempt, checkpoints=None)) is None
