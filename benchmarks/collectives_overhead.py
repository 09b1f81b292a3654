"""Collectives: our median over that of a plain hand-written loop, in the same two processes and group.

`python benchmarks/collectives_overhead.py [--json]`. The plain loop starts from dist.barrier() and rotates over as many
buffers as ours does (METHOD 12). Beside it, for information: the same loop on one buffer, which stays in the
cache, and from a one-element all-reduce, after which gloo takes longer.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from time import perf_counter

import torch
import torch.distributed as dist
from common import Row, abba, median, row
from place import context, cores
from ranks import table

from harness.context import Context
from harness.records import Cadence
from harness.units import show_size
from microbench.collectives import ReducingParams, task

RANKS = 2
PLAN = ((1 << 10, 100, 24), (16 << 20, 6, 10))
"""(size in B, samples a block, rounds of ABBA)."""
STREAM = 5  # operations a streaming sample


def ours(ctx: Context, size: int, cadence: Cadence, samples: int) -> Callable[[], float]:
    made = task(ctx, "all_reduce", ReducingParams(size=size, ranks=RANKS))
    operations = 1 if cadence is Cadence.ISOLATED else STREAM
    return lambda: median(ctx.meter.block(made, cadence, samples, operations).samples)


def together() -> Callable[[], object]:
    token = torch.zeros(1)
    return lambda: dist.all_reduce(token)


def plain(size: int, cadence: Cadence, samples: int, count: int, align: Callable[[], object]) -> Callable[[], float]:
    """What one writes by hand: align, time, all_reduce, time; then the slowest rank of each iteration."""
    buffers = itertools.cycle(torch.randn(count, size // 4).unbind())
    operations = 1 if cadence is Cadence.ISOLATED else STREAM

    def loop() -> float:
        taken = []
        for _ in range(samples):
            mine = [next(buffers) for _ in range(operations)]
            align()
            begin = perf_counter()
            for buffer in mine:
                dist.all_reduce(buffer)
            taken.append((perf_counter() - begin) / operations)
        slowest = torch.tensor(taken, dtype=torch.float64)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return median(slowest.tolist())

    return loop


def rank() -> list[Row]:
    ctx, rows = context(threads=max(1, cores() // RANKS)), []
    rotated = 4 * (ctx.accelerator.cache() or 0)
    for (size, samples, rounds), cadence in itertools.product(PLAN, (Cadence.ISOLATED, Cadence.STREAMING)):
        measured = ours(ctx, size, cadence, samples)
        count = min(max(1, -(-rotated // size)), 2 * rounds * samples * STREAM)
        name = f"all_reduce {show_size(size)} {cadence.value}"
        pairs = abba(measured, plain(size, cadence, samples, count, dist.barrier), rounds)
        rows.append(row(name, pairs, f"ours {median(pairs[0]) * 1e6:.0f} µs", least=0.95, most=1.05))
        hot = abba(measured, plain(size, cadence, samples, 1, dist.barrier), rounds // 3)
        rows.append(row("  plain loop on one buffer", hot))
        reduced = abba(measured, plain(size, cadence, samples, count, together()), rounds // 3)
        rows.append(row("  plain loop from an all-reduce", reduced))
    return rows


if __name__ == "__main__":
    sys.exit(table(__doc__, "collectives: our time / a plain loop's", RANKS, rank))
