"""Telling hooks beside the scheduler's loop: a thread for each hook, which reads the history at its own pace.

The history itself is the queue: it is durable, and a hook that hangs holds up no other and not the loop. A hook that
is too far behind skips what is oldest, and says so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.events import Event
from researchflow_tmux.domain.hooks import HOOK_EVENTS, Hook, HookEvent, Hooks
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.hooks.cursors import Cursors, target_of
from researchflow_tmux.hooks.delivery import deliver
from researchflow_tmux.hooks.facts import KINDS, Fact, Teller
from researchflow_tmux.hooks.secrets import secrets_of, shown, without
from researchflow_tmux.policies.retry import backoff_s

CURSORS_NAME = "hooks.json"
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
BATCH = 200
MOST_BEHIND = 10_000
"""Entries of the history; what is older is skipped."""
CLOSE_S = 3.0
RETRY_READ_S = 5.0


class Telling:
    """All hooks of one workspace. `saved` is called by the loop; everything else happens in threads."""

    def __init__(
        self,
        paths: WorkspacePaths,
        host: str,
        tell: Callable[[str], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """`tell(text)` is called, in any thread, when a hook stops working and when it works again."""
        self._paths = paths
        self._host = host
        self._tell = tell
        self._first_pause_s = first_pause_s
        self._cursors: Cursors | None = None
        self._path = os.path.join(paths.state, CURSORS_NAME)
        self._threads: list[_Target] = []

    def begin(self, hooks: Hooks, environ: Mapping[str, str]) -> None:
        """Tell these hooks, also of what happened since they were last told. Called again, it changes them at once."""
        wanted = {target_of(event, hook): (event, hook) for event in HOOK_EVENTS for hook in hooks.get(event, ())}
        if not wanted and not os.path.exists(self._path):
            return
        try:
            self._cursors = self._cursors or Cursors(self._path)
            self._cursors.begin(list(wanted), self._last_seq())
        except (OSError, RfschedError) as error:
            self._tell(f"no hook is told anything: {error}")
            return
        before = {thread.target: thread for thread in self._threads}
        self._threads = []
        for target, (event, hook) in wanted.items():
            thread = before.get(target)
            if thread is None or not thread.tells(hook, environ):
                thread = _Target(self, self._cursors, event, hook, environ, after=thread)
                thread.start()
            self._threads.append(thread)
        for thread in before.values():
            if thread not in self._threads:
                thread.end()

    def saved(self, events: Iterable[Event]) -> None:
        """These are in the history now."""
        if self._threads:
            kinds = {str(event.payload.__struct_config__.tag) for event in events}
            for thread in self._threads:
                if not kinds.isdisjoint(KINDS[thread.event]):
                    thread.poke()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """End after what is being told now; the rest is told at the next start."""
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(timeout_s)
        self._threads = []

    def _last_seq(self) -> int:
        with SqliteReader(self._paths.database) as reader:
            last = reader.events(limit=1)
        return last[-1].seq if last else 0

    def teller(self, reader: SqliteReader) -> Teller:
        """What makes facts for this workspace."""
        return Teller(reader, self._paths.root, self._host)

    @property
    def paths(self) -> WorkspacePaths:
        """The workspace."""
        return self._paths

    @property
    def first_pause_s(self) -> float:
        """Seconds before the second try."""
        return self._first_pause_s

    def complain(self, text: str) -> None:
        """Say what is wrong, or right again."""
        self._tell(text)


class _Target(threading.Thread):
    """One hook for one event."""

    def __init__(
        self,
        telling: Telling,
        cursors: Cursors,
        event: HookEvent,
        hook: Hook,
        environ: Mapping[str, str],
        *,
        after: _Target | None,
    ) -> None:
        """`after` = what told the same target so far: it must have ended before this one begins."""
        super().__init__(name=f"hook {event}", daemon=True)
        self.event = event
        self.target = target_of(event, hook)
        self._after = after
        self._it = telling
        self._cursors = cursors
        self._hook = hook
        self._environ = environ
        self._poked = threading.Event()
        self._poked.set()
        self._ending = threading.Event()
        self._trouble = False

    def tells(self, hook: Hook, environ: Mapping[str, str]) -> bool:
        """Whether it is this very hook already."""
        return (self._hook, self._environ) == (hook, environ)

    def poke(self) -> None:
        """There is something in the history."""
        self._poked.set()

    def end(self) -> None:
        """Stop after what is being told."""
        self._ending.set()
        self._poked.set()

    def run(self) -> None:
        """Tell, in the order of the history, until told to end."""
        if self._after is not None:
            self._after.end()
            self._after.join()
            self._after = None
        while True:
            self._poked.wait()
            self._poked.clear()
            if self._ending.is_set():
                return
            try:
                more = self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the scheduler and the other hooks go on
                words = str(error) if isinstance(error, RfschedError) else f"{type(error).__name__}: {error}"
                self._say(without(secrets_of(self._hook, self._environ), words))
                self._ending.wait(RETRY_READ_S)
                more = True
            if more:
                self._poked.set()

    def _look(self) -> bool:
        """Tell what is new; True = there is more."""
        with SqliteReader(self._it.paths.database) as reader:
            self._skip_old(reader)
            after = self._cursors.of(self.target)
            events = reader.events(after=after, kinds=KINDS[self.event], limit=BATCH)
            teller = self._it.teller(reader)
            for event in events:
                for fact in teller.facts(self.event, event):
                    if not self._told(fact):
                        return False  # ending: it is told at the next start
                if self._ending.is_set():
                    self._cursors.move(self.target, event.seq)
                    return False
            if events:
                self._cursors.move(self.target, events[-1].seq)
        return len(events) == BATCH

    def _skip_old(self, reader: SqliteReader) -> None:
        last = reader.events(limit=1)
        behind = last[-1].seq - self._cursors.of(self.target) if last else 0
        if behind > MOST_BEHIND:
            self._cursors.move(self.target, last[-1].seq - MOST_BEHIND)
            text = f"it is {behind} entries of the history behind; all but the last {MOST_BEHIND} are left out"
            self._it.complain(f"hook for {self.event}, {shown(self._hook)}: {text}")

    def _told(self, fact: Fact) -> bool:
        """Try until it is taken or the tries are used up; False = told to end before that."""
        problem: str | None = None
        for tries in range(self._hook.retries + 1):
            problem = deliver(self._hook, fact, self._environ, self._it.paths.root)
            if problem is None:
                break
            if tries == 0:
                self._say(problem)
            if tries < self._hook.retries:
                pause_s = backoff_s(self._it.first_pause_s, tries, LONGEST_PAUSE_S)
                if self._ending.wait(pause_s):
                    return False
        if problem is None:
            self._say(None)
        self._cursors.move(self.target, fact.seq)
        return True

    def _say(self, problem: str | None) -> None:
        """Tell once that it does not work, and once that it works again."""
        name = f"hook for {self.event}, {shown(self._hook)}"
        if problem is not None and not self._trouble:
            self._it.complain(f"{name}: {problem}; tried {self._hook.retries + 1} times each time, with pauses")
        elif problem is None and self._trouble:
            self._it.complain(f"{name}: works again")
        self._trouble = problem is not None
