"""The exit record: how an attempt ended, in a file that a full disk cannot lose.

`ATTEMPT_DIR/exit` gets its 4096 bytes at the claim and is written once, in place, at the end: magic, CRC, length, JSON.
Until then it reads as zeros, so its existence says nothing: only `read()` does.
"""

from __future__ import annotations

import errno
import os

from researchflow_tmux.runner import files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE = 4096
_MAGIC = b"rfexit1\n"
_HEADER = len(_MAGIC) + 8
_LONGEST_TEXT = 1200


def path(attempt_dir: str) -> str:
    """Return where the exit record of an attempt is."""
    return os.path.join(attempt_dir, "exit")


def preallocate(file: str) -> int:
    """Create `file` with its blocks allocated; return a descriptor. OSError: no room, and no file.

    The caller makes it durable.
    """
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.posix_fallocate(fd, 0, SIZE)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            files.write_all(fd, bytes(SIZE))
    except OSError:
        os.close(fd)
        files.remove(file)
        raise
    return fd


def write(fd: int, facts: dict[str, Any]) -> None:
    """Write the record in place and make it durable; long texts are cut so that it always fits."""
    os.pwrite(fd, _encode(facts), 0)
    os.fdatasync(fd)


def read(attempt_dir: str) -> dict[str, Any] | None:
    """Return the exit record; None when the attempt has none yet (absent, still zeros, torn, damaged)."""
    return _read_file(path(attempt_dir))


def refuse(attempt_dir: str, facts: dict[str, Any]) -> None:
    """Leave word, as far as the disk allows, why a runner ended *before* it claimed the attempt."""
    try:
        files.replace(os.path.join(attempt_dir, "refused"), _encode(facts))
    except OSError:
        return


def read_refusal(attempt_dir: str) -> dict[str, Any] | None:
    """Return what `refuse` left. Nothing ran, but another runner may still claim: fence before acting on it."""
    return _read_file(os.path.join(attempt_dir, "refused"))


def _read_file(file: str) -> dict[str, Any] | None:
    import binascii

    data = files.read(file, SIZE) or b""
    if not data.startswith(_MAGIC) or len(data) < _HEADER:
        return None
    length = int.from_bytes(data[len(_MAGIC) + 4 : _HEADER], "little")
    body = data[_HEADER : _HEADER + length]
    if len(body) != length or binascii.crc32(body) != int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 4], "little"):
        return None
    return jsontext.load_dict(body)


def _encode(facts: dict[str, Any]) -> bytes:
    import binascii

    body = _fitting(facts)
    return _MAGIC + binascii.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body


def _fitting(facts: dict[str, Any]) -> bytes:
    longest = _LONGEST_TEXT
    while True:
        body = jsontext.dumps({key: _cut(value, longest) for key, value in facts.items()}).encode()
        if len(body) <= SIZE - _HEADER:
            return body
        longest //= 2


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str) and len(value) > longest:
        return value[: longest - 1] + "…"
    if isinstance(value, dict):
        return {key: _cut(part, longest) for key, part in value.items()}
    return value[: longest // 8] if isinstance(value, list) else value
