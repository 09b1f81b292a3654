"""Disk traffic and memory traffic at once: the path that offload really takes, and what each half costs the other.

States on a disk pass the host's memory on their way to a device: while the next piece is read from the disk, the one
before it is copied on. On a device the copies are between pinned host memory and its own; where the device is the
host's processors, offload copies within the host's memory, and that is what runs beside the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.beside import Work, measurements, turns
from harness.errors import Skip
from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import Bytes
from microbench.offload.io_asked import SECTOR

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from harness.context import Context
    from harness.sampling import Task

HOST = "the device is the host's processors: a copy within the host's memory, which is what offload does there"


class ContentionParams(Struct, frozen=True):
    """op: of the disk. direction: of the copies; `host` is within the host's memory, the only one without a device.
    size: B of a disk operation. copied: B of one copy. threads: blocks in flight on the disk."""

    op: Literal["read", "write"] = "read"
    direction: Literal["host", "h2d", "d2h", "both"] = "host"
    size: Bytes = 128 << 20
    copied: Bytes = 64 << 20
    block: Bytes = 1 << 20
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8

    def __post_init__(self) -> None:
        if self.block % SECTOR:
            raise ValueError(f"block={self.block} B is no multiple of a sector of {SECTOR} B")
        if self.size % (self.block * self.threads):
            raise ValueError(f"size={self.size} B is no multiple of {self.block * self.threads} B, a block a thread")


@benchmark("offload.contention", version=1, params=ContentionParams, scope="device", rate="disk_slowdown", seconds=6)
def contention(ctx: Context, params: ContentionParams) -> Sequence[Measurement]:
    """Disk traffic beside copies between the host's memory and the device's: how much each slows the other down."""
    from concurrent.futures import ThreadPoolExecutor

    from microbench.offload import io
    from microbench.offload.io_asked import BOTH, IoParams, ask
    from microbench.offload.io_files import ALONE, Place
    from microbench.storage import room

    copies, said = _copies(replace(ctx, arena=ctx.arena.apart()), params)
    given = IoParams(
        op=params.op, engine="positional", size=params.size, block=params.block, depth=1, threads=params.threads
    )  # fmt: skip
    room.require(ctx, params.size * BOTH * ctx.per_node)
    asked = replace(ask(ctx, given), team=ALONE)
    with room.opened(ctx, io.folder_of(ctx, ctx.ranks.rank)) as folder, io.engine_of(ctx, asked) as engine:
        place = Place(folder, False, 0, 1, params.size, ALONE)
        disk = replace(io.build(ctx, asked, place, engine), team=None)  # each device by itself
        for task in (disk, copies):
            ctx.meter.verify(task)
        with ThreadPoolExecutor(1, "disk") as pool:
            taken = turns(ctx, {"disk": Work(disk, _in(pool)), "copy": Work(copies)})
    return measurements(ctx, taken, (*disk.flags, *said))


def _in(pool: ThreadPoolExecutor) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Disk traffic waits in a thread, on a device too: a stream of the device's does not hold it."""
    return lambda work: pool.submit(work).result


def _copies(ctx: Context, params: ContentionParams) -> tuple[Task, tuple[str, ...]]:
    """The copies, and what to say of them. Skips a direction that the device does not have."""
    from microbench.memory import streams, transfers
    from microbench.memory.native import on_host

    host = on_host(ctx)
    if params.direction == "host":
        if not host:
            raise Skip("direction=host is for devices that are the host's processors: set h2d, d2h or both")
        return streams.build(ctx, streams.StreamParams(size=2 * params.copied, op="copy")), (HOST,)
    if host:
        raise Skip("the device is the host's processors: there is no other memory to copy to; set direction=host")
    return transfers.build(ctx, transfers.TransferParams(size=params.copied, direction=params.direction)), ("pinned",)
