"""Which file system a path is on."""

from __future__ import annotations

import pytest

from researchflow_tmux.mounts import is_network_fs, is_network_type, parse_mountinfo, type_of

MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /home rw,relatime shared:5 master:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/me/local rw - xfs /dev/sdb1 rw
32 30 0:42 / /home/me/my\040disk rw - fuse.sshfs me@there: rw
33 22 0:43 / /data rw - ext4 /dev/sdc1 rw
34 33 0:44 / /data rw - lustre mgs:/fs rw
no such line
"""


def test_fields() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert mounts[0][:2] == ("/", "ext4")
    assert mounts[4][:2] == ("/home/me/my disk", "fuse.sshfs")
    assert mounts[2].options == {"rw", "relatime", "vers=4.2"}
    assert len(mounts) == 7


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homes/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/locals", "nfs4"),
        ("/home/me/local", "xfs"),
        ("/home/me/local/x/y", "xfs"),
        ("/home/me/my disk/x", "fuse.sshfs"),
        ("/data/x", "lustre"),  # mounted over the other one
    ],
)
def test_longest_prefix(path: str, kind: str) -> None:
    assert type_of(path, parse_mountinfo(MOUNTINFO)) == kind


def test_nothing_known() -> None:
    assert type_of("/x", []) is None


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *((kind, False) for kind in ("ext4", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs")),
        *((kind, True) for kind in ("nfs", "cifs", "9p", "lustre", "fuse.sshfs", "fuse.unheard-of")),
    ],
)
def test_kinds(kind: str, network: bool) -> None:
    assert is_network_type(kind) is network


def test_this_machine() -> None:
    assert is_network_fs("/proc/self") is None
