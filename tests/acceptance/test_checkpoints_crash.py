"""kill -9 in the middle of saving, full disks and many writers: the newest checkpoint, or the one before, is whole."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from researchflow_tmux.checkpoints import Checkpointer, LocalStore, verify
from tests.acceptance import checkpoint_trainings
from tests.support import eventually
from tests.unit.runner.runner_harness import Attempts, making_attempts

ROOT = Path(__file__).resolve().parents[2]


class Trainings:
    """Starts trainings, one at a time, and reads what they wrote down."""

    def __init__(self, root: Path) -> None:
        self.log = root / "log"
        self.log.touch()
        self.directory = root / "kept"
        command = [sys.executable, checkpoint_trainings.__file__, str(self.directory), str(self.log)]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, line: str) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        return int(self.process.stdout.readline())

    def steps(self, kind: str) -> list[int]:
        return [int(line.split()[1]) for line in self.log.read_text().splitlines() if line.startswith(kind)]

    def wait_for_found(self, times: int) -> None:
        """A training says what it found when it has resumed from it."""
        eventually(lambda: len(self.steps("found")) == times, what="it resumed, and what it found was whole")

    def nothing_for(self, seconds: float) -> None:
        """Let the training run: its pipe says nothing meanwhile."""
        assert self.process.stdout
        assert not select.select([self.process.stdout], [], [], seconds)[0]


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    made = Trainings(tmp_path)
    with made.process:
        yield made


@pytest.mark.timeout(300)
def test_a_hundred_kills_in_the_middle_of_saving(trainings: Trainings) -> None:
    """RFSCHED_TEST_KILLS=2000 makes it a torture for a night."""
    kills = int(os.environ.get("RFSCHED_TEST_KILLS", "100"))
    chance = random.Random(20261207)
    torn = 0
    for number in range(1, kills + 1):
        pid = trainings.ask("train")
        trainings.wait_for_found(number)
        trainings.nothing_for(chance.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        trainings.ask("")
        torn += any(name.endswith(".lock") for name in os.listdir(trainings.directory))
        safe, found = trainings.steps("safe"), trainings.steps("found")
        assert found == sorted(found)
        newest = Checkpointer(LocalStore(trainings.directory)).load_latest()
        assert max([0, *safe, *found]) <= (newest.step if newest else 0) <= max([0, *safe, *found]) + 2
    assert torn > kills // 10, "too few kills hit the middle of a save"
    assert trainings.steps("found")[-1] > kills // 10, "hardly any progress"
    # One more save clears what the last one left.
    Checkpointer(LocalStore(trainings.directory)).save("end", 0, wait=True)
    assert [name for name in os.listdir(trainings.directory) if name.startswith(".")] == []


# A full disk ----------------------------------------------------------------------------------------------------------

FILLING = """
import os, signal, sys
from researchflow_tmux.job import CheckpointError, Checkpointer
from researchflow_tmux.job.local_store import LocalStore
{limit}
checkpoint = Checkpointer(LocalStore(sys.argv[1]))
checkpoint.keep(9)
checkpoint.save(b"1" * 400_000, 1, wait=True)
failed = 0
for step in range(2, 6):
    try:
        checkpoint.save(b"x" * 900_000, step, wait=True)
    except CheckpointError as error:
        failed += 1
        assert "those saved before are untouched: free some space" in str(error), error
assert failed, "the disk is larger than the test thinks"
last = checkpoint.load_latest()
assert not last.skipped
assert not [name for name in os.listdir(sys.argv[1]) if name.startswith(".")]
print(last.step, len(last.state))
"""
FILE_LIMIT = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    script = FILLING.format(limit=FILE_LIMIT)
    command = [sys.executable, "-c", script, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.stdout == "1 400000\n", answer.stderr


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A real one, of 2 MiB, in a name space of its own."""
    mounted = f'mount -t tmpfs -o size=2m none "{tmp_path}" && exec "$@"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"]
    try:
        allowed = subprocess.run([*private, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("no mount without root here")
    command = [*private, sys.executable, "-c", FILLING.format(limit=""), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.stdout == "2 900000\n", answer.stderr


# Several processes ----------------------------------------------------------------------------------------------------

WRITER = """
import sys
from researchflow_tmux.job import Checkpointer
from researchflow_tmux.job.local_store import LocalStore
checkpoint = Checkpointer(LocalStore(sys.argv[1]))
checkpoint.keep(1000)
for step in range(12):
    checkpoint.save({"who": sys.argv[2], "step": step, "data": sys.argv[2].encode() * 50_000}, step, wait=True)
    found = checkpoint.load_latest()
    assert not found.skipped and set(found.state["data"]) == {ord(found.state["who"])}
"""


def test_several_processes_save_and_load_in_one_place(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    store = LocalStore(tmp_path)
    assert sorted(verify(store, name).step for name in store.names()) == sorted(list(range(12)) * 3)
    assert len(os.listdir(tmp_path)) == 36


# Under the runner -----------------------------------------------------------------------------------------------------

TRAINING = f"""
import sys, time
sys.path.append({str(ROOT)!r})
from researchflow_tmux import current_job
job = current_job()
resumed = job.checkpoint.load_latest()
step = resumed.step if resumed else 0
print("attempt", job.attempt, "of", job.name, "from", step, flush=True)
while step < 10**6:
    step += 1
    job.progress(step, 10**6)
    if step % 100 == 0:
        job.log_metric("loss", 1 / step, step)
    if job.checkpoint.every(minutes=30):
        job.checkpoint.save({{"step": step}}, step)
    if resumed and step > resumed.step + 50:
        break
    time.sleep(0.001)
"""


def environment(root: Path, number: int, resume_from: str = "") -> dict[str, str]:
    told = {
        "PATH": os.environ["PATH"], "RFSCHED_JOB": "exp", "RFSCHED_ATTEMPT_NUMBER": str(number),
        "RFSCHED_CHECKPOINT_DIR": str(root / "kept"), "RFSCHED_METRICS": str(root / "metrics.jsonl"),
        "RFSCHED_PROGRESS": str(root / "progress.json"),
    }  # fmt: skip
    return told | ({"RFSCHED_RESUME_FROM": resume_from} if resume_from else {})


def started(attempts: Attempts, number: int, resume_from: str = "", **spec: object) -> Callable[[], dict[str, object]]:
    env = environment(attempts.root, number, resume_from)
    tag = f"{attempts.root.name}-{os.getpid()}/{number}.1"
    attempt = attempts.python(TRAINING, env=env | {"RFSCHED_ATTEMPT": tag}, stop_grace_s=20, **spec)
    attempt.start()
    attempt.says(f"attempt {number} of exp from")
    return attempt.record


def test_at_its_time_limit_a_job_saves_and_the_next_attempt_goes_on_there(tmp_path: Path) -> None:
    with making_attempts(tmp_path) as attempts:
        begin = time.monotonic()
        record = started(attempts, 1, time_limit_s=1.0)()
        assert record["outcome"] == "timed_out"
        assert time.monotonic() - begin < 15
        store = LocalStore(tmp_path / "kept")
        name = store.names()[0]  # SIGUSR1 may have brought one before
        step = store.manifest(name).step
        assert step > 10
        record = started(attempts, 2, resume_from=os.path.join(store.root, name))()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert f"attempt 2 of exp from {step}" in attempts.made[1].output()
    assert (tmp_path / "metrics.jsonl").exists()
    assert (tmp_path / "progress.json").exists()
