"""GEMM: our rate over the best plain torch.mm loop's, at the same shape and type.

`python benchmarks/gemm_overhead.py [--json]`. Like is held against like: operands that rotate over four caches, as
every record's do (METHOD 12), against a plain loop that rotates; operands that stay in the cache against the better of
two plain loops on one set. The last row of a case shows what rotation itself costs at that size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from time import perf_counter

import torch
from common import Row, abba, inverse, median, row, show, wants_json
from place import context, cores

from harness.context import Context
from harness.records import Cadence
from harness.units import Unit
from harness.units import show as show_value
from microbench.gemm import SquareParams
from microbench.gemm.product import build, flop

CASES = (("float32", 512, 20, 15), ("float32", 1024, 8, 12), ("float32", 2048, 2, 10), ("bfloat16", 1024, 15, 12))
"""(type, edge, products a block, rounds of ABBA)."""

Loop = Callable[[], float]


def timed(products: int, one: Callable[[], object]) -> Loop:
    """Median time of one product."""

    def loop() -> float:
        taken = []
        for _ in range(products):
            begin = perf_counter()
            one()
            taken.append(perf_counter() - begin)
        return median(taken)

    return loop


def rotating(ctx: Context, dtype: str, edge: int, products: int) -> Loop:
    """A plain loop over as many operands as ours has."""
    kind = getattr(torch, dtype)
    count = max(1, math.ceil(4 * (ctx.accelerator.cache() or 0) / (3 * edge * edge * kind.itemsize)))
    sets = itertools.cycle([one.unbind() for one in torch.randn(count, 3, edge, edge).to(kind)])

    def one() -> None:
        a, b, c = next(sets)
        torch.mm(a, b, out=c)

    return timed(products, one)


def cached(dtype: str, edge: int, products: int) -> list[tuple[str, Loop]]:
    """The plain loops that one writes first: into given and into new memory, on one set."""
    a, b, c = torch.randn(3, edge, edge).to(getattr(torch, dtype)).unbind()
    return [
        ("out=", timed(products, lambda: torch.mm(a, b, out=c))),
        ("new memory", timed(products, lambda: torch.mm(a, b))),
    ]


def ours(ctx: Context, dtype: str, edge: int, products: int, rotate: bool) -> Loop:
    task = build(ctx, SquareParams(m=edge, dtype=dtype), rotate)
    return lambda: median(ctx.meter.block(task, Cadence.ISOLATED, products, 1).samples)


def rows() -> list[Row]:
    ctx, found = context(threads=cores()), []
    for dtype, edge, products, rounds in CASES:
        name = f"{dtype} {edge}"

        def rate(times: list[float], work: int = flop(edge, edge, edge)) -> str:
            return show_value(work / median(times), Unit.FLOP_PER_SECOND)

        cold = abba(ours(ctx, dtype, edge, products, True), rotating(ctx, dtype, edge, products), rounds)
        found.append(row(f"{name}, rotating", inverse(cold), f"ours {rate(cold[0])}", least=0.98))
        hot = {
            kind: abba(ours(ctx, dtype, edge, products, False), loop, rounds)
            for kind, loop in cached(dtype, edge, products)
        }
        best = min(hot, key=lambda kind: median(hot[kind][1]))
        said = f"ours {rate(hot[best][0])}, best plain loop: {best}"
        found.append(row(f"{name}, in the cache", inverse(hot[best]), said, least=0.98))
        both = abba(ours(ctx, dtype, edge, products, True), dict(cached(dtype, edge, products))[best], rounds // 2)
        found.append(row("  rotating / plain in the cache", inverse(both)))
    return found


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    show("GEMM: our rate / a plain loop's", rows(), as_json)
