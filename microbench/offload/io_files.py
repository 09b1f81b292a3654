"""The files that are read and written: one for each rank or a shared one, fresh before every write, forgotten by
memory before every read, and compared with what they must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import WrongAnswer
from harness.ranks import Team
from microbench.offload.io_memory import CHUNK, Bytes1, difference, fill
from microbench.storage.residency import evict, resident

if TYPE_CHECKING:
    from microbench.offload.io_engines import Engine

COLD = 0.01  # share of a file that memory may hold before a read: more, and the number would be the cache's
SHARED = "shared"
ALONE = Team(((0,),), 0, (0,))  # a rank that shares no file


@dataclass
class Place:
    """One rank's part of a file. index: among the ranks of this host that take part, `count` of them. size: B of a
    part. team: brings the ranks that share the file to one moment. held: greatest share of a file that memory held
    before a read."""

    folder: Path
    shared: bool
    index: int
    count: int
    size: int
    team: Team
    held: float = field(default=0.0)

    @property
    def path(self) -> Path:
        return self.folder / (SHARED if self.shared else name_of(self.index))

    @property
    def offset(self) -> int:
        return self.index * self.size if self.shared else 0

    @property
    def whole(self) -> int:
        return self.size * (self.count if self.shared else 1)

    def fresh(self) -> None:
        """A new file whose blocks are given out already: writing is timed, and not the finding of room."""
        self._together()
        if not self.shared or self.index == 0:
            self.path.unlink(missing_ok=True)
            with open(self.path, "xb") as file:
                os.posix_fallocate(file.fileno(), 0, self.whole)
                os.fsync(file.fileno())
        self._together()

    def cold(self) -> None:
        """Memory forgets the file; what it holds all the same is noted."""
        self._together()
        if not self.shared or self.index == 0:
            evict(self.path)
        self._together()
        self.held = max(self.held, resident(self.path))

    def warm(self) -> None:
        """All of the file is in memory."""
        with open(self.path, "rb", buffering=0) as file:
            while file.read(CHUNK):
                pass

    def _together(self) -> None:
        if self.shared:
            self.team.align()


def name_of(index: int) -> str:
    return f"rank-{index}"


def still_held(place: Place) -> str:
    return (
        f"memory held {place.held:.0%} of {place.path.name} after it was told to forget it: the number would be the "
        "cache's. Another program may have it mapped; for the number of the cache itself set cached=true direct=false"
    )


def check_read(place: Place, engine: Engine, seed: tuple[int, ...], in_memory: bool) -> None:
    """What was read is what the file holds, and it came from the disk. WrongAnswer where not."""
    if place.held > COLD and not in_memory:
        raise WrongAnswer(still_held(place))
    array = engine.memory()
    array[:] = 0
    engine.changed(array)
    engine.read(place.path, place.offset)
    _same(difference(engine.memory(), seed), "read")


def check_write(place: Place, engine: Engine, seed: tuple[int, ...]) -> None:
    """The file holds what was written. WrongAnswer where not."""
    place.fresh()
    engine.write(place.path, place.offset)
    evict(place.path)
    with open(place.path, "rb", buffering=0) as file:
        for start in range(0, place.size, CHUNK):
            found = os.pread(file.fileno(), min(CHUNK, place.size - start), place.offset + start)
            _same(difference(np.frombuffer(found, dtype=np.uint8), seed, start), "written")
            if len(found) < min(CHUNK, place.size - start):
                raise WrongAnswer(f"the file ends at {place.offset + start + len(found)} B")


def _same(wrong: int | None, what: str) -> None:
    if wrong is not None:
        raise WrongAnswer(f"byte {wrong} that was {what} is not what it should be")


def random_region(engine: Engine, seed: tuple[int, ...]) -> None:
    array: Bytes1 = engine.memory()
    fill(array, seed)
    engine.changed(array)
