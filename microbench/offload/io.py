"""Raw disk traffic: what a disk takes and gives, by engine, block and depth, with fio beside as the roof.

One operation moves each rank's region between memory and its file, all ranks at once. A write counts until the data
is durable; a read comes from a file that memory was made to forget, and what it held all the same is measured
(METHOD 16). fio is one of the engines, so that its number stands in the same run, for the same size, block and depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.records import Cadence, Measurement, Params
from harness.registry import benchmark
from microbench.offload.io_asked import FIO, Asked, IoParams, ask, describe, rates, room_for
from microbench.storage import room

if TYPE_CHECKING:
    from harness.context import Context
    from harness.sampling import Task
    from microbench.offload.io_engines import Engine
    from microbench.offload.io_files import Place


@benchmark("offload.io", version=1, params=IoParams, scope="group", rate="bandwidth", seconds=3)
def io(ctx: Context, params: IoParams) -> Sequence[Measurement]:
    """Reading and writing files: DeepSpeed's aio, io_uring, positional calls, GPUDirect Storage; fio as the roof."""
    asked = ask(ctx, params)
    with (
        room.opened(ctx, folder_of(ctx, ctx.ranks.rank)) as own,
        engine_of(ctx, asked) as engine,
    ):
        place = place_of(ctx, asked, own)
        if params.engine in FIO:
            from microbench.offload import io_fio

            found = io_fio.measured(ctx, asked, place)
        else:
            found = ctx.time(build(ctx, asked, place, engine), [Cadence.ISOLATED])
        ctx.ranks.barrier()  # the folder of a shared file goes last
    return [_described(asked, measurement, place.held, ctx) for measurement in found]


@contextmanager
def engine_of(ctx: Context, asked: Asked) -> Iterator[Engine | None]:
    """What this rank moves data with; fio has its own, and a rank that only waits none."""
    from microbench.offload import io_deepspeed, io_engines, io_uring

    if asked.params.engine in FIO or asked.team.rank is None:
        yield None
        return
    room_for(asked)
    engine: Engine
    match asked.params.engine:
        case "aio":
            engine = io_deepspeed.Aio(ctx, asked.shape)
        case "gds":
            engine = io_deepspeed.Gds(ctx, asked.shape)
        case "uring":
            engine = io_uring.Uring(asked.shape)
        case _:
            engine = io_engines.Positional(asked.shape)
    try:
        yield engine
    finally:
        engine.close()


def folder_of(ctx: Context, rank: int) -> str:
    return f"io-{rank // ctx.per_node}-{rank}"


def place_of(ctx: Context, asked: Asked, own: Path) -> Place:
    """Ranks that share a file use the folder of the first of their host, as do fio's jobs."""
    from microbench.offload.io_files import Place

    node = ctx.ranks.rank // ctx.per_node
    folder = own.parent / folder_of(ctx, node * ctx.per_node)
    index = ctx.ranks.rank % ctx.per_node
    return Place(folder, asked.params.layout == "shared", index, asked.local, asked.params.size, asked.team)


def build(ctx: Context, asked: Asked, place: Place, engine: Engine | None) -> Task:
    """The task of one cell."""
    from harness.sampling import Task
    from microbench.offload.io_files import check_read, check_write, random_region

    params, seed = asked.params, (ctx.seed, place.index)
    ctx.ready()  # folders are there, and nobody skips
    operation = describe(asked)
    if engine is None:
        return Task(operation, _nothing, rates(asked), team=asked.team, lasting=1)
    random_region(engine, seed)
    move = engine.write if params.op == "write" else engine.read
    flags = (*engine.flags, *asked.flags)

    def step(_: int) -> None:
        move(place.path, place.offset)

    if params.op == "write":
        prepare, check = place.fresh, partial(check_write, place, engine, seed)
    else:
        place.fresh()
        engine.write(place.path, place.offset)
        prepare = place.warm if params.cached else place.cold
        check = partial(check_read, place, engine, seed, asked.filesystem.in_memory or params.cached)
    return Task(operation, step, rates(asked), lambda _: prepare(), check, flags=flags, lasting=1, team=asked.team)


def _nothing(_: int) -> None:
    return


def _described(asked: Asked, measurement: Measurement, held: float, ctx: Context) -> Measurement:
    """With how many ranks took part where all were to, and what memory held of a file before it was read."""
    flags = measurement.evidence.flags
    if asked.params.op == "read" and not asked.params.cached:
        most = max(ctx.ranks.column(held))
        flags = (*flags, f"memory held at most {most:.1%} of a file before it was read")
    evidence = msgspec.structs.replace(measurement.evidence, flags=flags)
    own: Params = {} if asked.params.writers else {"writers": asked.writers}
    return msgspec.structs.replace(measurement, evidence=evidence, params=own)
