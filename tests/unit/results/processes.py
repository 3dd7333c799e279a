"""Processes for the tests of results: `python -m tests.unit.results.processes ROLE DIRECTORY [ARGUMENT …]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count

from researchflow_tmux.results import MetadataStorage


def create(directory: str, name: str, number: str, durable: str = "") -> None:
    """Create entries as fast as it goes, each on disk before the next if `durable` is not empty."""
    storage = MetadataStorage(directory, durable=bool(durable))
    for step in range(int(number)):
        storage.create_entry(metadata={"by": name, "step": step})


def change(directory: str, start: str) -> None:
    """Create, change and delete for ever; tell the number of each step when it is done.

    Step n: entry n exists with {"n": n}; entry n-1 has {"done": true} on top; entry n-5 is gone. Without waiting for
    the disk, so that a kill seldom meets a process that only waits.
    """
    storage = MetadataStorage(directory, durable=False)
    for number in count(int(start)):
        storage.create_entry(str(number), metadata={"n": number, "text": "x" * (number * 37 % 3000)})
        if number > 0:
            storage.update_entry(str(number - 1), extra_info={"done": True})
        if number >= 5:
            storage.delete_entries(str(number - 5))
        if number % 7 == 0:
            storage.flush()
        print(number, flush=True)


def obey(directory: str) -> None:
    """For each word on the input: delete that entry if it is there, else create it; then tell how many there are."""
    storage = MetadataStorage(directory, durable=False)
    for line in sys.stdin:
        uuid = line.strip()
        if not storage.delete_entries(uuid):
            storage.create_entry(uuid, metadata={"word": uuid})
        print(len(storage.read_entries()[1]), flush=True)


def hold(directory: str) -> None:
    """Take the lock and keep it until the end of the input."""
    storage = MetadataStorage(directory)
    storage._acquire_lock()
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"create": create, "change": change, "obey": obey, "hold": hold}
    roles[sys.argv[1]](*sys.argv[2:])
