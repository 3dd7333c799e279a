"""The encoding of a text table: told by its mark, tried, or guessed with a warning; and the way back to bytes."""

from __future__ import annotations

import codecs

import msgspec

from researchflow_tmux.adapters.sources.tables.grid import Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Encoding(msgspec.Struct, frozen=True):
    """How text and bytes of one file go together."""

    name: str
    mark: bytes = b""
    warning: str | None = None

    def encode(self, text: str) -> bytes:
        """The bytes of the whole file."""
        return self.mark + text.encode(self.name)


def decode(data: bytes) -> tuple[str, Encoding]:
    """The text of a file, and its encoding, with which it becomes exactly these bytes again.

    Raises:
        Unreadable: It is no text in an encoding that is known here.
    """
    text, encoding = _read(data)
    if encoding.encode(text) != data:
        raise Unreadable(
            f"is not clean {encoding.name}: it could not be written back unchanged", hint="save it as UTF-8"
        )
    if "\0" in text:
        raise Unreadable("holds NUL characters: it is no text", hint="export the table as CSV in UTF-8")
    return text, encoding


def _read(data: bytes) -> tuple[str, Encoding]:
    for mark, name in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(name), Encoding(name, mark)
            except UnicodeDecodeError as error:
                at = f"byte {error.start + len(mark)}"
                raise Unreadable(f"begins as {name.upper()}, but is none at {at}", hint="save it as UTF-8") from None
    try:
        return data.decode("utf-8"), Encoding("utf-8")
    except UnicodeDecodeError:
        return _guess(data)


def _guess(data: bytes) -> tuple[str, Encoding]:
    """Chinese if every character beyond ASCII is a common one of GBK, else the Western European code page."""
    try:
        text = data.decode("gbk")
    except UnicodeDecodeError:
        pass
    else:
        if all(_is_common(character) for character in text if character > "\x7f"):
            return text, Encoding("gbk", warning=_guessed("GBK"))
    for name in ("cp1252", "latin-1"):
        try:
            return data.decode(name), Encoding(name, warning=_guessed(name))
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 takes every byte")


def _is_common(character: str) -> bool:
    """Whether it is punctuation or one of the 3755 most used characters of GB 2312."""
    first = character.encode("gbk")[0]
    return first in range(0xA1, 0xA4) or first in range(0xB0, 0xD8)


def _guessed(name: str) -> str:
    return f"is not UTF-8 and was read as {name}; save it as UTF-8 to be sure"
