"""Peak finder: the rate of the shape it finds over that of the best of all shapes, side by side.

`python benchmarks/peak_finder.py [--json]`. A range small enough to exhaust: every shape is timed as a trial is, and
the fastest race for the exhaustive best. Then the finder searches the same range with several seeds. Both shapes are
measured anew, in ABBA order, so that neither keeps the luck that chose it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from common import Row, abba, inverse, median, row, show, wants_json
from place import context, cores

from harness.context import Context
from harness.records import Cadence
from harness.units import Unit
from harness.units import show as show_value
from microbench.gemm.peak import Finder, PeakParams
from microbench.gemm.product import GemmParams, build
from microbench.gemm.search import Shape, race

RANGES = (
    PeakParams(dtype="float32", low=128, high=1024, step=128, seconds=60.0),
    PeakParams(dtype="bfloat16", low=128, high=1024, step=128, seconds=60.0),
)
SEEDS = range(1, 5)
ROUNDS = 12  # of ABBA


def exhaust(ctx: Context, params: PeakParams) -> Shape:
    """The best of all shapes, timed in a random order."""
    finder = Finder(ctx, params)
    shapes = list(itertools.product(params.edges, repeat=3))
    random.Random(1).shuffle(shapes)
    known = {shape: finder.trial(shape) for shape in shapes}
    return race(known, finder.trial, lambda: True)


def timed(ctx: Context, params: PeakParams, shape: Shape) -> Callable[[], float]:
    """Seconds of one FLOP, a sample of a few products on operands that rotate."""
    task = build(ctx, GemmParams(*shape, params.dtype))
    return lambda: median(ctx.meter.block(task, Cadence.STREAMING, 1, 5).samples) / task.operation.flops


def searched(ctx: Context, beside: Context, params: PeakParams, seed: int, best: Shape) -> Row:
    """The finder with one seed, against the exhaustive best on memory of its own."""
    found, *trials = Finder(replace(ctx, seed=seed), params).find()
    shape = (int(found.params["m"]), int(found.params["n"]), int(found.params["k"]))
    pairs = abba(timed(ctx, params, shape), timed(beside, params, best), ROUNDS)
    count = len(params.edges) ** 3
    ours, theirs = (show_value(1 / median(times), Unit.FLOP_PER_SECOND) for times in pairs)
    note = f"{shape} {ours}, all: {best} {theirs}; timed {len(trials)} of {count}, {len(trials) / count:.1%}"
    return row(f"{params.dtype} {params.low} to {params.high}, seed {seed}", inverse(pairs), note, least=0.98)


def rows() -> list[Row]:
    ctx, beside, found = context(threads=cores()), context(threads=cores()), []
    for params in RANGES:
        best = exhaust(ctx, params)
        found += [searched(ctx, beside, params, seed, best) for seed in SEEDS]
    return found


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    show("Peak finder: the rate found / the best of all shapes", rows(), as_json)
