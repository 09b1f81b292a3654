"""Collectives over all ranks of a launch: all-reduce, all-gather, reduce-scatter, broadcast,
all-to-all, send/recv.

`size` is nccl-tests' S (see `formulas`). torch.distributed offers all-reduce and broadcast in place
only, and all-to-all and send/recv out of place only; all-gather and reduce-scatter go both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.errors import CannotRun
from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import Bytes
from microbench.collectives.formulas import whole_elements

if TYPE_CHECKING:
    from harness.context import Context


class CollectiveParams(Struct, frozen=True):
    """One message size. `ranks` is the size of the launch, filled in by the planner."""

    size: Bytes
    ranks: Annotated[int, msgspec.Meta(ge=2)]
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        whole_elements(self.size, self.dtype)


class PlacedParams(CollectiveParams, frozen=True):
    """in_place: the smaller buffer lies inside the larger, at the rank's own part."""

    in_place: bool = False


def _measure(ctx: Context, name: str, params: CollectiveParams, in_place: bool = False) -> Sequence[Measurement]:
    from microbench.collectives.operations import build

    if ctx.ranks.world != params.ranks:
        raise CannotRun(f"collectives.{name}: planned for {params.ranks} ranks, and the launch has {ctx.ranks.world}")
    return ctx.time(build(ctx, name, params.dtype, params.size, in_place))


@benchmark("collectives.all_reduce", version=1, params=CollectiveParams, scope="group", rate="busbw")
def all_reduce(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Sum of every rank's buffer, on every rank; S is the buffer."""
    return _measure(ctx, "all_reduce", params)


@benchmark("collectives.all_gather", version=1, params=PlacedParams, scope="group", rate="busbw")
def all_gather(ctx: Context, params: PlacedParams) -> Sequence[Measurement]:
    """Every rank's part, on every rank; S is the gathered output."""
    return _measure(ctx, "all_gather", params, params.in_place)


@benchmark("collectives.reduce_scatter", version=1, params=PlacedParams, scope="group", rate="busbw")
def reduce_scatter(ctx: Context, params: PlacedParams) -> Sequence[Measurement]:
    """Sum of every rank's buffer, a part on each rank; S is the whole input."""
    return _measure(ctx, "reduce_scatter", params, params.in_place)


@benchmark("collectives.broadcast", version=1, params=CollectiveParams, scope="group", rate="busbw")
def broadcast(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Rank 0's buffer, on every rank; S is the buffer."""
    return _measure(ctx, "broadcast", params)


@benchmark("collectives.all_to_all", version=1, params=CollectiveParams, scope="group", rate="busbw")
def all_to_all(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """A part from each rank to each rank; S is one rank's buffer."""
    return _measure(ctx, "all_to_all", params)


@benchmark("collectives.send_recv", version=1, params=CollectiveParams, scope="group", rate="busbw")
def send_recv(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Each rank sends its buffer to the next and receives from the one before; S is the buffer."""
    return _measure(ctx, "send_recv", params)
