"""Disk traffic: our fastest engine's bandwidth over fio's, on the same files, at 1 MiB blocks and depth 32.

`python benchmarks/io_fio.py [--json] [--scratch FOLDER]`. Reading and writing 256 MiB, direct, with fsync inside the
time of a write; fio with libaio and with io_uring and registered buffers, each by its own clock and on large pages, as
ours are: on small ones it reaches half as much. Below stand DeepSpeed's handle, where its
operator can be built, and positional calls in threads. The folder must lie on the disk that is meant.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from common import Row, abba, inverse, median, row, show
from place import context, cores

from harness.context import Context
from harness.errors import Skip
from microbench.offload import io, io_fio
from microbench.offload.io_asked import IoParams, ask
from microbench.offload.io_engines import Engine
from microbench.offload.io_files import Place, random_region
from microbench.storage import room

SIZE, ROUNDS = 256 << 20, 10
ENGINES = (
    {"engine": "uring", "depth": 32}, {"engine": "positional", "depth": 1, "threads": 8},
    {"engine": "aio", "depth": 32},
)  # fmt: skip
"""The first is held to the target. Positional calls keep as many blocks in flight as there are threads."""
TARGET = 0.95


@contextmanager
def timed(ctx: Context, params: IoParams) -> Iterator[Callable[[], float]]:
    """One operation of a cell, in s; what must come before it stays outside the time."""
    asked = ask(ctx, params)
    with room.opened(ctx, io.folder_of(ctx, 0)) as folder, io.engine_of(ctx, asked) as engine:
        place = io.place_of(ctx, asked, folder)
        once = io_fio.runner(asked, place) if engine is None else ours(ctx, params, place, engine)

        def run() -> float:
            (place.fresh if params.op == "write" else place.cold)()
            return once()

        yield run


def ours(ctx: Context, params: IoParams, place: Place, engine: Engine) -> Callable[[], float]:
    random_region(engine, (ctx.seed, 0))
    place.fresh()
    engine.write(place.path, place.offset)
    move = engine.write if params.op == "write" else engine.read

    def once() -> float:
        begin = perf_counter()
        move(place.path, place.offset)
        return perf_counter() - begin

    return once


def rows(ctx: Context) -> list[Row]:
    found = []
    for at, engine in enumerate(ENGINES):
        for op in ("write", "read"):
            for roof in ("fio", "fio_uring") if at == 0 else ("fio",):
                name = f"{op}: {engine['engine']} / fio {io_fio.LIBRARIES[roof]}"
                try:
                    found.append(compared(ctx, name, op, engine, roof, TARGET if at == 0 else None))
                except Skip as reason:
                    print(f"{name}: left out: {reason}", file=sys.stderr)
    return found


def compared(ctx: Context, name: str, op: str, engine: dict[str, object], roof: str, least: float | None) -> Row:
    """Two folders, so that neither finds the other's file."""
    own, other = IoParams(op=op, size=SIZE, **engine), IoParams(op=op, size=SIZE, engine=roof)
    beside = replace(ctx, scratch=ctx.scratch / "fio")
    beside.scratch.mkdir(exist_ok=True)
    with timed(ctx, own) as first, timed(beside, other) as second:
        pairs = abba(first, second, ROUNDS)
    rates = [SIZE / median(side) / 1e9 for side in pairs]
    return row(name, inverse(pairs), f"{rates[0]:.2f} and {rates[1]:.2f} GB/s", least=least)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--scratch", default=".", help="folder on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        show("disk traffic, 1 MiB blocks, depth 32: ours / fio",
             rows(replace(context(threads=cores()), scratch=Path(folder))), arguments.json)  # fmt: skip
