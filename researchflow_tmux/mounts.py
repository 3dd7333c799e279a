"""Which file system a path is on, and how it is mounted: on a network, locks and shared memory are another matter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

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


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo."""

    point: str
    kind: str
    options: frozenset[str] = frozenset()
    """Of the mount point and of the file system, as in `rw` or `local_lock=none`."""


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of /proc/self/mountinfo, in its order; lines not understood are left out."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if separator and len(fields) >= 5 and kinds[0]:
            point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
            options = ",".join([*fields[5:6], *kinds[2:3]])
            mounts.append(Mount(point, kinds[0], frozenset(filter(None, options.split(",")))))
    return mounts


def mount_among(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount with the longest prefix of `path`; of two on one point the later one covers the other."""
    best, found = -1, None
    for mount in mounts:
        prefix = mount.point.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and len(prefix) >= best:
            best, found = len(prefix), mount
    return found


def type_of(path: str, mounts: Iterable[Mount]) -> str | None:
    """Type of the file system that `path` is on; None = cannot be told."""
    mount = mount_among(path, mounts)
    return mount.kind if mount is not None else None


def is_network_type(kind: str) -> bool:
    """True when other machines may have the same files open."""
    return kind in NETWORK_TYPES or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def mount_of(path: str) -> Mount | None:
    """The mount that `path` (which need not exist) is on; None when it cannot be told."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return None
    return mount_among(os.path.realpath(path), parse_mountinfo(text))


def is_network_fs(path: str) -> str | None:
    """The file system's type if `path` is on a network, else None (also when it cannot be told)."""
    mount = mount_of(path)
    return mount.kind if mount is not None and is_network_type(mount.kind) else None
