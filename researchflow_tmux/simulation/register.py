"""A machine register in memory: for several workspaces in one process, with scripted trouble."""

from __future__ import annotations

from datetime import datetime

from researchflow_tmux.domain.register import Page, Seen
from researchflow_tmux.policies.commons.adding import may_live


class MemoryRegister:
    """The Register port over pages that everybody who has it shares."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.dead: set[str] = set()
        """Workspaces whose scheduler does not run."""
        self.living: set[str] = set()
        """Tags of attempts that live though their scheduler does not."""
        self.stuck: str | None = None
        """Why the gate cannot be had."""
        self.garbage: dict[str, str] = {}
        """What is wrong with the page of a workspace."""
        self.full = False
        """Nothing can be written."""
        self.held = 0
        """How often the gate was taken."""
        self._locked = False

    def lock(self, patience_s: float) -> str | None:
        """Take the gate, if nobody has it."""
        if self.stuck is not None or self._locked:
            return self.stuck or "another scheduler of this machine holds the register's gate"
        self._locked = True
        self.held += 1
        return None

    def unlock(self) -> None:
        """Give it back."""
        self._locked = False

    def publish(self, page: Page) -> None:
        """Replace a page. Raises OSError while the disk is full."""
        if self.full:
            raise OSError(28, "No space left on device")
        self.pages[page.workspace_id] = page

    def read(self, now: datetime) -> list[Seen]:
        """All pages, and those that were never readable."""
        found = [self._seen(name, page, now) for name, page in sorted(self.pages.items())]
        unread = sorted(self.garbage.keys() - self.pages)
        return found + [Seen(name=name, page=None, problem=self.garbage[name]) for name in unread]

    def _seen(self, name: str, page: Page, now: datetime) -> Seen:
        alive = name not in self.dead
        living = frozenset() if alive else frozenset({*self.living, *may_live(page, now, same_boot=True)})
        return Seen(name=name, page=page, alive=alive, problem=self.garbage.get(name), living=living)
