"""Ways to move a region between memory and a file: what they have in common, and plain positional I/O.

An engine owns the memory of one rank. Writing ends when the data is durable: fsync is part of it (METHOD 16), and so
are opening and closing the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from microbench.offload.io_memory import Bytes1, Region


@dataclass(frozen=True)
class Shape:
    """What is moved and how. size: B of one rank's region, whole blocks of `block` B. depth: requests in flight of
    each of `threads`. pinned: the region is locked in memory and used itself; else it is ordinary memory, and
    every block is copied through a buffer that is. direct: past the system's cache."""

    size: int
    block: int
    depth: int
    threads: int
    pinned: bool
    direct: bool

    @property
    def blocks(self) -> int:
        return self.size // self.block


class Engine(Protocol):
    """One rank's. flags: what a reader must know of it."""

    flags: tuple[str, ...]

    def memory(self) -> Bytes1:
        """The region, or a copy of it where it is a device's: what is written, or was read."""
        ...

    def changed(self, array: Bytes1) -> None:
        """What `memory` gave has other contents now."""
        ...

    def write(self, path: Path, offset: int) -> None:
        """The whole region to the file, durably."""
        ...

    def read(self, path: Path, offset: int) -> None:
        """The whole region from the file."""
        ...

    def close(self) -> None: ...


@contextmanager
def opened(path: Path, writes: bool, direct: bool) -> Iterator[int]:
    """A descriptor; what was written is durable afterwards."""
    descriptor = os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | (os.O_DIRECT if direct else 0))
    try:
        yield descriptor
        if writes:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Positional:
    """preadv(2) and pwritev(2), the baseline: a call moves one block, so that every request in flight is a thread."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._region = Region(shape.size, locked=shape.pinned)
        self._threads = shape.threads * shape.depth
        self._bounce = [] if shape.pinned else [Region(shape.block, locked=True) for _ in range(self._threads)]
        self._pool = ThreadPoolExecutor(self._threads, "io")
        self.flags: tuple[str, ...] = (f"preadv(2) and pwritev(2) in {self._threads} thread(s)",)

    def memory(self) -> Bytes1:
        return self._region.array

    def changed(self, array: Bytes1) -> None:
        return

    def write(self, path: Path, offset: int) -> None:
        with opened(path, True, self._shape.direct) as file:
            self._all(lambda thread: self._write(thread, file, offset))

    def read(self, path: Path, offset: int) -> None:
        with opened(path, False, self._shape.direct) as file:
            self._all(lambda thread: self._read(thread, file, offset))

    def close(self) -> None:
        self._pool.shutdown()

    def _all(self, work: Callable[[int], None]) -> None:
        for _ in self._pool.map(work, range(self._threads)):
            pass

    def _starts(self, thread: int) -> range:
        """Threads take blocks in turn, so that the file is walked from its start to its end."""
        return range(thread * self._shape.block, self._shape.size, self._threads * self._shape.block)

    def _write(self, thread: int, file: int, offset: int) -> None:
        block, view = self._shape.block, self._region.view
        for start in self._starts(thread):
            piece = view[start : start + block]
            if self._bounce:
                self._bounce[thread].view[:] = piece
                piece = self._bounce[thread].view
            whole_block(os.pwritev(file, [piece], offset + start), block, "written")

    def _read(self, thread: int, file: int, offset: int) -> None:
        block, view = self._shape.block, self._region.view
        for start in self._starts(thread):
            piece = view[start : start + block]
            into = self._bounce[thread].view if self._bounce else piece
            whole_block(os.preadv(file, [into], offset + start), block, "read")
            if self._bounce:
                piece[:] = into


def whole_block(count: int, block: int, what: str) -> None:
    if count != block:
        raise OSError(f"{count} of {block} B {what}: the file is too short, or the disk full")
