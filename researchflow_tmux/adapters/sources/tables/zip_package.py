"""A zip file of which one member can be replaced while all other bytes stay: no member is packed again."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from researchflow_tmux.adapters.sources.tables.grid import MAX_BYTES, Unreadable

MAX_UNPACKED = 256 * 1024 * 1024
"""A workbook of 200 000 rows is a tenth of it; what claims more is refused before anything is unpacked."""
MAX_MEMBERS = 10_000

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_ZIP64_EXTRA, _DESCRIPTOR, _ENCRYPTED, _DEFLATED = 1, 0x8, 0x1, 8
_UNSAID = 0xFFFFFFFF
_READING = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError)
DAMAGED = "is no sound .xlsx file"
SAVE_AGAIN = "save it again in Excel or LibreOffice as .xlsx"


class Package:
    """The members of a zip file. Raises Unreadable where the file is not sound, or larger than anybody's table."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if len(data) > MAX_BYTES:
            raise Unreadable(f"is larger than {MAX_BYTES >> 20} MiB", hint="split the table")
        if data.startswith(b"\xd0\xcf\x11\xe0"):
            raise Unreadable("is protected by a password, or an old .xls", hint=f"{SAVE_AGAIN} without a password")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError, EOFError) as error:
            raise Unreadable(f"{DAMAGED}: {_words(error)}", hint=SAVE_AGAIN) from None
        if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED:
            raise Unreadable(f"would unpack to more than {MAX_UNPACKED >> 20} MiB", hint="split the table")

    def read(self, name: str) -> bytes:
        """One member, unpacked: never more than it claims. Raises Unreadable."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise Unreadable(f"{DAMAGED}: it has no {name}", hint=SAVE_AGAIN) from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            NotImplementedError,
            OSError,
            EOFError,
            ValueError,
        ) as error:
            raise Unreadable(f"{DAMAGED}: {name}: {_words(error)}", hint=SAVE_AGAIN) from None

    def replaced(self, name: str, content: bytes) -> bytes:
        """The file with another content of this member. Raises Unreadable for a zip that cannot be spliced."""
        info = self._zip.getinfo(name)
        start, directory = info.header_offset, self._zip.start_dir
        following = [each.header_offset for each in self._zip.infolist() if each.header_offset > start]
        end = min(following, default=directory)
        member, facts = self._member(start, info, content)
        moved = len(member) - (end - start)
        tail = self._directory(directory, start, moved, facts)
        return self.data[:start] + member + self.data[end:directory] + tail

    def _member(self, start: int, info: zipfile.ZipInfo, content: bytes) -> tuple[bytes, tuple[int, int, int]]:
        fields = list(_LOCAL.unpack_from(self.data, start))
        if fields[0] != b"PK\x03\x04" or info.flag_bits & _ENCRYPTED:
            raise Unreadable(f"{DAMAGED}: {info.filename} is encrypted or not where it should be", hint=SAVE_AGAIN)
        name_at = start + _LOCAL.size
        name = self.data[name_at : name_at + fields[9]]
        extra = _without_zip64(self.data[name_at + fields[9] : name_at + fields[9] + fields[10]])
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush()
        facts = (zlib.crc32(content), len(packed), len(content))
        fields[1:4] = [max(fields[1], 20) if fields[1] < 45 else 20, fields[2] & ~_DESCRIPTOR, _DEFLATED]
        fields[6:9] = facts
        fields[10] = len(extra)
        return _LOCAL.pack(*fields) + name + extra + packed, facts

    def _directory(self, at: int, changed: int, moved: int, facts: tuple[int, int, int]) -> bytes:
        """The central directory and what follows it, with the new facts and places."""
        data, begin, pieces = self.data, at, []
        while data[at : at + 4] == b"PK\x01\x02":
            fields = list(_CENTRAL.unpack_from(data, at))
            rest = data[at + _CENTRAL.size : at + _CENTRAL.size + sum(fields[10:13])]
            offset = fields[16]
            if _UNSAID in (fields[8], fields[9], offset):
                raise Unreadable("is a zip64 file, in which no cell can be changed", hint=SAVE_AGAIN)
            if offset == changed:
                fields[3:5] = [fields[3] & ~_DESCRIPTOR, _DEFLATED]
                fields[7:10] = facts
            elif offset > changed:
                fields[16] = offset + moved
            pieces.append(_CENTRAL.pack(*fields) + rest)
            at += _CENTRAL.size + len(rest)
        end = list(_END.unpack_from(data, at)) if len(data) >= at + _END.size else [b""]
        if end[0] != b"PK\x05\x06" or end[6] != begin:
            raise Unreadable("is a zip of a kind in which no cell can be changed", hint=SAVE_AGAIN)
        end[6] = begin + moved
        return b"".join(pieces) + _END.pack(*end) + data[at + _END.size :]


def _without_zip64(extra: bytes) -> bytes:
    kept, at = b"", 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind != _ZIP64_EXTRA:
            kept += extra[at : at + 4 + size]
        at += 4 + size
    return kept


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
