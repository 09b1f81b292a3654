"""Collectives: our isolated median of a small all-reduce over that of other ways to time it, on one group.

`python benchmarks/collectives_peers.py [--json]`. The others: torch.utils.benchmark.Timer and the standard library's
timeit as they are; and loops written as other suites write theirs: a barrier, then a run of operations divided by
their number (as the OSU micro-benchmarks and ds_bench do), or a barrier before each operation, timed by itself (as
PARAM's comms does; the slowest rank's time counts, as in ours: a rank that leaves the barrier late sees less of the
operation). All run in the same processes, on the same gloo group, with the same threads.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from time import perf_counter

import torch
import torch.distributed as dist
from common import Row, abba, median, row
from place import context, cores
from ranks import table
from torch.utils.benchmark import Timer

from harness.records import Cadence
from harness.units import show_size
from microbench.collectives import ReducingParams, task

RANKS = 2
SIZE = 1 << 10
SAMPLES = 200
ROUNDS = 24


def by_timer(buffer: torch.Tensor) -> Callable[[], float]:
    """torch.utils.benchmark: a fixed number, since ranks that chose their own would not meet."""
    timer = Timer("all_reduce(buffer)", globals={"all_reduce": dist.all_reduce, "buffer": buffer}, num_threads=1)
    return lambda: timer.timeit(SAMPLES).median


def by_timeit(buffer: torch.Tensor) -> Callable[[], float]:
    timer = timeit.Timer(lambda: dist.all_reduce(buffer))
    return lambda: median([timer.timeit(SAMPLES // 5) / (SAMPLES // 5) for _ in range(5)])


def in_a_run(buffer: torch.Tensor) -> Callable[[], float]:
    def loop() -> float:
        dist.barrier()
        begin = perf_counter()
        for _ in range(SAMPLES):
            dist.all_reduce(buffer)
        return (perf_counter() - begin) / SAMPLES

    return loop


def slowest(taken: list[float]) -> list[float]:
    """The slowest rank's time of each operation, as ours is: one that leaves the barrier late sees less of it."""
    times = torch.tensor(taken, dtype=torch.float64)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    return [float(value) for value in times.tolist()]


def one_by_one(buffer: torch.Tensor) -> Callable[[], float]:
    def loop() -> float:
        taken = []
        for _ in range(SAMPLES):
            dist.barrier()
            begin = perf_counter()
            dist.all_reduce(buffer)
            taken.append(perf_counter() - begin)
        return median(slowest(taken))

    return loop


def rank() -> list[Row]:
    ctx = context(threads=max(1, cores() // RANKS))
    made = task(ctx, "all_reduce", ReducingParams(size=SIZE, ranks=RANKS))

    def ours() -> float:
        return median(ctx.meter.block(made, Cadence.ISOLATED, SAMPLES, 1).samples)

    others = {
        "torch.utils.benchmark.Timer": by_timer, "timeit": by_timeit,
        "a run of operations after a barrier": in_a_run, "each operation after a barrier": one_by_one,
    }  # fmt: skip
    rows = []
    for name, other in others.items():
        pairs = abba(ours, other(torch.randn(SIZE // 4)), ROUNDS)
        said = f"ours {median(pairs[0]) * 1e6:.0f} µs, theirs {median(pairs[1]) * 1e6:.0f} µs"
        rows.append(row(f"{show_size(SIZE)}, ours / {name}", pairs, said, most=1.0, within=True))
    return rows


if __name__ == "__main__":
    sys.exit(table(__doc__, "collectives: our isolated median / another harness's", RANKS, rank))
