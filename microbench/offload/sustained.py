"""One long write: what a disk takes at first, and what it keeps up once its own write cache is full.

Threads write block after block to one file, past the system's cache; the series of times in which a chunk came to its
end is cut where its level changes (`harness.plateaus`). Where the disk is fast at first and slower later, the first
stretch is the burst; the last level is what a checkpoint or an optimizer's swaps get hour after hour.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from clusters.filesystem import direct_alignment
from harness.errors import Skip, WrongAnswer
from harness.records import Better, Evidence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit, show_duration, show_size
from microbench.offload.io_asked import SECTOR
from microbench.storage import room

if TYPE_CHECKING:
    from harness.context import Context
    from harness.plateaus import Phases
    from microbench.offload.io_memory import Region

CYCLE = 64 << 20  # B of random data that are written again and again
LOOKS = 8  # blocks that are read again afterwards
EVERY = 5.0  # s between two words of progress


class SustainedParams(Struct, frozen=True):
    """size: B that are written. chunk: B of one sample. block: B of a request, of which every thread has one in
    flight."""

    size: Bytes = 4 << 30
    chunk: Bytes = 32 << 20
    block: Bytes = 1 << 20
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    direct: bool = True

    def __post_init__(self) -> None:
        if self.block % SECTOR or CYCLE % self.block:
            raise ValueError(f"block={self.block} B: multiples of {SECTOR} B that divide {CYCLE} B, such as 1 MiB")
        for name, whole, part in (("chunk", self.chunk, self.block), ("size", self.size, self.chunk)):
            if whole % part:
                raise ValueError(
                    f"{name}={whole} B is no multiple of {part} B; nearest: {max(whole - whole % part, part)}"
                )


@benchmark("offload.sustained", version=1, params=SustainedParams, scope="host", rate="bandwidth", seconds=5)
def sustained(ctx: Context, params: SustainedParams) -> Sequence[Measurement]:
    """One long write: the burst of a drive's cache apart from its steady state."""
    from microbench.offload.io_memory import Region, fill

    held = room.require(ctx, params.size)
    alignment = direct_alignment(room.place(ctx)) if params.direct else None
    if alignment is not None and params.block % alignment:
        raise Skip(f"block={params.block} B is no multiple of {alignment} B, what direct I/O takes here")
    region = Region(CYCLE, locked=False)
    fill(region.array, (ctx.seed,))
    with room.opened(ctx, f"sustained-{ctx.ranks.rank}") as folder:
        path = folder / "file"
        with open(path, "xb") as file:
            os.posix_fallocate(file.fileno(), 0, params.size)
        written = write(ctx, params, region, path, alignment is not None)
        check(params, region, path)
    flags = [held.words, f"{params.threads} blocks of {show_size(params.block)} in flight; room was made before"]
    if alignment is None:
        flags.append("no direct I/O: what memory takes of it counts as written, until it is full")
    return describe(ctx, params, written, tuple(flags))


@dataclass(frozen=True)
class Written:
    """chunks: s from the end of one to the end of the next. sync: s of the fsync at the end."""

    chunks: tuple[float, ...]
    sync: float


def write(ctx: Context, params: SustainedParams, region: Region, path: Path, direct: bool) -> Written:
    """The whole file, by threads that take one block after the other."""
    from concurrent.futures import ThreadPoolExecutor, wait
    from time import perf_counter

    from microbench.offload.io_engines import whole_block

    starts = iter(range(0, params.size, params.block))  # next() on it is one step of the interpreter: safe
    ends = list[float]()
    file = os.open(path, os.O_WRONLY | (os.O_DIRECT if direct else 0))

    def work() -> None:
        for start in starts:
            at = start % CYCLE
            piece = region.view[at : at + params.block]
            whole_block(os.pwritev(file, [piece], start), params.block, "written")
            ends.append(perf_counter())

    try:
        with ThreadPoolExecutor(params.threads, "sustained") as pool:
            begin = perf_counter()
            left = {pool.submit(work) for _ in range(params.threads)}
            while left:
                done, left = wait(left, EVERY)
                for one in done:
                    one.result()
                if left:
                    _say(ctx, params, len(ends), perf_counter() - begin)
        synced = perf_counter()
        os.fsync(file)
        sync = perf_counter() - synced
    finally:
        os.close(file)
    marks = [begin, *sorted(ends)[params.chunk // params.block - 1 :: params.chunk // params.block]]
    return Written(tuple(later - earlier for earlier, later in pairwise(marks)), sync)


def _say(ctx: Context, params: SustainedParams, blocks: int, seconds: float) -> None:
    done = show_size(blocks * params.block)
    ctx.say(f"{done} of {show_size(params.size)} written in {show_duration(seconds)}")


def check(params: SustainedParams, region: Region, path: Path) -> None:
    """Some blocks, from the first to the last, hold what was written. WrongAnswer where not."""
    blocks = params.size // params.block
    with open(path, "rb", buffering=0) as file:
        for index in sorted({look * (blocks - 1) // (LOOKS - 1) for look in range(LOOKS)}):
            at = index * params.block % CYCLE
            if os.pread(file.fileno(), params.block, index * params.block) != region.view[at : at + params.block]:
                raise WrongAnswer(f"block {index} of {blocks} does not hold what was written")


def describe(
    ctx: Context, params: SustainedParams, written: Written, flags: tuple[str, ...]
) -> list[Measurement]:  # fmt: skip
    """The series as it came, its parts, where the level changed, and the fsync at the end."""
    from harness.plateaus import phases
    from harness.statistics import median_interval

    found = phases(written.chunks)
    rates = (Rate("bandwidth", float(params.chunk), Unit.BYTE_PER_SECOND),)
    flags = (*flags, _words(params, found))

    def measurement(metric: str, unit: Unit, samples: Sequence[float], part: str = "") -> Measurement:
        width = median_interval(samples).width if part == "steady" else None
        evidence = Evidence(width=None, stopped="all written", flags=(*flags, *_spread(width)))
        return Measurement(
            metric, unit, Better.LOWER, tuple(samples), ctx.meter.origin, evidence=evidence,
            rates=rates if part else (), params={"part": part} if part else {},
        )  # fmt: skip

    parts = [measurement("chunk", Unit.SECOND, written.chunks[found.steady :], "steady")]
    if found.burst:
        parts.append(measurement("chunk", Unit.SECOND, written.chunks[: found.burst], "burst"))
        parts.append(measurement("change", Unit.BYTE, [float(found.burst * params.chunk)]))
    parts.append(measurement("chunk", Unit.SECOND, written.chunks, "series"))
    return [*parts, measurement("sync", Unit.SECOND, [written.sync])]


def _spread(width: float | None) -> tuple[str, ...]:
    return () if width is None else (f"the steady level is known to within {100 * width:.1f} %",)


def _words(params: SustainedParams, found: Phases) -> str:
    from harness.plateaus import FASTER

    if not found.burst:
        size = show_size(params.size)
        return f"no burst: of {size}, the last level is not slower than the first by a factor of {FASTER:g}"
    at, steady = show_size(found.burst * params.chunk), show_size(found.steady * params.chunk)
    return f"faster until {at}; steady from {steady} on"
