"""Matrix products: the rate a device reaches, by data type and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.records import Measurement
from harness.registry import benchmark
from microbench.gemm.product import GemmParams, build, precision

if TYPE_CHECKING:
    from harness.context import Context


class SquareParams(GemmParams, frozen=True):
    """m = n = k. cached: the same operands again and again, in whatever cache holds them; a mode of its
    own, since training finds its operands in memory."""

    cached: bool = False

    def __post_init__(self) -> None:
        GemmParams.__post_init__(self)
        if not self.m == self.n == self.k:
            raise ValueError(f"a square product has m = n = k, not {self.m}, {self.n}, {self.k}")


@benchmark("gemm.square", version=1, params=SquareParams, scope="device", rate="flops")
def square(ctx: Context, params: SquareParams) -> Sequence[Measurement]:
    """Square matrix product on every device; the rate against size, and the peak."""
    with precision(params.dtype):
        return ctx.time(build(ctx, params, rotate=not params.cached))


@benchmark("gemm.shape", version=1, params=GemmParams, scope="device", rate="flops")
def shape(ctx: Context, params: GemmParams) -> Sequence[Measurement]:
    """Matrix product of any shape on every device: (m, k) times (k, n)."""
    with precision(params.dtype):
        return ctx.time(build(ctx, params))
