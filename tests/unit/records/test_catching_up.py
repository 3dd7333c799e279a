"""Each ended attempt has exactly one record, whatever is killed and whatever cannot be written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records import catching_up
from researchflow_tmux.records.catching_up import catch_up, is_behind, results_dir
from researchflow_tmux.records.recorder import Recorder
from researchflow_tmux.records.runs import read_runs
from researchflow_tmux.results import MetadataStorage, ResultsError
from tests.support import eventually
from tests.unit.records import samples


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return samples.workspace(tmp_path / "ws")


def recorded(paths: WorkspacePaths) -> Counter[str]:
    return Counter(run.run.rpartition("/")[2] for run in read_runs(results_dir(paths)))


def child(paths: WorkspacePaths) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.unit.records.samples", paths.root]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_every_attempt_is_recorded_once_and_its_files_are_copied(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 4), attempts=2)
    assert is_behind(paths)
    assert catch_up(paths) == 6
    assert not is_behind(paths)
    assert catch_up(paths) == 0
    assert recorded(paths) == Counter(["1.1", "1.2", "2.1", "2.2", "3.1", "3.2"])
    run = read_runs(results_dir(paths))[0]
    assert run.config == {"lr": 0.1}
    assert run.series(results_dir(paths))["loss"].values == [1.0]
    copied = run.attachment(results_dir(paths), "config")
    assert copied is not None
    assert os.stat(copied).st_mode & 0o777 == 0o600
    assert os.stat(results_dir(paths)).st_mode & 0o777 == 0o700
    samples.history(paths, range(4, 5))
    assert catch_up(paths) == 1


def test_a_note_that_was_lost_makes_no_second_record(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 4))
    catch_up(paths)
    os.unlink(os.path.join(paths.state, "recorded"))
    assert catch_up(paths) == 0
    Path(paths.state, "recorded").write_text("no number\n")
    assert catch_up(paths) == 0
    assert set(recorded(paths).values()) == {1}


def test_a_job_that_was_cleaned_away_is_passed_over(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 3))
    os.rename(os.path.join(paths.state, "attempts", "1"), os.path.join(paths.state, "attempts", "x"))
    assert catch_up(paths) == 2
    assert read_runs(results_dir(paths))[0].config == {}


def test_killed_at_random_each_attempt_has_exactly_one_record(paths: WorkspacePaths) -> None:
    count = 120
    samples.history(paths, range(1, count + 1))
    chance = random.Random(5)
    kills = 0
    for _ in range(100):
        process = child(paths)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(chance.uniform(0.0, 0.06))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.communicate()
        if process.returncode == 0:
            break
    assert kills > 2
    catch_up(paths)
    assert recorded(paths) == Counter(f"{number}.1" for number in range(1, count + 1))
    assert all(run.series(results_dir(paths)) for run in read_runs(results_dir(paths)))


def test_one_at_a_time(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 2))
    with catching_up._turn(paths, 0.0) as turn:
        assert turn is not None
        assert catch_up(paths) is None
        waiting = threading.Thread(target=catch_up, args=(paths,), kwargs={"wait_s": 10.0})
        waiting.start()
        assert not os.path.exists(results_dir(paths))
    waiting.join(10)
    assert recorded(paths) == Counter(["1.1"])


def test_many_at_once(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 30))
    processes = [child(paths) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=30)
    catch_up(paths)
    assert recorded(paths) == Counter(f"{number}.1" for number in range(1, 30))


def test_results_that_cannot_be_written_are_told_and_caught_up(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 3))
    Path(results_dir(paths)).write_text("a file in the way")
    with pytest.raises((ResultsError, OSError)):
        catch_up(paths)
    os.unlink(results_dir(paths))
    assert catch_up(paths) == 2


def test_entries_of_the_users_own_are_no_runs(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 2))
    catch_up(paths)
    with MetadataStorage(results_dir(paths)) as storage:
        storage.create_entry(metadata={"mine": 1})
    assert recorded(paths) == Counter(["1.1"])


def test_there_is_a_moment_to_note_the_code_of_what_is_about_to_be_recorded(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 3))

    def note() -> None:
        Path(paths.attempt_dir(1, 1), "code.json").write_text('{"commit": "c0ffee"}')

    assert catch_up(paths, before=note) == 2
    assert [run.get("run.git.commit") for run in read_runs(results_dir(paths))] == ["c0ffee", None]


# The recorder ---------------------------------------------------------------------------------------------------------


def test_the_recorder_says_once_what_keeps_it_and_goes_on_by_itself(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 3))
    Path(results_dir(paths)).write_text("a file in the way")
    told: list[str] = []
    recorder = Recorder(paths, told.append, retry_s=0.05)
    recorder.attempt_ended()
    eventually(lambda: told)
    before = read_count(paths)
    recorder.attempt_ended()
    eventually(lambda: read_count(paths) >= before)
    assert len(told) == 1
    assert "runs cannot be recorded for now" in told[0]
    os.unlink(results_dir(paths))
    eventually(lambda: recorded(paths) == Counter(["1.1", "2.1"]))
    eventually(lambda: len(told) == 2)
    assert "recorded again" in told[1]
    recorder.close()


def read_count(paths: WorkspacePaths) -> int:
    return os.stat(os.path.join(paths.state, "recorded")).st_size


@pytest.fixture
def small_results(paths: WorkspacePaths) -> Iterator[Path]:
    """The results on a disk of 256 KiB."""
    place = Path(results_dir(paths))
    place.mkdir()
    mount = shutil.which("mount")
    words = ["-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if mount is None or subprocess.run([mount, *words], capture_output=True, check=False).returncode:
        pytest.skip("needs root with CAP_SYS_ADMIN, to mount a small tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_is_said_once_and_what_is_missing_is_caught_up(paths: WorkspacePaths, small_results: Path) -> None:
    samples.history(paths, range(1, 4))
    filler = small_results / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    told: list[str] = []
    recorder = Recorder(paths, told.append, retry_s=0.05)
    recorder.attempt_ended()
    eventually(lambda: told)
    assert "No space left" in told[0]
    filler.unlink()
    eventually(lambda: recorded(paths) == Counter(["1.1", "2.1", "3.1"]))
    eventually(lambda: len(told) == 2)
    recorder.close()
    assert all(run.series(results_dir(paths)) for run in read_runs(results_dir(paths)))


def recorders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "recorder"]


def test_the_recorder_waits_for_its_turn(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 2))
    recorder = Recorder(paths, print)
    with catching_up._turn(paths, 0.0):
        recorder.attempt_ended()
        eventually(recorders)
    eventually(lambda: recorded(paths) == Counter(["1.1"]))
    recorder.close()
    assert not recorders()


def test_what_is_poked_just_before_the_end_is_recorded(paths: WorkspacePaths) -> None:
    recorder = Recorder(paths, print)
    samples.history(paths, range(1, 4))
    recorder.attempt_ended()
    recorder.close()
    assert len(recorded(paths)) == 3


def test_a_damaged_index_is_told_and_not_touched(paths: WorkspacePaths) -> None:
    samples.history(paths, range(1, 2))
    os.mkdir(results_dir(paths))
    for name in ("index.json", "index.json.backup"):
        Path(results_dir(paths), name).write_text("{ no JSON")
    told: list[str] = []
    recorder = Recorder(paths, told.append)
    recorder.attempt_ended()
    eventually(lambda: told)
    recorder.close()
    assert Path(results_dir(paths), "index.json").read_text() == "{ no JSON"
