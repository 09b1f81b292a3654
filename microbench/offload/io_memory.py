"""The memory that disk traffic goes to and comes from: aligned for direct I/O, random, and comparable afterwards."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.errors import Skip
from harness.units import show_size

CHUNK = 16 << 20  # B of random data that are drawn at once
HUGE = 2 << 20  # B of a large page: a region is a multiple of it

Bytes1 = NDArray[np.uint8]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Region:
    """`size` B of memory of this process, on large pages where the system has them: the kernel pins fewer pieces for
    each block. locked: it is never swapped out, and its pages are all there from the start."""

    def __init__(self, size: int, locked: bool) -> None:
        whole = -(-size // HUGE) * HUGE + HUGE
        held = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            held.madvise(mmap.MADV_HUGEPAGE)
        every = np.frombuffer(held, dtype=np.uint8)  # keeps the map
        start = -every.ctypes.data % HUGE
        self.view = memoryview(held)[start : start + size]
        self.array: Bytes1 = every[start : start + size]
        if locked:
            _lock(self.array)


def _lock(array: Bytes1) -> None:
    if _libc.mlock(array.ctypes.data, array.nbytes):
        reason = os.strerror(ctypes.get_errno())
        raise Skip(f"cannot lock {show_size(array.nbytes)} of memory: {reason}; raise `ulimit -l`")


def fill(into: Bytes1, seed: tuple[int, ...]) -> None:
    """Random bytes, the same for the same seed; a drive that compresses or deduplicates gains nothing from them."""
    for start, piece in _pieces(into.nbytes, seed):
        into[start : start + len(piece)] = piece


def difference(found: Bytes1, seed: tuple[int, ...], start: int = 0) -> int | None:
    """Offset of the first byte that is not what `fill` wrote; None where all are. found: from `start`, a multiple of
    CHUNK, on."""
    for at, piece in _pieces(found.nbytes, seed, start // CHUNK):
        wrong = found[at : at + len(piece)] != piece
        if wrong.any():
            return start + at + int(wrong.argmax())
    return None


def _pieces(size: int, seed: tuple[int, ...], first: int = 0) -> Iterator[tuple[int, Bytes1]]:
    for index, start in enumerate(range(0, size, CHUNK), first):
        generator = np.random.Generator(np.random.SFC64([*seed, index]))
        yield start, np.frombuffer(generator.bytes(min(CHUNK, size - start)), dtype=np.uint8)
