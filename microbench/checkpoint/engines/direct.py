"""A file written past the page cache: blocks are filled while the ones before them are on their way to the disk."""

from __future__ import annotations

import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK = 8 << 20  # B of one write: large enough that its call costs nothing
BLOCKS = 3  # one that is filled, one on its way, one that waits for it


class Blocks:
    """Memory for the files of one engine, one file at a time: made once, since a page touched for the first time costs
    more than the copy into it."""

    def __init__(self, alignment: int) -> None:
        """alignment: that of direct I/O, B."""
        self.alignment = alignment
        self.free = deque(mmap.mmap(-1, BLOCK) for _ in range(BLOCKS))  # at whole pages, as direct I/O asks
        self.thread = ThreadPoolExecutor(1, "direct")

    def close(self) -> None:
        self.thread.shutdown()


class Direct:
    """A new file, written from front to back. It is whole once `fileno` has been asked for: until then its last block
    is in memory, and after a fault what is missing stays missing."""

    def __init__(self, path: str | os.PathLike[str], blocks: Blocks, expected: int) -> None:
        """expected: B, about; that room is taken on the disk at once, so that no write waits for it."""
        self._blocks, self._size, self._filled = blocks, 0, 0
        self._pending: deque[tuple[Future[None], mmap.mmap]] = deque()
        self._block = blocks.free.popleft()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o666)
        if expected:
            os.posix_fallocate(self._descriptor, 0, expected)

    def write(self, data: Buffer) -> int:
        with memoryview(data) as given, given.cast("B") as view:
            at, count = 0, len(view)
            while at < count:
                take = min(count - at, BLOCK - self._filled)
                self._block[self._filled : self._filled + take] = view[at : at + take]
                self._filled, at = self._filled + take, at + take
                if self._filled == BLOCK:
                    self._send(BLOCK)
        return count

    def flush(self) -> None:
        """Asked for after every tensor: a part of a block cannot be written past the cache."""

    def fileno(self) -> int:
        """Asked for to fsync: the rest is written in whole blocks of the file system, and what is too much cut off."""
        size = self._size + self._filled
        if self._filled:
            unit = self._blocks.alignment
            padded = -(-self._filled // unit) * unit
            self._block[self._filled : padded] = bytes(padded - self._filled)
            self._send(padded)
        while self._pending:
            self._take()
        os.ftruncate(self._descriptor, size)
        return self._descriptor

    def close(self) -> None:
        while self._pending:
            future, block = self._pending.popleft()
            future.exception()
            self._blocks.free.append(block)
        if self._descriptor >= 0:
            self._blocks.free.append(self._block)
            os.close(self._descriptor)
            self._descriptor = -1

    def _send(self, count: int) -> None:
        done = self._blocks.thread.submit(_whole, self._descriptor, self._block, count, self._size)
        self._pending.append((done, self._block))
        self._size, self._filled = self._size + count, 0
        if not self._blocks.free:
            self._take()
        self._block = self._blocks.free.popleft()

    def _take(self) -> None:
        """Wait for the oldest write; raises what it failed of."""
        future, block = self._pending.popleft()
        try:
            future.result()
        finally:
            self._blocks.free.append(block)


def _whole(descriptor: int, block: mmap.mmap, count: int, at: int) -> None:
    """A write may take less than it is given."""
    with memoryview(block) as view:
        done = 0
        while done < count:
            done += os.pwrite(descriptor, view[done:count], at + done)
