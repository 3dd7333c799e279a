"""Processes for the crash tests: forked from one that has imported everything, so that a hundred are cheap.

`python checkpoint_trainings.py DIRECTORY LOG`: for each line on stdin it forks a training and answers with its pid. A
training resumes from DIRECTORY, checks that what it finds is whole, saves as fast as it can, and appends to LOG which
steps it found and which are known to be safe. An empty line waits for the end of the last one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

from researchflow_tmux.job import Checkpointer
from researchflow_tmux.job.local_store import LocalStore

SIZE = 400_000


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": bytes([step % 251]) * SIZE, "history": list(range(step % 100))}


def train(directory: str, log: int) -> NoReturn:
    checkpoint = Checkpointer(LocalStore(directory), attempt=str(os.getpid()))
    checkpoint.keep(2)
    found = checkpoint.load_latest()
    step = found.step if found else 0
    if found and (found.state != state(step) or found.skipped):
        os.write(log, b"damaged\n")
        os._exit(1)
    os.write(log, b"found %d\n" % step)
    while True:
        step += 1
        saving = checkpoint.save(state(step), step)
        if step % 2:  # now and then two in a row: the second waits for the first
            saving.wait()
            os.write(log, b"safe %d\n" % step)


def main() -> None:
    directory, path = sys.argv[1:]
    logging.disable(logging.NOTSET)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    pid = 0
    for line in sys.stdin:
        if line.strip():
            pid = os.fork()
            if not pid:
                signal.alarm(60)
                train(directory, log)
        else:
            os.waitpid(pid, 0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
