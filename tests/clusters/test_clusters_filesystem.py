"""The file system under a folder: found in the kernel's list of mounts, and asked how it takes direct I/O."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusters.filesystem import direct_alignment, holding

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / {0} rw,nosuid - tmpfs tmpfs rw,size=1g
31 30 8:1 / {0}/with\\040space rw,noatime shared:5 - xfs /dev/sda1 rw,attr2
32 31 0:50 / {0}/with\\040space/over rw - nfs4 server:/export rw,vers=4.2
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    (tmp_path / "with space" / "over").mkdir(parents=True)
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS.format(tmp_path))
    return file


@pytest.mark.parametrize(
    ("folder", "kind", "source", "options"),
    [
        ("", "tmpfs", "tmpfs", "rw,nosuid"),
        ("with space", "xfs", "/dev/sda1", "rw,noatime"),
        ("with space/over", "nfs4", "server:/export", "rw"),
    ],
)
def test_the_deepest_mount_counts(
    mounts: Path, tmp_path: Path, folder: str, kind: str, source: str, options: str
) -> None:
    found = holding(tmp_path / folder, mounts)
    assert (found.kind, found.source, found.options) == (kind, source, options)
    assert found.in_memory == (kind == "tmpfs")
    assert 0 < found.free <= found.size


def test_a_link_leads_to_where_it_points(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "with space" / "over")
    assert holding(tmp_path / "link", mounts).kind == "nfs4"


@pytest.mark.parametrize("text", ["", "not a mount\n", "1 2 3 - ext4\n"])
def test_what_is_not_told_is_unknown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(text)
    assert holding(tmp_path, file).kind == "unknown"
    assert holding(tmp_path, tmp_path / "none").kind == "unknown"


def test_the_alignment_is_one_that_the_file_system_takes(tmp_path: Path) -> None:
    size = direct_alignment(tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"
    if size is None:
        pytest.skip(f"{holding(tmp_path).kind} has no direct I/O")
    import mmap

    memory = mmap.mmap(-1, 1 << 16)
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    try:
        assert os.pwrite(descriptor, memoryview(memory)[:size], size) == size
    finally:
        os.close(descriptor)


def test_memory_has_none() -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or not holding(shared).in_memory:
        pytest.skip("no /dev/shm in memory here")
    assert direct_alignment(shared) is None
