"""Writing so that a crash, a kill or a full disk leaves whole files and whole lines."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import CannotRun


def write_atomically(path: Path, data: bytes) -> None:
    """All of `data` under `path`, or nothing: a temporary file in the same folder, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CannotRun(f"cannot write {path}: {error.strerror}") from error


def sync(path: Path) -> None:
    """fsync of a file or a folder, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(target: Path, data: bytes) -> None:
    """Append `data` as one whole line, synced; what a full disk cut off is taken back (OSError)."""
    data += b"\n"
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and not _ends_line(target, size):
            data = b"\n" + data  # a writer that was killed left a cut line: close it off
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _ends_line(target: Path, size: int) -> bool:
    with open(target, "rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
