"""Files that have nothing more to run are put away, once, and never over another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from researchflow_tmux.domain.job import JobState
from tests.unit.adapters.jobfiles.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put_away(world: World) -> dict[str, str]:
    """What is in the processed directory."""
    found = sorted(world.root.glob("processed/**/*.old*"))
    return {str(path.relative_to(world.root / "processed")): path.read_text() for path in found}


def test_a_finished_file_is_moved_once(world: World) -> None:
    world.put("## c\necho one\necho two\n", "sub/a")
    world.look()
    world.run("sub_a_l2")
    assert put_away(world) == {}
    world.run("sub_a_l3")
    done = {"sub/a.txt.old": "## c\n# echo one\n# echo two\n"}
    assert put_away(world) == done
    assert not world.path("sub/a").exists()
    for _ in range(3):
        world.restart()
        world.look()
    assert put_away(world) == done
    assert world.states() == {"sub_a_l2": "succeeded", "sub_a_l3": "succeeded"}


def test_nothing_there_is_overwritten(world: World) -> None:
    (world.root / "processed").mkdir()
    (world.root / "processed/a.txt.old").write_text("mine\n")
    for number in (2, 3):
        world.put(f"echo {number}\n")
        world.look()
        world.run("a_l1" if number == 2 else "a_l1_2")
    assert put_away(world) == {"a.txt.old": "mine\n", "a.txt.old.2": "# echo 2\n", "a.txt.old.3": "# echo 3\n"}


def test_a_file_with_terminated_lines_stays_unless_the_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    stays, goes = World(tmp_path / "one"), World(tmp_path / "two", archive_job_files="ended", processed_dir="old")
    for world in (stays, goes):
        world.put("echo one\nfalse\n")
        world.look()
        world.run("a_l1")
        world.run("a_l2", state=JobState.FAILED)
    assert stays.text() == "# echo one\n? false\n"
    assert (tmp_path / "two/old/a.txt.old").read_text() == "# echo one\n? false\n"


def test_never(tmp_path: Path) -> None:
    world = World(tmp_path, archive_job_files="never")
    world.put("echo one\n")
    world.look()
    world.run("a_l1")
    assert world.text() == "# echo one\n"


def test_what_was_not_run_here_is_left_where_it_is(world: World) -> None:
    world.put("# finished long ago\n", "old")
    world.put("## only a comment\n\n", "notes")
    world.put("echo one\n")
    world.look()
    world.put("# echo one\n")  # withdrawn
    world.look()
    world.restart()
    world.look()
    assert [path.name for path in sorted((world.root / "jobs").iterdir())] == ["notes.txt", "old.txt"]
    assert put_away(world) == {"a.txt.old": "# echo one\n"}


def test_a_file_that_got_new_lines_stays(world: World) -> None:
    world.put("echo one\n")
    world.look()
    world.start("a_l1")
    with world.path().open("a") as file:
        file.write("echo two\n")
    world.end("a_l1")
    assert world.text() == "# echo one\necho two\n"
    world.look()
    world.run("a_l2")
    assert put_away(world) == {"a.txt.old": "# echo one\n# echo two\n"}


def test_a_file_that_a_program_is_appending_to_stays(world: World) -> None:
    world.put("echo one\n")
    world.look()
    with world.path().open("a") as file:
        world.run("a_l1")
        assert put_away(world) == {}
        file.write("echo two\n")
    world.look()
    assert world.text() == "# echo one\necho two\n"
    assert world.states() == {"a_l1": "succeeded", "a_l2": "queued"}


def test_brought_back_it_stays_until_something_ran_again(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.run("a_l1", "a_l2")
    (world.root / "processed/a.txt.old").rename(world.path())
    for _ in range(2):
        world.look()
    assert world.text() == "# echo one\n# echo two\n"
    world.put("echo one\n# echo two\n")
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "succeeded"}
    world.run("a_l1")
    assert put_away(world) == {"a.txt.old": "# echo one\n# echo two\n"}


def test_the_same_commands_in_a_new_file_run_again(world: World) -> None:
    for expected in (1, 2):
        world.put("echo one\n")
        world.look()
        world.run("a_l1")
        assert world.runs == {"a_l1": expected}
    assert list(put_away(world)) == ["a.txt.old", "a.txt.old.2"]


def test_killed_after_the_place_was_taken(world: World) -> None:
    """An empty file that a crash left there holds nothing: it is used."""
    (world.root / "processed").mkdir()
    (world.root / "processed/a.txt.old").touch()
    world.put("echo one\n")
    world.look()
    world.run("a_l1")
    assert put_away(world) == {"a.txt.old": "# echo one\n"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_told(world: World) -> None:
    (world.root / "processed").mkdir(mode=0o500)
    world.put("echo one\n")
    world.look()
    world.run("a_l1")
    world.look()
    assert "jobs/a.txt: is done, but cannot be moved to" in world.told()
    assert world.text() == "# echo one\n"
    (world.root / "processed").chmod(0o700)
    world.look()
    assert put_away(world) == {"a.txt.old": "# echo one\n"}
