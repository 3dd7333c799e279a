"""What becomes of a job file while its jobs run and people edit it."""

from __future__ import annotations

from pathlib import Path

import pytest

from researchflow_tmux.domain.job import JobState
from tests.unit.adapters.jobfiles.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_line_is_a_job_and_its_mark_follows(world: World) -> None:
    world.put("echo one\necho two\necho three\n")
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued", "a_l3": "queued"}
    assert world.job("a_l2").spec.shell == "echo two\n"
    assert world.job("a_l2").spec.group == "a"
    world.start("a_l1", "a_l2")
    assert world.text() == "! echo one\n! echo two\necho three\n"
    world.end("a_l1")
    world.end("a_l2", state=JobState.FAILED)
    assert world.text() == "# echo one\n? echo two\necho three\n"
    world.requeue("a_l2")
    assert world.text() == "# echo one\necho two\necho three\n"


def test_every_other_byte_stays(world: World) -> None:
    text = b"\xef\xbb\xbf## comment\r\n\r\n  \techo one  \r\n\n#\n ##x\n#@ gpus=0 \necho \xc3\xa9\t\n\x0c\nword"
    world.put(text)
    world.look()
    names = list(world.states())
    assert names == ["a_l3", "a_l8", "a_l10"]
    world.start(*names)
    assert world.path().read_bytes() == text.replace(b"echo", b"! echo").replace(b"word", b"! word")
    for name in names:
        world.requeue(name) if world.job(name).state.ended else world.set(name, state=JobState.QUEUED)
    world.show()
    assert world.path().read_bytes() == text


def test_one_word_lines_and_blank_lines_stay(world: World) -> None:
    world.put("make\n\n\n   \nmake all\n")
    world.look()
    world.run("a_l1")
    world.restart()
    world.look()
    assert world.text() == "# make\n\n\n   \nmake all\n"
    assert world.runs == {"a_l1": 1}


def test_equal_lines_are_jobs_of_their_own(world: World) -> None:
    world.put("echo x\necho x\necho x\n")
    world.look()
    assert len(world.states()) == 3
    world.run("a_l2")
    world.look()
    assert world.text() == "echo x\n# echo x\necho x\n"
    world.run("a_l1", "a_l3")
    assert world.runs == {"a_l1": 1, "a_l2": 1, "a_l3": 1}


def test_finished_and_terminated_lines_never_run_after_a_restart(world: World) -> None:
    world.put("echo one\nfalse\necho three\n")
    world.look()
    world.run("a_l1")
    world.run("a_l2", state=JobState.FAILED)
    for _ in range(3):
        world.restart()
        world.look()
    assert world.text() == "# echo one\n? false\necho three\n"
    assert world.states() == {"a_l1": "succeeded", "a_l2": "failed", "a_l3": "queued"}


def test_a_file_of_the_original_tool(world: World) -> None:
    text = "# done before\n?failed before\n! was running\n\nnew one\n"
    world.put(text)
    world.look()
    assert world.states() == {"a_l5": "queued"}
    assert "jobs/a.txt: line 3 is marked `!` (running), but not by this workspace" in world.told()
    world.run("a_l5")
    assert world.text() == text.replace("new", "# new")
    world.put(world.text().replace("! was", "was").replace("?failed", "failed"))
    world.look()
    assert world.states() == {"a_l5": "succeeded", "a_l3": "queued", "a_l2": "queued"}


# -- edits by hand


def test_an_added_line_is_queued_and_a_deleted_one_cancelled(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.put("echo new\necho two\n")
    world.look()
    assert world.states() == {"a_l1": "cancelled", "a_l2": "queued", "a_l1_2": "queued"}
    assert world.text() == "echo new\necho two\n"


def test_a_running_line_that_is_deleted_runs_on(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    world.put("echo two\n")
    world.look()
    assert world.states() == {"a_l1": "running", "a_l2": "queued"}
    assert "the line of a_l1 is gone; it runs on" in world.told()
    world.end("a_l1")
    world.look()
    assert world.told() == ""
    assert world.text() == "echo two\n"


def test_a_line_that_comes_back_after_its_job_has_ended_runs_again(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    world.put("echo two\n")
    world.look()
    world.end("a_l1")
    world.look()
    world.put("echo one\necho two\n")
    world.look()
    world.run("a_l1")
    assert world.runs == {"a_l1": 2}


def test_a_running_line_that_comes_back_is_the_same_run(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    for text in ("echo two\n", "echo one\necho two\n"):  # deleted, and the deletion undone
        world.put(text)
        world.look()
    world.end("a_l1")
    world.look()
    assert world.text() == "# echo one\necho two\n"
    assert world.runs == {"a_l1": 1}


def test_one_of_two_equal_lines_deleted_after_the_scheduler_was_killed(world: World) -> None:
    world.put("echo one\necho one\n")
    world.look(show=False)
    world.put("echo one\n")
    world.restart()
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "cancelled"}


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_mark_taken_away_means_again(world: World, state: JobState) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.run("a_l1", state=state)
    world.put("echo one\necho two\n")
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued"}
    world.look()
    world.run("a_l1")
    world.look()
    assert world.runs == {"a_l1": 2}
    assert world.text() == "# echo one\necho two\n"


def test_again_is_once_even_when_it_ends_before_anybody_looks(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.run("a_l1")
    world.put("echo one\necho two\n")
    world.feed.read()  # told, and then the scheduler was killed before it could do anything
    world.restart()
    assert world.look().again == ["a_l1"]
    world.start("a_l1", show=False)
    world.end("a_l1", show=False)
    world.restart()  # it came as far as this, and could not show it
    assert world.look().again == []
    assert world.text() == "# echo one\necho two\n"
    assert world.runs == {"a_l1": 2}


def test_a_mark_before_a_waiting_line_withdraws_it(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.put("#echo one\necho two\n")
    world.look()
    assert world.states() == {"a_l1": "cancelled", "a_l2": "queued"}
    for _ in range(2):
        world.restart()
        world.look()
    assert world.text() == "#echo one\necho two\n"
    world.put("echo one\necho two\n")
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued"}


@pytest.mark.parametrize("tampered", ["echo one\n", "# echo one\n", "? echo one\n", "# ! echo one\n"])
def test_the_mark_of_a_running_line_is_restored(world: World, tampered: str) -> None:
    world.put("echo one\n")
    world.look()
    world.start("a_l1")
    world.put(tampered)
    world.look()
    assert world.states() == {"a_l1": "running"}
    assert world.text() == "! echo one\n"


def test_lines_that_are_moved_keep_their_jobs(world: World) -> None:
    world.put("echo 1\necho 2\necho 3\necho 1\n")
    world.look()
    world.run("a_l1")
    world.start("a_l2")
    world.put("## moved\necho 1\necho 3\n! echo 2\n# echo 1\n")
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "running", "a_l3": "queued", "a_l4": "queued"}
    world.end("a_l2")
    world.start("a_l4")
    assert world.text() == "## moved\n! echo 1\necho 3\n# echo 2\n# echo 1\n"


def test_changed_options_reach_a_waiting_job(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.put("#@@ priority=3\n#@ gpus=2 name=big\necho one\necho two\n")
    world.look()
    assert world.states() == {"big": "queued", "a_l2": "queued"}
    assert world.job("big").spec.request.gpus == 2
    assert world.job("a_l2").spec.priority == 3


def test_a_file_renamed_or_moved_keeps_its_jobs(world: World) -> None:
    world.put("echo one\necho two\necho three\n")
    world.look()
    world.start("a_l1")
    world.run("a_l2")
    (world.root / "jobs/sub").mkdir()
    world.path().rename(world.path("sub/b"))
    world.look()
    assert world.states() == {"a_l1": "running", "a_l2": "succeeded", "sub_b_l3": "queued"}
    world.end("a_l1")
    assert world.text("sub/b") == "# echo one\n# echo two\necho three\n"
    world.restart()
    world.path("sub/b").rename(world.path("c"))
    world.look()
    world.run("c_l3")
    assert world.runs == {"a_l1": 1, "a_l2": 1, "c_l3": 1}


def test_a_deleted_file_withdraws_what_waits_at_the_second_look(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    text = world.path().read_bytes()
    world.path().unlink()
    world.look()
    assert world.states() == {"a_l1": "running", "a_l2": "queued"}
    world.put(text)  # an editor saves like this
    world.look()
    assert world.states() == {"a_l1": "running", "a_l2": "queued"}
    world.path().unlink()
    world.look()
    world.look()
    assert world.states() == {"a_l1": "running", "a_l2": "cancelled"}


def test_a_file_deleted_while_no_scheduler_ran(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.path().unlink()
    world.restart()
    world.look()
    assert world.states() == {"a_l1": "cancelled", "a_l2": "cancelled"}


def test_an_emptied_file_counts_at_the_second_look(world: World) -> None:
    world.put("echo one\n")
    world.look()
    world.put("")
    world.look()
    assert world.states() == {"a_l1": "queued"}
    world.look()
    assert world.states() == {"a_l1": "cancelled"}


# -- crashes


def test_what_ended_while_no_scheduler_ran_is_shown(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1", "a_l2")
    world.end("a_l1", show=False)
    world.end("a_l2", show=False, state=JobState.FAILED)
    world.restart()
    assert world.text() == "# echo one\n? echo two\n"
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "failed"}


def test_killed_before_the_drafts_were_queued(world: World) -> None:
    world.put("echo one\necho one\n")
    world.feed.read()
    world.restart()
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued"}
    world.restart()
    world.look()
    assert len(world.states()) == 2


def test_marks_written_and_not_noted(world: World) -> None:
    """Killed between the file and the ledger: nothing runs again, nothing is taken for a person's edit."""
    world.put("echo x\necho x\necho y\n")
    world.look()
    ledger = next((world.root / ".rfsched/sources/jobfile").iterdir())
    before = ledger.read_bytes()
    world.start("a_l1", "a_l3")
    ledger.write_bytes(before)
    world.end("a_l1", show=False)
    world.set("a_l3", state=JobState.QUEUED)  # a retry
    world.restart()
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "queued", "a_l3": "queued"}
    assert world.text() == "# echo x\necho x\necho y\n"


def test_a_lost_ledger_runs_nothing_twice(world: World) -> None:
    world.put("echo x\necho y\n")
    world.look()
    world.run("a_l1")
    next((world.root / ".rfsched/sources/jobfile").iterdir()).unlink()
    world.restart()
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "queued"}
    assert world.text() == "# echo x\necho y\n"


def test_a_job_cleaned_away_does_not_run_again(world: World) -> None:
    world.put("echo x\necho y\n")
    world.look()
    world.run("a_l1")
    job = world.job("a_l1")
    world.workload.forget(job.id)
    world.feed.forget([(job.spec.source, job.spec.key)])
    world.look()
    world.restart()
    world.look()
    assert world.states() == {"a_l2": "queued"}
    world.put("echo x\necho y\n")
    world.look()
    assert world.states() == {"a_l1": "queued", "a_l2": "queued"}
