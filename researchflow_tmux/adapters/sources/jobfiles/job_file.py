"""One job file: read into news for the queue, and shown the marks of its jobs.

A crash between any two steps costs nothing but work: notes are saved before a key is given away and after a mark is on
disk, and `verdicts` says what follows where a crash came between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.jobfiles import archive
from researchflow_tmux.adapters.sources.jobfiles import lines as text
from researchflow_tmux.adapters.sources.jobfiles.drafts import DraftMaker, Origin
from researchflow_tmux.adapters.sources.jobfiles.judging import Judging, accept
from researchflow_tmux.adapters.sources.jobfiles.matching import match
from researchflow_tmux.adapters.sources.jobfiles.notes import GONE, Note, decode, end_of, wanted_mark
from researchflow_tmux.adapters.sources.jobfiles.verdicts import Verdict, fits, judge
from researchflow_tmux.adapters.sources.ledger import Ledger
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job, JobState

MAX_BYTES = 64 * 1024 * 1024
TRIES = 5
"""How often a file is read again at once because somebody was faster; then it waits for the next time."""
_FILE = "@"
"""In the ledger: which file (device and inode) the notes are about, so that a renamed one is known again."""

_BEING_WRITTEN = "a program has it open for writing; marks are written when it has closed it"

Jobs = Mapping[str, Job]


class News(msgspec.Struct, kw_only=True):
    """What one look at a file brought."""

    drafts: Sequence[JobDraft] = ()
    withdrawn: Sequence[str] = ()
    again: Sequence[str] = ()


class JobFile:
    """`problems` and `warnings` are what there is to say of it now."""

    def __init__(self, path: str, origin: Origin, ledger: Ledger, maker: DraftMaker) -> None:
        self.path = path
        self.origin = origin
        self.problems: tuple[Problem, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.notes = ledger.load()
        """By key, encoded."""
        self.identity = self.notes.pop(_FILE, "")
        """The file that the notes are about."""
        self.places: dict[str, int] = {}
        """Where the line of each key stands; those that are gone are not in it."""
        self.owed: set[str] = set()
        """Keys whose mark is not as it should be."""
        self.judged = False
        """Everything that was seen in the file has been judged."""
        self._ledger = ledger
        self._maker = maker
        self._seen: user_file.Seen | None = None
        self._unsaved = False
        self._maybe_done = True
        self._pending: dict[str, JobDraft] = {}
        """Given away, and not known to be in the queue."""
        self._doubtful: user_file.Seen | str = ""
        """A look of the file that may be a moment's: it counts when the next one is the same."""

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, jobs: Jobs, *, first: bool) -> News:
        """What the queue does not know yet; `first` = nobody has looked before, so what is missing is gone for good."""
        try:
            return self._read(jobs, first=first)
        except user_file.Unusable as error:
            self.problems = (self._problem(error.message, error.hint),)
        except user_file.ChangedMeanwhile:
            pass  # whoever writes it will be noticed again
        except OSError as error:
            self.judged = False
            self.problems = (self._problem(f"what is noted of it cannot be saved: {error.strerror or error}"),)
        return News()

    def _read(self, jobs: Jobs, *, first: bool) -> News:
        seen = user_file.look(self.path)
        if seen is not None and seen == self._seen and self.judged:
            self._pending = {key: draft for key, draft in self._pending.items() if key not in jobs}
            self._save()
            return News(drafts=tuple(self._pending.values()))
        content = None if seen is None else user_file.read(self.path, MAX_BYTES)
        if not first and self._may_pass(content):
            return News()
        more_to_come = content is not None and content.being_written
        if content is not None and more_to_come:  # nor is its last line a command before it is ended
            content = content._replace(data=content.data[: content.data.rfind(b"\n") + 1])
        judging = Judging(self.origin, self._maker, self.notes, jobs)
        if content is None:
            self._seen, self.places = None, {}
        else:
            judging.lines(self._match(content, jobs), list(self.places))
        if not more_to_come:
            judging.gone([key for key in self.notes if key not in self.places])
        self.problems, self.warnings = tuple(judging.problems), tuple(judging.warnings)
        self.owed |= judging.owed
        self._pending = {draft.key: draft for draft in judging.drafts if draft.key not in jobs}
        if more_to_come and self.owed:
            self.warnings += (f"{self.origin.file}: {_BEING_WRITTEN}",)
        self._unsaved = True
        self._save()  # before any key is given away
        self.judged = not more_to_come
        return News(drafts=judging.drafts, withdrawn=judging.withdrawn, again=judging.again)

    def _may_pass(self, content: user_file.Content | None) -> bool:
        """Whether the file is in the middle of being saved: away, emptied, or open; True at most once for one look."""
        vanished = (content is None or not content.data) and bool(self.places)
        if not vanished and (content is None or not content.being_written):
            self._doubtful = ""
            return False
        look = "away" if content is None else content.seen
        self._doubtful, before = look, self._doubtful
        return look != before

    def _match(self, content: user_file.Content, jobs: Jobs) -> text.JobLines:
        """Find the lines of the jobs in what is in the file now. Raises Unusable where it is no text."""
        self._seen, self.judged = content.seen, False
        self.identity = f"{content.seen.device}:{content.seen.inode}"
        found = text.parse(content.data)
        if text.is_no_text(content.data, found):
            self.places, self.judged = {}, True
            raise user_file.Unusable("is not UTF-8 text: nothing of it is queued", "save it as UTF-8")

        def fitting(mark: str, key: str) -> bool:
            return fits(mark, decode(self.notes[key]), jobs.get(key))

        keys = match(self.origin.file, found.commands, self.notes, fitting)
        self._note_new(found.commands, keys)
        self.places = {key: line.index for key, line in zip(keys, found.commands, strict=True)}
        return found

    def _note_new(self, lines: Sequence[text.CommandLine], keys: Sequence[str]) -> None:
        new = [(line, key) for line, key in zip(lines, keys, strict=True) if key not in self.notes]
        labels = {decode(note).label for note in self.notes.values()} if new else set()
        for line, key in new:
            label, number = str(line.index + 1), 1
            while label in labels:
                number += 1
                label = f"{line.index + 1}_{number}"
            labels.add(label)
            self.notes[key] = Note(mark=line.mark, label=label).encode()
            self._unsaved = True

    # -- writing -------------------------------------------------------------------------------------------------------

    def owe(self, key: str, job: Job | None) -> None:
        """The job of this key has changed."""
        queued_now = self._pending.pop(key, None) is not None and job is not None and job.state is JobState.QUEUED
        if queued_now and self.notes.get(key, GONE)[0] == "|":  # it waits, and its line has no mark: all is said
            return
        self.owed.add(key)
        if self.warnings and key not in self.places:  # what they say of a line that is gone may be over
            self.judged = False

    def write(self, jobs: Jobs) -> list[Problem]:
        """Show how the jobs stand whose marks are owed."""
        if not self.owed:
            return []
        try:
            self._write(jobs)
        except user_file.BeingWritten:
            return []  # when it is closed we are told, and read it: then the marks are written
        except user_file.Unusable as error:
            self._note_ends(jobs)
            return [self._problem(f"marks are not up to date: {error.message}", error.hint)]
        except OSError as error:
            return [self._problem(f"what is noted of it cannot be saved: {error.strerror or error}")]
        return []

    def _write(self, jobs: Jobs) -> None:
        for _ in range(TRIES):
            try:
                self._write_once(jobs)
            except user_file.ChangedMeanwhile:
                continue
            self._save()
            return

    def _write_once(self, jobs: Jobs) -> None:
        content = user_file.read(self.path, MAX_BYTES)
        if content is None:
            return  # for a moment, or for good: `read` finds out
        if content.being_written:
            raise user_file.BeingWritten
        if content.seen != self._seen:
            self._match(content, jobs)
        raw = text.split(content.data)
        notes: dict[str, str] = {}
        written = False
        for key in self.owed:
            note = self._new_note(raw, key, jobs)
            if note is not None:
                notes[key] = note.encode()
                written |= self._remark(raw, key, note.mark)
        if written:
            self._seen = user_file.replace(self.path, b"\n".join(raw), content.seen)
            self.identity = f"{self._seen.device}:{self._seen.inode}"
        self._unsaved = self._unsaved or bool(notes)
        self.notes.update(notes)
        self.owed.clear()

    def _new_note(self, raw: Sequence[bytes], key: str, jobs: Jobs) -> Note | None:
        """What will be noted of a line once its mark is that of the note; None = it is not for us to change."""
        job, encoded = jobs.get(key), self.notes.get(key)
        if job is None or encoded is None:
            return None
        note, place = decode(encoded), self.places.get(key)
        if place is None:  # only `read` says what is gone: here the file may be half saved
            return replace(note, ended_us=end_of(job)) if note.mark == GONE else None
        now = text.mark_of(raw[place], place) or text.WAITING
        verdict = judge(now, note, job)
        if verdict is Verdict.WRITE:
            return accept(wanted_mark(job), note, job)
        return accept(now, note, job) if verdict in (Verdict.ACCEPT, Verdict.CHECK) else None

    def _remark(self, raw: list[bytes], key: str, mark: str) -> bool:
        """Put the mark before the line; False = there is nothing to change."""
        place = self.places.get(key)
        if place is None or text.mark_of(raw[place], place) == mark:
            return False
        raw[place] = text.remark(raw[place], place, mark)
        return True

    # -- the end -------------------------------------------------------------------------------------------------------

    def is_done(self, marks: Collection[str]) -> bool:
        """Whether every command has ended with one of these marks, one of them since the file was last put away."""
        ready = self._maybe_done and self.judged and self.places
        if not ready or self.problems or self._pending or self.owed:
            return False
        self._maybe_done = False
        fresh = False
        for key in reversed(self.places):  # what is not done is mostly at the end
            note = decode(self.notes[key])
            if note.mark not in marks:
                return False
            fresh = fresh or (note.ended_us > 0 and not note.archived)
        return fresh

    def put_away(self, directory: str, name: str) -> str | None:
        """Move the file to `directory`/`name`.old, or with a number; None = somebody is at it. Raises Unusable."""
        assert self._seen is not None
        try:
            place = archive.put_away(self.path, self._seen, directory, name)
        except (user_file.ChangedMeanwhile, user_file.BeingWritten):
            return None
        finally:
            self._maybe_done = True  # if it is still there, it is tried again
        notes = ((key, decode(note)) for key, note in self.notes.items())
        self.notes = {key: replace(note, mark=GONE, archived=True).encode() for key, note in notes}
        self._seen, self.places, self.warnings = None, {}, ()
        self._unsaved = True
        with contextlib.suppress(OSError):  # else with the next look
            self._save()
        return place

    @property
    def is_over(self) -> bool:
        """The file is gone, and nothing of it is waited for."""
        return self.judged and self._seen is None and not self.owed and not self.warnings

    def prefixes(self) -> set[str]:
        """What stands before the `#` of its keys: the path, unless it was renamed."""
        return {key.rpartition("#")[0] for key in self.notes}

    def adopt(self, other: JobFile) -> None:
        """This is the other file under a new name: its jobs are ours."""
        self.notes, other.notes = other.notes, {}
        self.owed, other.owed = other.owed, set()
        other.places = {}
        self._unsaved = other._unsaved = True
        with contextlib.suppress(OSError):
            self._save()
            other._save()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _note_ends(self, jobs: Jobs) -> None:
        """The marks cannot be written: note at least what has ended, lest it run again when its job is cleaned away."""
        for key in self.owed:
            job, encoded = jobs.get(key), self.notes.get(key)
            if job is None or encoded is None or not job.state.ended:
                continue
            note = decode(encoded)
            if note.mark in (text.WAITING, text.RUNNING) and note.ended_us != end_of(job):
                self.notes[key] = replace(note, ended_us=end_of(job)).encode()
                self._unsaved = True
        with contextlib.suppress(OSError):
            self._save()

    def _save(self) -> None:
        if self._unsaved:
            if self.notes:
                self._ledger.save({**self.notes, _FILE: self.identity})
            else:
                self._ledger.forget()
            self._unsaved = False
            self._maybe_done = True

    def _problem(self, message: str, hint: str | None = None) -> Problem:
        return Problem(message=message, file=self.origin.file, hint=hint)
