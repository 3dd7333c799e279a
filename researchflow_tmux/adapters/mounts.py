"""Which file system a path is on: network file systems get no memory-mapped write-ahead log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

NETWORK_TYPES = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fhgfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
    }
    | {"ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs"}
)
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.bindfs", "fuse.ntfs-3g", "fuse.exfat"})
"""FUSE file systems of one machine; any other `fuse.*` counts as a network."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """(mount point, type) per line of /proc/self/mountinfo, in its order; lines not understood are left out."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if separator and len(fields) >= 5 and kinds[0]:
            mounts.append((_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4]), kinds[0]))
    return mounts


def type_of(path: str, mounts: Iterable[tuple[str, str]]) -> str | None:
    """Type of the mount with the longest prefix of `path`; of two on one point the later one covers the other."""
    best, kind = -1, None
    for point, candidate in mounts:
        prefix = point.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and len(prefix) >= best:
            best, kind = len(prefix), candidate
    return kind


def is_network_type(kind: str) -> bool:
    """True when other machines may have the same files open."""
    return kind in NETWORK_TYPES or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def is_network_fs(path: str) -> str | None:
    """The file system's type if `path` is on a network, else None (also when it cannot be told)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return None
    kind = type_of(os.path.realpath(path), parse_mountinfo(text))
    return kind if kind is not None and is_network_type(kind) else None
