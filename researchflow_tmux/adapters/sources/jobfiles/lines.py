"""The lines of a job file, as bytes: which are commands, what mark stands before them, and how to change only that.

    python train.py --lr 0.1       waiting: no mark
    ! python train.py --lr 0.2     running
    # python train.py --lr 0.3     finished
    ? python train.py --lr 0.4     terminated: failed, cancelled or skipped
    ## anything                    a comment
    #@ gpus=2                      options of the next command
    #@@ priority=5                 options of all commands below

A mark may stand after blanks and directly before the command. Several in a row (an editor's "comment out" before a
mark of ours) are one: the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

BOM = b"\xef\xbb\xbf"
WAITING, RUNNING, FINISHED, TERMINATED = "", "!", "#", "?"
ENDED = frozenset((FINISHED, TERMINATED))

_BLANKS = b" \t\r\v\f"
_MARKS = re.compile(rb"[#?!](?:[ \t]*[#?!])*")
_SHEBANG = b"#!/"


class Option(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A `#@` or `#@@` line."""

    index: int
    """Of the line, from 0."""
    column: int
    """Where its text begins, in bytes from 0."""
    text: bytes
    for_all: bool
    """`#@@`: it holds for all commands below."""


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is or was a command to run."""

    index: int
    """From 0."""
    mark: str
    command: bytes
    """Without mark, indentation, blanks at the end and line ending: what makes two lines the same."""
    options: tuple[Option, ...] = ()
    """Those that hold for it, the strongest last."""


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong with a line."""

    index: int
    message: str
    hint: str


class JobLines(msgspec.Struct, kw_only=True):
    """What a file holds. Lines that are neither here nor complained of are comments or blank."""

    commands: list[CommandLine] = msgspec.field(default_factory=list)
    complaints: list[Complaint] = msgspec.field(default_factory=list)


def split(data: bytes) -> list[bytes]:
    """The lines without their newlines; joined with those they are `data` again."""
    return data.split(b"\n")


def parse(data: bytes) -> JobLines:
    """Read a job file. Any bytes can be read; nothing is raised."""
    found = JobLines()
    defaults: tuple[Option, ...] = ()
    own: tuple[Option, ...] = ()
    continued = False
    for index, raw in enumerate(split(data)):
        text = raw.strip(_BLANKS) if index else raw.removeprefix(BOM).strip(_BLANKS)
        if continued:
            continued = _goes_on(text)
            continue
        if text[:2] == b"#@":
            option = _option(index, raw, text)
            if option.for_all:
                defaults += (option,)
            else:
                own += (option,)
            continue
        mark, command = _mark_and_command(text, index)
        if command is None:
            if own and not text:
                found.complaints += _stray(own)
                own = ()
            continue
        if not mark and _goes_on(command):
            continued = True
            found.complaints.append(_unfinished(index))
            own = ()
            continue
        found.commands.append(CommandLine(index=index, mark=mark, command=command, options=defaults + own))
        own = ()
    found.complaints += _stray(own)
    return found


def is_no_text(data: bytes, found: JobLines) -> bool:
    """Whether a file is something else under the name of a text: to run its lines would do anything."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16
        return True
    bad = sum(b"\0" in line.command for line in found.commands) if b"\0" in data else 0
    return bad > 1 and 2 * bad >= len(found.commands)


def mark_of(raw: bytes, index: int) -> str | None:
    """The mark of one line of `split`; None = it is no command."""
    text = raw.strip(_BLANKS) if index else raw.removeprefix(BOM).strip(_BLANKS)
    if text[:2] == b"#@":
        return None
    mark, command = _mark_and_command(text, index)
    return None if command is None else mark


def remark(raw: bytes, index: int, mark: str) -> bytes:
    """A command's line with another mark: no byte changes that is not a mark or the blank behind it."""
    start = len(BOM) if index == 0 and raw.startswith(BOM) else 0
    while raw[start : start + 1] and raw[start] in _BLANKS:
        start += 1
    found = _MARKS.match(raw, start)
    new = mark.encode()
    if found is None:
        return raw[:start] + new + b" " + raw[start:] if mark else raw
    rest = raw[found.end() :]
    if not mark:
        return raw[:start] + (rest[1:] if rest[:1] in (b" ", b"\t") else rest)
    return raw[:start] + new + (rest if rest[:1] in (b" ", b"\t") else _apart(rest, found[0]))


def _apart(rest: bytes, marks: bytes) -> bytes:
    """What follows a mark directly stays there, unless it would make something else of the mark, or marks were many."""
    return b" " + rest if len(marks) > 1 or rest[:1] == b"@" else rest


def _mark_and_command(text: bytes, index: int) -> tuple[str, bytes | None]:
    if not text or text[:2] == b"##" or (index == 0 and text.startswith(_SHEBANG)):
        return "", None
    if text[0] not in b"#?!":
        return "", text
    found = _MARKS.match(text)
    assert found is not None
    marks, command = found[0], text[found.end() :].lstrip(b" \t")
    a_comment = b"##" in marks or (marks[-1:] == b"#" and text[found.end() : found.end() + 1] == b"@")
    if a_comment or not command:  # a comment or an option that was commented out; a mark alone
        return "", None
    return chr(text[0]), command


def _option(index: int, raw: bytes, text: bytes) -> Option:
    for_all = text[:3] == b"#@@"
    shown = raw if index else raw.removeprefix(BOM)  # no editor counts it
    column = shown.index(text) + (3 if for_all else 2)
    return Option(index=index, column=column, text=text[3 if for_all else 2 :], for_all=for_all)


def _goes_on(command: bytes) -> bool:
    return (len(command) - len(command.rstrip(b"\\"))) % 2 == 1


def _stray(options: tuple[Option, ...]) -> Iterator[Complaint]:
    message = "these options stand before no command"
    hint = "put `#@` directly above the command; `#@@` holds for all commands below it"
    return (Complaint(index=option.index, message=message, hint=hint) for option in options)


def _unfinished(index: int) -> Complaint:
    message = "ends with a backslash, but a command is one line here: it is not queued, nor is what follows it"
    return Complaint(index=index, message=message, hint="write it as one line, or put it into a script")
