"""How much of a file memory holds: what proves that a read came from the disk (METHOD 16)."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def resident(path: Path) -> float:
    """Share of a file's pages that memory holds now, by mincore(2); mapping a file touches none of them.

    The file must be the caller's own: of others the kernel says that all is there. OSError where it cannot be asked.
    """
    size = path.stat().st_size
    if not size:
        return 0.0
    pages = -(-size // PAGE)
    held = ctypes.create_string_buffer(pages)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), f"cannot map {path}")
    try:
        if _libc.mincore(address, size, held):
            raise OSError(ctypes.get_errno(), f"cannot ask what memory holds of {path}")
    finally:
        _libc.munmap(address, size)
    return sum(byte & 1 for byte in held.raw[:pages]) / pages


def evict(path: Path) -> float:
    """Ask the system to forget what it holds of a file, which is written out first; the share that it holds
    all the same, where another program has it mapped, or the file lies in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return resident(path)
