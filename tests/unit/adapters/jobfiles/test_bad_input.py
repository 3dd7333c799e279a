"""What no job can be made of is told with its place, and the rest runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.adapters.jobfiles.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"echo caf\xe9", "jobs/a.txt:2: byte 0xe9 is not UTF-8, so the command is not sure"),
        (b"echo \0", "jobs/a.txt:2: this line holds a NUL byte"),
        (b"echo " + b"x" * 200_000, "jobs/a.txt:2: this line has 200005 bytes; a command has at most 100000"),
        (b"echo a \\", "jobs/a.txt:2: ends with a backslash"),
        (b"#@ gpu=2\necho x", "jobs/a.txt:2:4: unknown key `gpu`"),
        (b"#@ gpus=two\necho x", "jobs/a.txt:2:9: gpus: expected a whole number of at least 0, got 'two'"),
        (b"#@ gpus = 2\necho x", "jobs/a.txt:2:4: expected key=value, got 'gpus = 2'"),
        (b"#@ name='x\necho x", 'jobs/a.txt:2:4: a quote in "name=\'x" is not closed'),
        (b"  #@ command=x\necho x", "jobs/a.txt:2:14: the command is the line below"),
        (b"#@ caf\xe9=1\necho x", "jobs/a.txt:2:3: byte 0xe9 is not UTF-8"),
        (b"#@ gpus=2\n\n", "jobs/a.txt:2: these options stand before no command"),
    ],
)
def test_a_bad_line_is_told_and_the_others_run(world: World, bad: bytes, told: str) -> None:
    content = b"echo first\n" + bad + b"\n\necho last\n"
    world.put(content)
    world.look()
    assert told in world.told()
    assert "hint: " in world.told() or "expected" in told
    assert next(iter(world.states())) == "a_l1"
    assert len(world.states()) == 2
    world.run(*world.states())
    expected = content.replace(b"echo first", b"# echo first").replace(b"echo last", b"# echo last")
    assert world.path().read_bytes() == expected  # and it is not put away


def test_defaults_with_a_name_and_what_is_said_once(world: World) -> None:
    world.put("#@@ name=x gpus=no\necho one\necho two\n")
    world.look()
    assert len(world.look_result.problems) == 2
    assert "all jobs below would have one name" in world.told()
    assert world.states() == {}


def test_many_problems_of_a_file_are_counted(world: World) -> None:
    world.put(b"echo \xff\n" * 1000 + b"echo good\n")
    world.look()
    assert len(world.look_result.problems) == 21
    assert "jobs/a.txt: 980 more problems after these" in world.told()
    assert world.states() == {"a_l1001": "queued"}


@pytest.mark.parametrize("data", ["echo one\n".encode("utf-16"), b"\x7fELF\0\0\n\0\0x\n\0\0\0y\n"])
def test_what_is_no_text_runs_nothing(world: World, data: bytes) -> None:
    world.put(data)
    world.look()
    world.look()
    assert "jobs/a.txt: is not UTF-8 text: nothing of it is queued" in world.told()
    assert world.states() == {}
    assert world.path().read_bytes() == data


def test_odd_things_in_the_directory(world: World) -> None:
    jobs = world.root / "jobs"
    (jobs / "d.txt").mkdir()
    (jobs / "d.txt/inner.txt").write_text("echo inner\n")
    (jobs / "loop.txt").symlink_to("loop.txt")
    (jobs / "broken.txt").symlink_to("nowhere")
    (jobs / "back").symlink_to(jobs)
    os.mkfifo(jobs / "pipe.txt")
    (jobs / "a2.txt").symlink_to("a.txt")
    (jobs / ".hidden.txt").write_text("echo hidden\n")
    (jobs / os.fsdecode(b"caf\xe9.txt")).write_text("echo name\n")
    world.put("echo one\n")
    world.put("", "empty")
    world.look()
    assert world.states() == {"a_l1": "queued", "d.txt_inner_l1": "queued"}
    for text in (
        "jobs/d.txt: is a directory, not a job file",
        "jobs/loop.txt: cannot be read: Too many levels of symbolic links",
        "jobs/broken.txt: is a link to a file that does not exist",
        "jobs/pipe.txt: is no ordinary file",
        "jobs/a2.txt: is the same file as jobs/a.txt",
        "jobs/caf\\xe9.txt: the name is not UTF-8",
    ):
        assert text in world.told()


def test_a_file_replaced_by_a_directory(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    world.path().unlink()
    world.path().mkdir()
    world.end("a_l1")
    world.look()
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "cancelled"}
    assert "is a directory, not a job file" in world.told()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_cannot_be_read_withdraws_nothing(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    world.start("a_l1")
    world.path().chmod(0)
    world.end("a_l1")
    world.look()
    world.look()
    assert world.states() == {"a_l1": "succeeded", "a_l2": "queued"}
    assert "jobs/a.txt: cannot be read: Permission denied" in world.told()
    world.path().chmod(0o600)
    world.look()
    assert world.text() == "# echo one\necho two\n"
    assert world.told() == ""


def test_marks_that_cannot_be_written_are_written_later(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    (world.root / "second name").hardlink_to(world.path())
    world.run("a_l1")
    world.look()
    assert "jobs/a.txt: marks are not up to date: has several names" in world.told()
    assert world.text() == "echo one\necho two\n"
    (world.root / "second name").unlink()
    world.look()
    assert world.text() == "# echo one\necho two\n"
    assert world.told() == ""


def test_a_job_cleaned_away_before_its_mark_could_be_written_does_not_run_again(world: World) -> None:
    world.put("echo one\necho two\n")
    world.look()
    (world.root / "second name").hardlink_to(world.path())
    world.run("a_l1")
    job = world.job("a_l1")
    world.workload.forget(job.id)
    world.feed.forget([(job.spec.source, job.spec.key)])
    world.restart()
    world.look()
    assert world.states() == {"a_l2": "queued"}
    assert "line 1 is without a mark, but the command has run" in world.told()
    (world.root / "second name").unlink()
    world.start("a_l2")
    assert world.text() == "echo one\n! echo two\n"


def test_hard_links_are_not_parted(world: World) -> None:
    world.put("echo one\n")
    (world.root / "jobs/b.txt").hardlink_to(world.path())
    world.look()
    assert world.states() == {"a_l1": "queued"}
    world.run("a_l1")
    world.look()
    assert "jobs/b.txt: is the same file as jobs/a.txt" in world.told()
    assert "has several names (hard links)" in world.told()
    assert world.path().stat().st_nlink == 2


def test_a_line_that_waits_for_nobody_is_refused_and_the_rest_queued(world: World) -> None:
    world.put("#@ after=nobody\necho one\n#@ after=first\necho two\n#@ name=first\necho three\n")
    done = world.look()
    assert [problem for problem in done.problems if "nobody" in problem]
    assert world.states() == {"first": "queued", "a_l4": "queued"}
    assert world.job("a_l4").spec.after == (world.job("first").id,)
    world.put(world.text().replace("after=nobody", "gpus=0"))
    world.look()
    assert world.states() == {"first": "queued", "a_l4": "queued", "a_l2": "queued"}


def test_a_pin_in_the_line_is_warned_of_and_not_taken_over(world: World) -> None:
    world.put("CUDA_VISIBLE_DEVICES=0 LR=0.1 cd x && python train.py\n")
    world.look()
    assert "jobs/a.txt:1: sets CUDA_VISIBLE_DEVICES itself, against the GPUs that its job is given" in world.told()
    assert world.job("a_l1").spec.env == {"LR": "0.1"}


@pytest.mark.parametrize(
    ("line", "env"),
    [
        ("LR=0.1 NAME='a b' cd x && python t.py", {"LR": "0.1", "NAME": "a b"}),
        ('A="x y" python t.py', {"A": "x y"}),
        ("A=$HOME python t.py", {}),
        ("A=1", {}),
        ("A=1 && python t.py", {}),
        ("A=$(date) B=1 python t.py", {}),
        ("python t.py A=1", {}),
        ("EMPTY= python t.py", {"EMPTY": ""}),
    ],
)
def test_leading_variables_hold_for_the_whole_line(world: World, line: str, env: dict[str, str]) -> None:
    world.put(line + "\n")
    world.look()
    spec = world.job("a_l1").spec
    assert spec.env == env
    assert spec.shell == line + "\n"  # exactly as typed
