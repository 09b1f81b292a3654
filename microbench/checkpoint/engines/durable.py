"""What makes a file survive a loss of power: its own bytes, and its entry in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from harness.files import sync


def sync_all(paths: Iterable[Path], folder: Path) -> None:
    """Files, then the folder they are in, then the entry of that folder."""
    for path in paths:
        sync(path)
    sync(folder)
    sync(folder.parent)


class Then:
    """A pending save: `work` is what is left to do until it is durable, done once."""

    stalled = 0.0

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def wait(self) -> None:
        if self._work is not None:
            self._work()
            self._work = None
