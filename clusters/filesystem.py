"""The file system that a folder lies on: what it is, how it is mounted, what is free, how it takes direct I/O."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.units import show_size

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
ALIGNMENTS = (512, 4096)  # B, in the order they are tried
PAGE = mmap.PAGESIZE


@dataclass(frozen=True)
class FileSystem:
    """kind: ext4, xfs, nfs4, ... source: the device or server. size, free: B, what an ordinary user may take."""

    mount: Path
    kind: str
    source: str
    options: str
    size: int
    free: int

    @property
    def in_memory(self) -> bool:
        """Whether files are memory, and no disk is reached at all."""
        return self.kind in IN_MEMORY

    @property
    def words(self) -> str:
        """'ext4 on /dev/vda (rw,relatime), 80 GiB of 252 GiB free'."""
        room = f"{show_size(self.free)} of {show_size(self.size)} free"
        return f"{self.kind} on {self.source} ({self.options}), {room}"


def holding(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> FileSystem:
    """The file system of a folder that is there. What the system does not tell is 'unknown'."""
    folder = folder.resolve()
    held = os.statvfs(folder)
    size, free = held.f_blocks * held.f_frsize, held.f_bavail * held.f_frsize
    best, known = Path("/"), ("unknown", "unknown", "unknown")
    for line in mounts.read_text(errors="replace").splitlines() if mounts.exists() else []:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6 or len(kind) < 2:
            continue
        place = Path(_plain(fields[4]))
        if folder.is_relative_to(place) and len(place.parts) >= len(best.parts):  # a later mount covers an earlier one
            best, known = place, (kind[0], _plain(kind[1]), fields[5])
    return FileSystem(best, *known, size, free)


def _plain(text: str) -> str:
    r"""mountinfo writes a space as \040."""
    return text.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\")


def direct_alignment(folder: Path) -> int | None:
    """B that addresses, offsets and lengths of direct I/O must be multiples of here; None where there is no direct
    I/O, or a file system in memory takes it without meaning it."""
    if holding(folder).in_memory:
        return None
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            descriptor = os.open(file.name, os.O_RDWR | os.O_DIRECT)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTSUP):
                return None
            raise
        try:
            return next((size for size in ALIGNMENTS if _takes(descriptor, size)), None)
        finally:
            os.close(descriptor)


def _takes(descriptor: int, size: int) -> bool:
    """Whether a write of `size` B from an address that is no multiple of more is accepted."""
    with mmap.mmap(-1, 2 * PAGE) as memory, memoryview(memory)[size % PAGE : size % PAGE + size] as part:
        try:
            return os.pwrite(descriptor, part, 0) == size
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False
            raise
