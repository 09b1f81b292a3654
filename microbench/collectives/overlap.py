"""A matrix product and a collective at once: what each costs the other.

Training hides communication behind computation, and both then share what they run on: a GPU's
multiprocessors and memory, a CPU's cores (`harness.beside` has how it is measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.beside import Work, measurements, turns
from harness.records import Measurement
from harness.registry import benchmark
from harness.units import Bytes
from microbench.collectives import GroupParams, team_of
from microbench.collectives.formulas import whole_elements

if TYPE_CHECKING:
    from harness.context import Context


class OverlapParams(GroupParams, frozen=True, kw_only=True):
    """An all-reduce of `size` B beside square products of edge `m`, both in `dtype`."""

    size: Bytes
    m: Annotated[int, msgspec.Meta(ge=16)] = 1024
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        whole_elements(self.size, self.dtype)


@benchmark("collectives.overlap", version=1, params=OverlapParams, scope="group", rate="gemm_slowdown")
def overlap(ctx: Context, params: OverlapParams) -> Sequence[Measurement]:
    """A matrix product and an all-reduce at once: how much each one slows the other down."""
    from microbench.collectives.operations import build, operation
    from microbench.gemm.product import GemmParams
    from microbench.gemm.product import build as product

    team = team_of(ctx, params)
    ctx.require(Operation("step", "overlap", params.dtype, ranks=team.size))
    made = operation(ctx, "all_reduce", params.dtype, params.size, team)
    collective = build(ctx, made, team, params.size)
    multiply = product(replace(ctx, arena=ctx.arena.apart()), GemmParams(m=params.m, dtype=params.dtype))
    gemm = replace(multiply, team=team)
    ctx.ready()
    for task in (collective, gemm):
        ctx.meter.verify(task)
    return measurements(ctx, turns(ctx, {"gemm": Work(gemm), "collective": Work(collective)}), collective.flags)
