"""A thread beside the scheduler's loop that follows how far jobs are, and learns from how they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from researchflow_tmux.adapters import foreseen_file
from researchflow_tmux.adapters.foreseen_file import Foreseen
from researchflow_tmux.adapters.rounds import Round, Rounds
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.events import AttemptEnded, Event, JobSubmitted
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.ports import Clock
from researchflow_tmux.watching.learning import Learning
from researchflow_tmux.watching.outlook import Outlook, Target, target

LOOK_S = 2.0
"""Between two looks at running jobs; longer with many of them, so that it never takes more than a little of a core."""
PER_JOB_S = 0.1
RETRY_S = 30.0
MOST_NEW = 20_000
"""Jobs that came and are still to be predicted; of more than that at once the first ones are left out."""


class Foreseeing:
    """Keeps `foreseen.json` and `predictions.db` up to date. The loop never waits for it; trouble is told once."""

    def __init__(self, paths: WorkspacePaths, clock: Clock, tell: Callable[[str], None]) -> None:
        """Start nothing yet. `tell(text)` is called in the thread when something stops or works again."""
        self._paths, self._clock = paths, clock
        self._targets: tuple[Target, ...] = ()
        self._news: deque[Job] = deque(maxlen=MOST_NEW)
        self._rounds = Rounds(
            "foreseeing",
            self._opened,
            tell=tell,
            broken="ends of jobs cannot be predicted for now",
            again="ends of jobs are predicted again",
            pause_s=min(LOOK_S / 4, 0.5),
            retry_s=RETRY_S,
        )

    # -- the loop's side

    def follow(self, attempts: Iterable[Attempt], job: Callable[[int], Job]) -> None:
        """These attempts are live now. Cheap: called with every tick."""
        before = self._targets
        self._targets = tuple(found for each in attempts if (found := target(each, job)) is not None)
        if self._targets and not before:
            self._rounds.poke()

    def saved(self, events: Iterable[Event]) -> None:
        """This happened: predict what came, learn from what ended."""
        poke = False
        for event in events:
            match event.payload:
                case JobSubmitted(job=job):
                    self._news.append(job)
                    poke = True
                case AttemptEnded():
                    poke = True
        if poke:
            self._rounds.poke()

    def begin(self) -> None:
        """Learn from what ended while no scheduler ran."""
        self._rounds.poke()

    def close(self, timeout_s: float = 2.0) -> None:
        """Finish what there is; what takes longer is learned at the next start."""
        self._rounds.close(timeout_s)

    # -- the thread's side

    @contextmanager
    def _opened(self) -> Iterator[Round]:
        learning, outlook = Learning(self._paths), Outlook(self._paths, foreseen_file.read(self._paths.foreseen))
        try:
            yield lambda: self._round(learning, outlook)
        finally:
            learning.close()

    def _round(self, learning: Learning, outlook: Outlook) -> float | None:
        """Look once; seconds until the next time, None = when something happens."""
        learning.expect(self._news)
        learning.learn(outlook)
        targets = self._targets
        now = self._clock.now()
        if outlook.look(targets, learning.history, learning.wrong, now):
            foreseen_file.write(self._paths.foreseen, Foreseen(at=now, attempts=outlook.attempts))
        return max(LOOK_S, PER_JOB_S * len(targets)) if targets else None
