"""SIGUSR1 and SIGTERM, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.stop_requests import Requests
from tests.support import eventually

LOOP = """
import os, signal, sys, time
from researchflow_tmux import current_job
{before}
job = current_job()
start = job.checkpoint.load_latest()
step = begin = start.step if start else 0
print("from", step, flush=True)
while True:
    step += 1
    if job.checkpoint.every(minutes=60):
        job.checkpoint.save({{"step": step}}, step)
    {each}
    if step == begin + 10:
        print("running", flush=True)
    time.sleep(0.001)
"""


class Training:
    def __init__(self, root: Path, before: str = "", each: str = "") -> None:
        self.root = root
        self.store = LocalStore(root / "kept")
        environ = os.environ | {"RFSCHED_ATTEMPT": "t/1.1", "RFSCHED_CHECKPOINT_DIR": self.store.root}
        script = LOOP.format(before=before, each=each)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.heard: list[str] = []

    def hear(self, line: str) -> str:
        """Read until a line begins like this."""
        assert self.process.stdout
        for heard in self.process.stdout:
            self.heard.append(heard)
            if heard.startswith(line):
                return heard.strip()
        raise AssertionError(f"no {line!r} in {self.heard}")

    def steps(self) -> list[int]:
        return [self.store.manifest(name).step for name in self.store.names()]


class Train(Protocol):
    """Starts a training and waits until it runs."""

    def __call__(self, before: str = "", each: str = "") -> Training: ...


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[list[Training]]:
    made: list[Training] = []
    yield made
    for training in made:
        training.process.kill()
        training.process.communicate()


@pytest.fixture
def train(tmp_path: Path, trainings: list[Training]) -> Train:
    def make(before: str = "", each: str = "") -> Training:
        trainings.append(Training(tmp_path, before, each))
        trainings[-1].hear("running")
        return trainings[-1]

    return make


def test_usr1_saves_and_the_training_goes_on(train: Train) -> None:
    training = train()
    training.process.send_signal(signal.SIGUSR1)
    eventually(training.steps, what="a checkpoint")
    training.process.send_signal(signal.SIGUSR1)
    eventually(lambda: len(training.steps()) == 2, what="another")
    assert training.process.poll() is None


def test_term_saves_and_ends_and_the_next_attempt_goes_on_there(train: Train) -> None:
    training = train()
    training.process.send_signal(signal.SIGTERM)
    assert training.process.wait(20) == 143
    [step] = training.steps()
    assert step >= 10
    following = train()
    assert following.heard[0] == f"from {step}\n"


def test_a_save_that_fails_after_term_still_ends_the_process(train: Train) -> None:
    training = train()
    Path(training.store.root).write_text("a file where the directory should be")
    training.process.send_signal(signal.SIGTERM)
    assert training.process.wait(20) == 143
    assert training.process.stdout
    assert "was not saved" in training.process.stdout.read()


def test_a_loop_that_does_not_save_ends_by_a_second_term_some_seconds_later(train: Train) -> None:
    before = "from researchflow_tmux.job import stop_requests as s; s.AGAIN_S = 0.2"
    # It looks after its own steps, and never at every().
    training = train(before, "\n    while step > 11: time.sleep(0.01)")
    training.process.send_signal(signal.SIGTERM)

    def insist() -> bool:
        training.process.send_signal(signal.SIGTERM)
        return training.process.poll() is not None

    eventually(insist, what="the end")
    assert training.process.returncode == -signal.SIGTERM


def test_the_users_own_handler_is_called_as_well(train: Train) -> None:
    before = "signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))"
    training = train(before)
    training.process.send_signal(signal.SIGTERM)
    training.hear("mine")
    assert training.process.wait(20) == 143
    assert training.steps()


def test_an_ignored_signal_stays_ignored(train: Train) -> None:
    training = train("signal.signal(signal.SIGUSR1, signal.SIG_IGN)")
    training.process.send_signal(signal.SIGUSR1)
    training.process.send_signal(signal.SIGTERM)
    assert training.process.wait(20) == 143
    assert len(training.steps()) == 1


WORKER = """
    if step == 5:
        worker = os.fork()
        if not worker:
            signal.pause()
            os._exit(0)
    if step == 9:
        os.kill(worker, signal.SIGTERM)
        print("worker", os.waitpid(worker, 0)[1], flush=True)
"""


def test_a_forked_worker_ends_by_term_as_ever(train: Train) -> None:
    training = train(each=WORKER)
    assert "worker 15\n" in training.heard


def test_another_thread_cannot_listen() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=Requests().listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_handlers_in_this_process() -> None:
    """The same, where coverage sees it."""
    called: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: called.append(number))
    requests = Requests()
    requests.listen()
    requests.listen()
    os.kill(os.getpid(), signal.SIGUSR1)
    eventually(lambda: requests.save)
    stop = requests.stop
    assert not stop
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    eventually(lambda: len(called) == 2)
    assert requests.stop
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # taken over by somebody else since
    requests._leave()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) != requests._arrived


def test_a_save_after_term_ends_this_process(tmp_path: Path) -> None:
    from researchflow_tmux.job.checkpointer import Checkpointer

    requests = Requests()
    requests._before = {signal.SIGTERM: None}  # listening already: this process keeps its handlers
    requests.save = requests.stop = True
    checkpoint = Checkpointer(LocalStore(tmp_path), requests=requests)
    assert checkpoint.requested
    with pytest.raises(SystemExit, match="143"):
        checkpoint.save(1, 1)
    assert len(LocalStore(tmp_path).names()) == 1
