"""Processes for the store's tests: `python -m tests.contract.store_processes ROLE DATABASE [NAME]`."""

from __future__ import annotations

import sys

from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.events import Notice
from tests.contract.store_samples import BOOT, NOW, attempt, job

PUTS = 200


def write(path: str) -> None:
    """Commit for ever; each commit raises the same number everywhere, and is told when it is durable."""
    store = SqliteStore(path, boot_id=BOOT)
    state = store.load()
    number = int(state.meta.get("number", "0"))
    while True:
        number += 1
        notice = Notice(text=str(number), job_id=1)
        rows = [job(1, retries_used=number), job(2, retries_used=number)]
        store.commit([notice], rows, [attempt(1, number)], at=NOW, meta={"number": str(number)})
        print(number, flush=True)


def ask(path: str, name: str) -> None:
    """Leave PUTS requests."""
    inbox = SqliteInbox(path)
    for number in range(PUTS):
        inbox.put("ask", {"name": name, "number": number}, by=name, at=NOW)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2])
    else:
        ask(sys.argv[2], sys.argv[3])
