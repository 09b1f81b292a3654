"""Transformer: the sum of a layer's parts over the layer really run, in one process, interleaved.

`python benchmarks/transformer_sum.py [--json] [MODEL ...]`. Each part is timed by itself as `bench run --only
gemm.transformer` times it (back to back, operands rotating over four caches); the sum weights each by how often the
layer does it. The note names the largest parts with their shares of the sum.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable

from common import Row, abba, median, row, show
from place import context, cores

from harness.context import Context
from harness.models.parts import Part, parts
from harness.records import Cadence
from harness.sampling import Task
from microbench.gemm.product import precision
from microbench.gemm.transformer import TransformerParams, build, shard

TYPES = ("float32", "bfloat16")
ROUNDS = 10
OPERATIONS = 3  # a sample
NAMED = 5  # largest parts

Loop = Callable[[], float]


def timed(ctx: Context, params: TransformerParams, part: Part | None) -> Loop:
    """Seconds of one operation, right by its check, on operands of its own: an arena is laid anew by each task."""
    task: Task = build(dataclasses.replace(ctx, arena=ctx.arena.apart()), params, part)
    task.check()
    operations = min(OPERATIONS, task.lasting or OPERATIONS)
    return lambda: ctx.meter.block(task, Cadence.STREAMING, 1, operations).samples[0]


def compared(ctx: Context, model: str, dtype: str) -> Row:
    params = TransformerParams(model=model, dtype=dtype)
    held = [part for part in parts(shard(params), params.sequence, params.batch) if part.times]
    loops = [timed(ctx, params, part) for part in held]
    taken: dict[str, list[float]] = {part.name: [] for part in held}

    def total() -> float:
        for part, loop in zip(held, loops, strict=True):
            taken[part.name].append(part.times * loop())
        return sum(times[-1] for times in taken.values())

    pairs = abba(total, timed(ctx, params, None), ROUNDS)
    largest = sorted(taken, key=lambda name: median(taken[name]), reverse=True)[:NAMED]
    shares = ", ".join(f"{name} {median(taken[name]) / median(pairs[0]):.0%}" for name in largest)
    note = f"layer {median(pairs[1]) * 1e3:.1f} ms; of {len(held)} parts: {shares}"
    return row(f"{model} {dtype}", pairs, note, least=0.85, most=1.15)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("models", nargs="*", default=["tiny", "tiny-moe"], metavar="MODEL")
    given, ctx, rows = parser.parse_args(), context(threads=cores()), []
    for model in given.models:
        for dtype in TYPES:
            with precision(dtype):
                rows.append(compared(ctx, model, dtype))
    show("transformer: sum of a layer's parts / the layer", rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
