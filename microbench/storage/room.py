"""A folder for one cell: with the space it needs, and gone after it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clusters.filesystem import FileSystem, holding
from harness.errors import Skip
from harness.units import show_size

if TYPE_CHECKING:
    from harness.context import Context

SHARE = 0.9  # of the free space, at most: a full disk is slower, and other programs' business


def place(ctx: Context) -> Path:
    """The folder of the launch. Skips where there is none."""
    if ctx.scratch is None:
        raise Skip("nothing models a disk: a definition says nothing of it")
    return ctx.scratch


def require(ctx: Context, size: int) -> FileSystem:
    """The file system that is written to; skips where `size` B (of all ranks of this host together) do not fit."""
    held = holding(place(ctx))
    if size > held.free * SHARE:
        raise Skip(f"needs {show_size(size)} in {ctx.scratch}, and {show_size(held.free)} is free there")
    return held


@contextmanager
def opened(ctx: Context, name: str) -> Iterator[Path]:
    """A new folder of that name inside; removed afterwards with all that is in it, whatever happens. Ranks need
    names of their own."""
    folder = place(ctx) / name
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
