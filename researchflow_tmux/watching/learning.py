"""What ended attempts teach: kept in `predictions.db`, each end once, with the predictions that were made of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque

from researchflow_tmux.adapters import lessons
from researchflow_tmux.adapters.lesson_store import LessonStore, read_made
from researchflow_tmux.adapters.lessons import End
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.fingerprint import fingerprint
from researchflow_tmux.policies.prediction.history import Lesson
from researchflow_tmux.policies.prediction.running import Wrong
from researchflow_tmux.watching.outlook import Outlook

AT_ONCE = 500
"""Jobs that came which are predicted in one round: some milliseconds."""
REMEMBERED_S = 90 * 86_400.0


class Learning:
    """Belongs to one thread of the scheduler."""

    def __init__(self, paths: WorkspacePaths) -> None:
        self._paths = paths
        self.history, self._event = lessons.remembered(paths)
        self.wrong = Wrong()
        self._store: LessonStore | None = None
        with contextlib.suppress(sqlite3.Error):
            for made in read_made(paths.predictions)[-4000:]:
                self.wrong.learn(made)

    def close(self) -> None:
        """Give the file back."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def expect(self, news: deque[Job]) -> None:
        """Predict the jobs that came, as long as there are any in `news`. Raises sqlite3.Error."""
        if self.history.empty:
            news.clear()
        while news:
            expected = {}
            for _ in range(min(len(news), AT_ONCE)):
                job = news.popleft()
                known = self.history.predict(job)
                if known is not None:
                    limited = known.limited(job.spec.request.time_limit_s)
                    expected[job.id] = (limited.p50_s, limited.low_s, limited.high_s)
            if expected:
                self._opened().expect(expected)

    def learn(self, outlook: Outlook) -> None:
        """Take in what ended since the last time. Raises StoreError, sqlite3.Error."""
        with SqliteReader(self._paths.database) as reader:
            last = reader.last_event()
        while self._event < last:
            events, ends = lessons.recent(self._paths, self._event)
            found: list[Lesson] = []
            made: list[Made] = []
            for end in ends:
                lesson = self.history.lesson(fingerprint(end.job.spec), end.took_s)
                self.history.remember(lesson)
                found.append(lesson)
                made += self._made(end, outlook)
            upto = events[-1].seq if len(events) >= lessons.LAST_ENDS and self._event else last
            self._opened().add(found, made, upto)
            for one in made:
                self.wrong.learn(one)
            self._event = upto

    def _made(self, end: End, outlook: Outlook) -> list[Made]:
        """The predictions about an attempt, now that its end is known."""
        job = end.job
        facts = (end.ended_at_s, job.id, end.number, job.name, job.spec.project, job.spec.user)
        found = []
        expected = self._opened().expected(job.id)
        if expected is not None:
            found.append(Made(*facts, "submitted", "history", end.took_s, *expected))
        for said in outlook.said((job.id, end.number)):
            predicted = (said.total_s, said.low_s, said.high_s, said.elapsed_s)
            found.append(Made(*facts, said.moment, said.source, end.took_s, *predicted))
        return found

    def _opened(self) -> LessonStore:
        if self._store is None:
            self._store = LessonStore(self._paths.predictions)
        return self._store
