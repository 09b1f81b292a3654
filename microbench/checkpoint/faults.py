"""Faults that a checkpoint may meet: a file cut short, a bit flipped, a disk that fills."""

from __future__ import annotations

import ctypes
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
MS_REC, MS_PRIVATE = 0x4000, 0x40000  # linux/mount.h
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def files(folder: Path) -> list[Path]:
    """The files of a checkpoint that hold anything, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def truncate(folder: Path, draw: random.Random) -> str:
    """Cut one of the files at a random place, each file as likely as another; what was done, in words."""
    path = draw.choice(files(folder))
    size = path.stat().st_size
    at = draw.randrange(size)
    os.truncate(path, at)
    return f"{path.relative_to(folder)} cut to {at} of {size} B"


def flip(folder: Path, draw: random.Random) -> str:
    """Turn one bit of one of the files, each file as likely as another; what was done, in words."""
    path = draw.choice(files(folder))
    size = path.stat().st_size
    at, bit = draw.randrange(size), draw.randrange(8)
    with open(path, "r+b") as file:
        file.seek(at)
        held = file.read(1)[0]
        file.seek(at)
        file.write(bytes([held ^ 1 << bit]))
    return f"bit {bit} of byte {at} of {size} turned in {path.relative_to(folder)}"


def isolate() -> str:
    """Give this process and its children mounts of their own, which are gone when they are; the reason why not, or
    nothing. As an ordinary user that takes a user namespace of its own, where the system allows it."""
    if _libc is None:
        return "mounts of a process's own are Linux's"
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWNS):
        if _libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
            return f"unshare: {os.strerror(ctypes.get_errno())}"
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if _libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None):
        return f"mount: {os.strerror(ctypes.get_errno())}"
    return ""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of `size` B in memory at `folder`, empty, for as long as this lasts; after `isolate`. OSError
    where it cannot be mounted."""
    assert _libc is not None
    folder.mkdir()
    place, options = os.fsencode(folder), f"size={size},mode=700".encode()
    try:
        if _libc.mount(b"tmpfs", place, b"tmpfs", ctypes.c_ulong(0), options):
            raise OSError(ctypes.get_errno(), f"cannot mount a file system of {size} B")
        try:
            yield
        finally:
            _libc.umount2(place, MNT_DETACH)
    finally:
        folder.rmdir()
