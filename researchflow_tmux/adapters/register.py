"""The machine register in the lease directory: a page for each workspace, and a gate for whoever books.

```text
LEASE_DIR/register/          mode 1777: everybody may add, nobody may remove another's
  gate                       locked while somebody reads the others, decides and publishes
  1000.3f2a91c4.json         the page of one workspace of user 1000: 0644, replaced atomically by its scheduler alone
```

A page counts only if its file belongs to the user in its name. A booking is read → decide → publish under the gate; the
page is published before anything starts, so a scheduler that is killed in between has said too much, and never too
little. Pages are not synced to disk: after a power cut schedulers say again what they know.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.register import Page, Seen
from researchflow_tmux.policies.commons.adding import may_live
from researchflow_tmux.runner import admission, procfs, tickets

DIRECTORY = "register"
MOST_BYTES = 4 << 20
LOOK_AGAIN = timedelta(seconds=1)
_NAME = re.compile(r"([0-9]+)\.([0-9a-zA-Z_-]+)\.json")
_decode = msgspec.json.Decoder(Page).decode


class FileRegister:
    """The Register port over files. Not for several threads at a time."""

    def __init__(self, lease_dir: str, boot_id: str, uid: int | None = None) -> None:
        """`uid` = who publishes here; None = whoever runs this."""
        self.lease_dir = lease_dir
        self.directory = os.path.join(lease_dir, DIRECTORY)
        self._boot_id = boot_id
        self._uid = os.geteuid() if uid is None else uid
        self._gate: int | None = None
        self._known: dict[str, tuple[tuple[int, int, int], Page]] = {}
        """The last good page by file name, and of which version of the file it is."""
        self._alive: dict[tuple[int, int], tuple[datetime, bool]] = {}
        """When a scheduler was last looked for, and whether it was there."""

    # -- booking -------------------------------------------------------------------------------------------------------

    def lock(self, patience_s: float) -> str | None:
        """Take the gate; None = it is held now, else why it cannot be had. Never waits for longer."""
        try:
            tickets.make_shared_dir(self.lease_dir)
            tickets.make_shared_dir(self.directory)
            self._gate = admission.lock_gate(self.directory, patience_s)
        except admission.SlotTaken:
            return "another scheduler of this machine holds the register's gate"
        except OSError as error:
            return f"the machine register {self.directory} cannot be used: {error.strerror or error}"
        return None

    def unlock(self) -> None:
        """Give the gate back; fine when it is not held."""
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    # -- the own page --------------------------------------------------------------------------------------------------

    def publish(self, page: Page) -> None:
        """Replace the page of a workspace. Raises OSError."""
        tickets.make_shared_dir(self.lease_dir)
        tickets.make_shared_dir(self.directory)
        name = f"{self._uid}.{page.workspace_id}.json"
        write_atomic(os.path.join(self.directory, name), msgspec.json.encode(page), 0o644, durable=False)

    def tidy(self) -> None:
        """Have the directory, without the own pages of workspaces that are gone and used nothing of shared accounts."""
        with contextlib.suppress(OSError):
            tickets.make_shared_dir(self.lease_dir)
            tickets.make_shared_dir(self.directory)
            for name in os.listdir(self.directory):
                page = self._page(name)[0] if _NAME.fullmatch(name) else None
                if page is not None and page.uid == self._uid and not page.uses and not os.path.isdir(page.path):
                    os.unlink(os.path.join(self.directory, name))

    # -- everybody's ---------------------------------------------------------------------------------------------------

    def read(self, now: datetime) -> list[Seen]:
        """All pages as they are now, by the names of their files; what did not change is not read again.

        Raises OSError when the directory cannot be read. A directory that is not there has no pages.
        """
        try:
            with os.scandir(self.directory) as entries:
                names = sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        self._known = {name: known for name, known in self._known.items() if name in names}
        return [self._seen(name, now) for name in names]

    def _seen(self, name: str, now: datetime) -> Seen:
        page, problem = self._page(name)
        if page is None:
            return Seen(name=name, page=None, problem=problem)
        same_boot = page.boot_id == self._boot_id
        alive = same_boot and self._is_alive((page.pid, page.start_time), now)
        living = frozenset() if alive else frozenset(self._living(page, now, same_boot=same_boot))
        return Seen(name=name, page=page, alive=alive, problem=problem, living=living)

    def _is_alive(self, process: tuple[int, int], now: datetime) -> bool:
        """Whether a scheduler runs, looked at once a second: one that died counts as alive a little longer."""
        at, alive = self._alive.get(process, (now, False))
        if not alive or not timedelta() <= now - at < LOOK_AGAIN:
            at, alive = now, procfs.alive(*process)
            self._alive[process] = (at, alive)
        return alive

    def _page(self, name: str) -> tuple[Page | None, str | None]:
        """(the page, what is wrong with it): of one that cannot be read any more the last version that could."""
        path = os.path.join(self.directory, name)
        last = self._known.get(name)
        try:
            found = os.lstat(path)
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if last is not None and last[0] == version:
                return last[1], None
            page = self._read(path, name, found)
        except FileNotFoundError:  # its workspace is just being forgotten
            return None, None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            return (None if last is None else last[1]), _words(error)
        self._known[name] = (version, page)
        return page, None

    def _read(self, path: str, name: str, found: os.stat_result) -> Page:
        match = _NAME.fullmatch(name)
        assert match is not None
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no file")
        if found.st_uid not in (int(match[1]), 0):
            raise ValueError("belongs to somebody else than its name says")
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(fd, MOST_BYTES)
        finally:
            os.close(fd)
        page = _decode(data)
        if page.workspace_id != match[2]:
            raise ValueError("is another workspace's")
        return page

    def _living(self, page: Page, now: datetime, *, same_boot: bool) -> Iterable[str]:
        if not page.attempts or not same_boot:
            return
        held = _Held(self._tags)
        yield from may_live(page, now, same_boot=same_boot)
        for attempt in page.attempts:
            runs = attempt.runner_pid is not None and procfs.alive(attempt.runner_pid, None)
            if runs or any(attempt.tag in held.of(uuid) for uuid in attempt.uuids):
                yield attempt.tag

    def _tags(self, uuid: str) -> frozenset[str]:
        try:
            return frozenset(str(ticket.get("tag")) for ticket in tickets.live(self.lease_dir, uuid))
        except (OSError, ValueError):
            return frozenset()


class _Held:
    """Tags of the live leases by GPU, each GPU read once."""

    def __init__(self, read: Callable[[str], frozenset[str]]) -> None:
        self._read = read
        self._found: dict[str, frozenset[str]] = {}

    def of(self, uuid: str) -> frozenset[str]:
        if uuid not in self._found:
            self._found[uuid] = self._read(uuid)
        return self._found[uuid]


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({(error.strerror or str(error)).lower()})"
    return "cannot be understood" if isinstance(error, msgspec.MsgspecError) else str(error)
