"""The folder that cells write in: on the disk that is to be measured, and gone after each launch.

What a run makes it also removes, whether the launch ended well, failed or was interrupted. Where the program
itself was killed, the next run on that folder removes what it finds of runs that are not at work any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import CannotRun, UsageError

NAME = "bench-scratch"
LOCK = ".lock"


def check(given: str) -> None:
    """UsageError where the folder given cannot be written: before anything is measured."""
    if not given:
        return
    try:
        with tempfile.TemporaryFile(dir=given):
            return
    except OSError as error:
        raise UsageError(
            f"--scratch {given}: {error.strerror}. Name a writable folder on the disk to measure."
        ) from error


def of_run(run: Path, given: str) -> Path:
    """Where the cells of a run write."""
    return Path(given or run).resolve() / f"{NAME}-{run.name}"


@contextmanager
def made(path: str) -> Iterator[None]:
    """The folder is there inside, empty; afterwards it is not, with all that was in it."""
    if not path:
        yield
        return
    folder = Path(path)
    _remove_left(folder.parent)
    with _locked(folder):
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> BinaryIO:
    """Make the folder; it is at work as long as the file returned is open. It gets its name last, so that nobody
    sees it without its lock."""
    unnamed = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unnamed.mkdir()
        held = open(unnamed / LOCK, "wb")  # noqa: SIM115 (held open: it is the lock)
        fcntl.flock(held, fcntl.LOCK_EX)
        unnamed.rename(folder)
        return held
    except OSError as error:
        shutil.rmtree(unnamed, ignore_errors=True)
        raise CannotRun(f"cannot create {folder}: {error.strerror}. Name a writable folder with --scratch.") from error


def _remove_left(parent: Path) -> None:
    """Scratch folders of runs that were killed: nobody holds their lock."""
    for folder in parent.glob(f"{NAME}-*"):
        try:
            descriptor = os.open(folder / LOCK, os.O_RDONLY)
        except OSError:
            continue  # no folder of ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # at work
        finally:
            os.close(descriptor)
