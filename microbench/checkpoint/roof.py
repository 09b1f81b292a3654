"""What the disk takes of plain writes: the roof of a save, written by the same processes, as many bytes each."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

BLOCK = 8 << 20  # B of one write: large enough that its call costs nothing


class Roof:
    """Writes from one buffer of random bytes. Every file is new, and gone afterwards."""

    def __init__(self, alignment: int | None) -> None:
        """alignment: that of direct I/O in B; None where the file system has none."""
        self.alignment = alignment
        self._buffer = mmap.mmap(-1, BLOCK)  # a whole page's alignment, which direct I/O asks for
        self._buffer.write(os.urandom(BLOCK))

    def write(self, path: Path, size: int, direct: bool) -> float:
        """s to write `size` B to a new file and fsync it; direct I/O ends on a whole block of the file system."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if direct:
            if self.alignment is None:
                raise ValueError("the file system has no direct I/O")
            flags, size = flags | os.O_DIRECT, -(-size // self.alignment) * self.alignment
        begin = time.perf_counter()
        descriptor = os.open(path, flags, 0o600)
        try:
            with memoryview(self._buffer) as view:
                for at in range(0, size, BLOCK):
                    _whole(descriptor, view[: min(BLOCK, size - at)], at)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        taken = time.perf_counter() - begin
        path.unlink()
        return taken


def _whole(descriptor: int, data: memoryview, at: int) -> None:
    """A write may take less than it is given."""
    while data:
        count = os.pwrite(descriptor, data, at)
        data, at = data[count:], at + count
