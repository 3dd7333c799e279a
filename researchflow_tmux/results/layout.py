"""The bytes of index.json: one JSON object, one entry a line, so that an entry is added by writing at the end.

    {
    "3f0c…": {"uuid":"3f0c…","metadata":{…},"extra_info":{…},"attachments":{…}}
    ,"91b7…": {…}
    }

An entry that was changed since the last rewrite has several lines; the last one counts, for every JSON reader that
people use. The comma stands in front: adding a line then never touches the one before it, and a write that was cut
short can only have damaged the end.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Mapping

import msgspec

from researchflow_tmux.results.values import Entry

EMPTY = b"{\n}\n"
TAIL = b"\n}\n"
_TORN_LINES = 3
"""More pieces one cut write cannot leave: part of its line, the closing brace, the end of the file."""


def encode_line(uuid: str, entry: Entry) -> bytes:
    """The member of one entry, without comma and line ends (which JSON text never contains)."""
    return msgspec.json.encode(uuid) + b": " + _encode(entry)


def encode_index(entries: Mapping[str, Entry]) -> bytes:
    """The whole file, one line an entry."""
    if not entries:
        return EMPTY
    return b"{\n" + b"\n,".join([encode_line(uuid, entry) for uuid, entry in entries.items()]) + TAIL


def addition(line: bytes, *, first: bool) -> bytes:
    """What replaces TAIL at the end of the file when a line is added."""
    return (b"\n" if first else b"\n,") + line + TAIL


def can_grow(content: bytes) -> bool:
    """True if a line can be added by replacing the last three bytes."""
    return content.startswith(b"{\n") and content.endswith(TAIL)


def count_lines(content: bytes) -> int:
    """Entries of a file in this layout, those replaced later included."""
    return max(content.count(b"\n") - 2, 0)


def decode_index(content: bytes) -> dict[str, Entry]:
    """The entries. Raises ValueError saying what is wrong: no JSON, or JSON of another shape."""
    with _without_collection():
        try:
            found = msgspec.json.decode(content)
        except (msgspec.MsgspecError, RecursionError):
            found = _decode_slowly(content)
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__} instead of an object")
    for uuid, entry in found.items():
        if not isinstance(entry, dict):
            raise ValueError(f"entry {uuid!r} is a {type(entry).__name__}, not an object")
    return found


def decode_addition(content: bytes) -> dict[str, Entry]:
    """The entries of lines that were added, from the end of the old last line on. Raises ValueError."""
    if not content.endswith(TAIL):
        raise ValueError("the index does not end with a closing brace")
    return decode_index(b"{" + content.lstrip(b"\n,"))


def without_torn_end(content: bytes) -> tuple[bytes, dict[str, Entry]] | None:
    """`content` without what a write that was cut short left at its end; None if more than that is wrong."""
    end = len(content)
    for _ in range(_TORN_LINES):
        end = content.rfind(b"\n", 0, end)
        if end <= 0:
            return None
        whole = content[:end] + TAIL
        try:
            return whole, decode_index(whole)
        except ValueError:
            continue
    return None


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """A large index becomes hundreds of thousands of objects, none of them garbage: looking through them costs as much.

    Several threads may be here at once; whoever found the collector on turns it on again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _decode_slowly(content: bytes) -> object:
    """With the standard library, which also reads NaN and Infinity."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _encode(entry: Entry) -> bytes:
    """Compact JSON; NaN and Infinity as the standard library writes them."""
    try:
        encoded = msgspec.json.encode(entry)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError):
        pass
    else:
        if b"null" not in encoded:  # else it may stand for NaN, which must not get lost
            return encoded
    try:
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, from a file that another program wrote
        return json.dumps(entry, separators=(",", ":")).encode()
