"""What is asked of a cell of raw disk traffic, and what this launch and its file system make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from clusters.filesystem import FileSystem, direct_alignment
from harness.accelerator import Operation
from harness.errors import Skip
from harness.records import Rate, Struct
from harness.units import Bytes, Unit, show_size
from microbench.storage import room

if TYPE_CHECKING:
    from harness.context import Context
    from harness.ranks import Team
    from microbench.offload.io_engines import Shape

SECTOR = 512  # B: the least that direct I/O moves on any disk
FIO = ("fio", "fio_uring")
BOTH = 2  # a fresh file is made while the one before it may still be there


class IoParams(Struct, frozen=True, kw_only=True):
    """engine: DeepSpeed's aio handle, io_uring, positional calls, GPUDirect Storage, or fio with libaio or io_uring.
    size: B of each rank's region. block: B of a request. depth: requests in flight of each thread; of positional calls
    each is a thread of its own. pinned: memory that is locked, else it is copied through such. layout: a file for each
    rank or one for all ranks of a host. writers: ranks at once; 0 stands for all of the launch. direct: past the
    system's cache. cached: read from that cache, on purpose."""

    op: Literal["read", "write"]
    engine: Literal["aio", "uring", "positional", "gds", "fio", "fio_uring"]
    size: Bytes = 256 << 20
    block: Bytes = 1 << 20
    depth: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 32
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    pinned: bool = True
    layout: Literal["own", "shared"] = "own"
    writers: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 1
    direct: bool = True
    cached: bool = False

    def __post_init__(self) -> None:
        if self.direct and self.block % SECTOR:
            below = self.block - self.block % SECTOR
            raise ValueError(
                f"block={self.block} B is no multiple of a sector of {SECTOR} B, and direct I/O moves whole ones; "
                f"nearest: {max(below, SECTOR)} or {below + SECTOR}, or direct=false"
            )
        if self.size % (self.block * self.threads):
            part = self.block * self.threads
            raise ValueError(
                f"size={self.size} B is no multiple of {part} B, a block for each of {self.threads} thread(s); "
                f"nearest: {max(self.size - self.size % part, part)} or {self.size - self.size % part + part}"
            )
        if self.cached and (self.direct or self.op == "write"):
            raise ValueError("cached=true is about reads through the system's cache: set op=read and direct=false")
        self._of_engine()

    def _of_engine(self) -> None:
        if self.engine == "uring" and self.threads != 1:
            raise ValueError(f"threads={self.threads}: a rank drives one ring; set threads=1, and depth for more")
        if self.engine in FIO and (self.threads != 1 or not self.pinned):
            raise ValueError("fio is the roof of one thread with its own buffers: set threads=1 and pinned=true")
        if self.engine in ("aio", "gds") and not self.direct:
            raise ValueError(f"DeepSpeed's {self.engine} handle opens files for direct I/O only; set direct=true")


@dataclass(frozen=True)
class Asked:
    """A cell on this launch. writers: ranks that take part, `local` of them on this host. direct: whether I/O is."""

    params: IoParams
    shape: Shape
    team: Team
    writers: int
    local: int
    filesystem: FileSystem
    direct: bool

    @property
    def moved(self) -> float:
        """B of one operation of all ranks."""
        return float(self.params.size * self.writers)

    @property
    def flags(self) -> tuple[str, ...]:
        said = [self.filesystem.words]
        if self.filesystem.in_memory:
            said.append("files lie in memory: no disk is reached")
        elif self.params.direct and not self.direct:
            said.append("the file system has no direct I/O: through the system's cache")
        if self.params.cached:
            said.append("read from the system's cache, on purpose")
        if self.params.op == "write":
            said.append("fsync is inside the time; the file's blocks are given out before it")
        return tuple(said)


def ask(ctx: Context, params: IoParams) -> Asked:
    """The team, then all that may skip the cell."""
    from microbench.offload.io_engines import Shape

    room.place(ctx)
    writers = params.writers or ctx.ranks.world
    if writers > ctx.ranks.world:
        raise Skip(f"{writers} writers, and the launch has {ctx.ranks.world} rank(s)")
    team = ctx.team((tuple(range(writers)),))
    local = min(ctx.per_node, writers)
    held = room.require(ctx, params.size * local * BOTH)
    alignment = direct_alignment(room.place(ctx)) if params.direct else None
    if alignment is not None and params.block % alignment:
        raise Skip(f"block={params.block} B is no multiple of {alignment} B, what direct I/O takes here")
    direct = alignment is not None
    if params.engine in ("aio", "gds") and not direct and not held.in_memory:
        raise Skip(f"DeepSpeed's {params.engine} handle opens files for direct I/O, and {held.kind} has none")
    shape = Shape(params.size, params.block, params.depth, params.threads, params.pinned, direct)
    return Asked(params, shape, team, writers, local, held, direct)


def room_for(asked: Asked) -> None:
    """Skips where the ranks of this host would take more than a share of its free memory."""
    from clusters.accelerators.host import Host
    from harness.operands import SHARE

    free = Host().memory_free()
    needed = asked.params.size * asked.local * (1 if asked.params.pinned else 2)
    if needed > free * SHARE:
        raise Skip(f"needs {show_size(needed)} of the host's memory, and {show_size(int(free * SHARE))} may be used")


def describe(asked: Asked) -> Operation:
    """bytes: of all ranks."""
    return Operation("transfer", f"disk_{asked.params.op}", "", bytes=asked.moved, ranks=asked.writers)


def rates(asked: Asked) -> tuple[Rate, ...]:
    """Of all ranks together."""
    return (Rate("bandwidth", asked.moved, Unit.BYTE_PER_SECOND),)
