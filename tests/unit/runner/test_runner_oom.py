"""Real jobs that run out of memory: what the exit record says, decided by the runner alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.runner.runner_harness import Attempts

TORCH = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
GROUPS = Path("/sys/fs/cgroup/memory")
LIMIT = 96 << 20


def test_a_job_that_says_so_and_fails_was_out_of_memory(attempts: Attempts) -> None:
    attempt = attempts.sh(f"echo step 1; echo '{TORCH}' >&2; exit 1", log={"path": None})
    record = attempt.run()
    assert (record["outcome"], record["succeeded"], record["exit_code"]) == ("out_of_memory", False, 1)
    assert record["oom"] == {"where": "gpu", "line": TORCH, "evidence": "log"}
    assert not os.path.exists(attempt.marker)


def test_a_job_that_says_so_and_succeeds_was_not(attempts: Attempts) -> None:
    record = attempts.sh(f"echo '{TORCH}'; echo 'retrying with a smaller batch'").run()
    assert (record["outcome"], record["succeeded"], record["oom"]) == ("exited", True, None)


def test_only_the_end_of_the_output_counts(attempts: Attempts) -> None:
    record = attempts.sh(f"echo '{TORCH}'; head -c 300000 /dev/zero | tr '\\0' x; exit 1").run()
    assert (record["outcome"], record["oom"]) == ("exited", None)


@pytest.mark.parametrize(("end", "outcome"), [("kill -9 $$", "killed"), ("kill -6 $$", "killed"), ("exit 3", "exited")])
def test_a_failure_that_says_nothing_of_memory_stays_what_it_is(attempts: Attempts, end: str, outcome: str) -> None:
    assert attempts.sh(f"echo working; {end}").run()["outcome"] == outcome


def test_an_abort_after_bad_alloc_is_out_of_memory(attempts: Attempts) -> None:
    record = attempts.sh("echo \"terminate called after throwing an instance of 'std::bad_alloc'\"; kill -6 $$").run()
    assert (record["outcome"], record["signal"], record["oom"]["where"]) == ("out_of_memory", 6, "ram")


def test_a_job_that_was_stopped_or_timed_out_was_not(attempts: Attempts) -> None:
    timed_out = attempts.sh(f"echo '{TORCH}'; sleep 60", time_limit_s=0.3).run()
    assert (timed_out["outcome"], timed_out["oom"]) == ("timed_out", None)


def test_words_of_the_user(attempts: Attempts) -> None:
    rule = {"patterns": ["arena is full"], "where": "gpu"}
    record = attempts.sh("echo 'solver: arena is full'; exit 4", oom=rule).run()
    assert record["oom"] == {"where": "gpu", "line": "solver: arena is full", "evidence": "log"}


def test_a_line_of_any_characters_fits_into_the_record(attempts: Attempts) -> None:
    record = attempts.python("print('CUDA out of memory ' + chr(0x1F680) * 5000); raise SystemExit(1)").run()
    assert record["outcome"] == "out_of_memory"
    assert record["oom"]["line"].startswith("CUDA out of memory \U0001f680")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with little memory; only root may make one."""
    group = GROUPS / f"rfsched-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError:
        pytest.skip("no control group of its own to be had here")
    try:
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def test_a_job_that_the_kernel_kills_for_memory(attempts: Attempts, small_group: Path) -> None:
    attempt = attempts.python(f"data = bytearray({3 * LIMIT}); data[:] = b'x' * len(data); print('never')")

    def enter() -> None:
        (small_group / "cgroup.procs").write_text(str(os.getpid()))

    attempt.start(preexec_fn=enter, stdout=subprocess.DEVNULL).wait(30)
    record = attempt.record()
    assert (record["outcome"], record["signal"]) == ("out_of_memory", 9)
    assert record["oom"]["where"] == "ram"
    assert record["oom"]["evidence"] in ("cgroup", "kernel log")
    assert "illed process" in record["oom"]["line"] or "killed" in record["oom"]["line"]
