"""Detectors: is a planted fault found and named, and is there silence where nothing was planted?

`python benchmarks/detection.py [--json]`. Four gloo ranks on this machine, 20 trials of each kind. A slow rank is one
whose operations are followed by a busy wait of a fifth of their own duration; a wrong answer is one element of a
result, changed on one rank. A trial counts as found where exactly what was planted is named, and nothing else.
Slow pairs are tried over links of their own: benchmarks/detection_links.py.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import ranks
import torch.distributed as dist
from common import wants_json
from place import context
from trials import SLOWER, TRIALS, Row, named, said, show

from harness.context import Context
from harness.errors import WrongAnswer
from harness.outliers import Findings, slow_ranks
from harness.records import Cadence
from harness.sampling import Step, Task
from microbench.collectives import operations
from microbench.gemm import SquareParams
from microbench.gemm.product import build as product
from microbench.memory.streams import StreamParams
from microbench.memory.streams import build as stream

RANKS = 4
PRODUCTS, STREAMS, SAMPLES = (96, 128, 160, 192), ("copy", "scale", "triad"), 60
WARMUP = 10  # operations
WORKING = 1 << 20  # B that a stream reads and writes
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv")


class Slowed:
    """A meter under which tasks take a fifth longer, where it is slow."""

    def __init__(self, meter: Any, slow: bool) -> None:
        self._meter, self._slow = meter, slow

    def block(self, task: Task, cadence: Cadence, samples: int, count: int) -> Any:
        made = replace(task, step=_longer(task.step)) if self._slow else task
        return self._meter.block(made, cadence, samples, count)


def _longer(step: Step) -> Step:
    def slow(index: int) -> None:
        begin = perf_counter()
        step(index)
        end = begin + SLOWER * (perf_counter() - begin)
        while perf_counter() < end:
            pass

    return slow


def alone(ctx: Context, say: Callable[[str], None]) -> Iterator[Row]:
    """A slow rank by what ranks do by themselves: small products, and streams in a cache."""
    makers = [partial(product, ctx, SquareParams(m=edge), rotate=False) for edge in PRODUCTS]
    makers += [partial(stream, ctx, StreamParams(op=op, size=WORKING)) for op in STREAMS]
    rng, hits, healthy = random.Random(2), 0, list[Findings]()

    def find(trial: int, slow: int) -> Findings:
        meter, medians = Slowed(ctx.meter, ctx.ranks.rank == slow), []
        for maker in makers:
            task = maker()  # one at a time: all lie over the same memory
            meter.block(task, Cadence.ISOLATED, WARMUP, 1)
            medians.append(meter.block(task, Cadence.ISOLATED, SAMPLES, 1).rank_medians)
        found = slow_ranks(medians)
        say(f"rank {slow if slow >= 0 else 'none'} slow by itself, trial {trial + 1} of {TRIALS}: {said(found)}")
        return found

    for trial in range(TRIALS):
        healthy.append(find(trial, -1))
        rank = rng.randrange(RANKS)
        hits += named(find(trial, rank)) == [("rank", (rank,))]
    alarms = sum(bool(found.faults) for found in healthy)
    yield Row("rank medians: slow rank", hits, alarms, float(np.median([found.smallest["rank"] for found in healthy])))


def wrong(ctx: Context, say: Callable[[str], None]) -> Iterator[Row]:
    """One element of a collective's result, changed on one rank: the check must name rank and element."""
    rng, team, hits, alarms = random.Random(3), ctx.team((tuple(range(RANKS)),)), 0, 0
    for trial in range(TRIALS):
        name, rank, place = rng.choice(OPERATIONS), rng.randrange(RANKS), rng.randrange(1 << 10)
        made = operations.operation(ctx, name, "float32", 16 << 10, team)
        alarms += fault(ctx, operations.build(ctx, made, team, 16 << 10)) != ""
        with changed(ctx.ranks.rank == rank, place):
            words = fault(ctx, operations.build(ctx, made, team, 16 << 10))
        hits += words.startswith(f"rank {rank}: {name}: element {place} of") and ";" not in words
        say(f"wrong answer, trial {trial + 1} of {TRIALS}: {words or 'nothing'}")
    yield Row("check: wrong answer", hits, alarms)


def fault(ctx: Context, task: Task) -> str:
    try:
        ctx.meter.verify(task)
    except WrongAnswer as error:
        return str(error)
    return ""


@contextmanager
def changed(here: bool, place: int) -> Iterator[None]:
    """Collectives that are built in here give one wrong element."""
    plain = operations.call

    def call(*args: Any) -> operations.Call:
        operate = plain(*args)

        def altered(buffers: operations.Buffers) -> None:
            operate(buffers)
            if here:
                buffers.into[place] += 1

        return altered

    with patch.object(operations, "call", call):
        yield


def rank() -> list[Row]:
    ctx = context(threads=1)

    def say(text: str) -> None:
        if ctx.ranks.rank == 0:
            print(text, file=sys.stderr, flush=True)

    rows = [*wrong(ctx, say), *alone(ctx, say)]
    dist.barrier()
    return rows


def main() -> int:
    as_json = wants_json(__doc__)
    if not ranks.is_rank():
        return ranks.start(RANKS)
    rows = rank()
    if dist.get_rank() == 0:
        show(rows, as_json)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
