"""Collectives over the ranks of a launch, or over sub-groups of them.

`size` is nccl-tests' S (see `formulas`). torch.distributed offers all-reduce, broadcast and reduce in
place only, gather, scatter, all-to-all and send/recv out of place only; all-gather and reduce-scatter
go both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import Bytes
from microbench.collectives.formulas import whole_elements
from microbench.collectives.groups import Placement, described, members, nodes_of

if TYPE_CHECKING:
    from harness.context import Context
    from harness.ranks import Team
    from harness.sampling import Task

AVERAGED = ("float32", "bfloat16", "float16")


class GroupParams(Struct, frozen=True):
    """Which ranks: `groups` groups of `ranks` ranks each, all at once; filled in by the planner."""

    ranks: Annotated[int, msgspec.Meta(ge=2)]
    placement: Placement = "packed"
    groups: Annotated[int, msgspec.Meta(ge=1)] = 1


class CollectiveParams(GroupParams, frozen=True, kw_only=True):
    """One message size."""

    size: Bytes
    dtype: Literal["float32", "bfloat16", "float16", "int64", "float8"] = "float32"

    def __post_init__(self) -> None:
        whole_elements(self.size, self.dtype)


class PlacedParams(CollectiveParams, frozen=True):
    """in_place: the smaller buffer lies inside the larger, at the rank's own part."""

    in_place: bool = False


class ReducingParams(CollectiveParams, frozen=True):
    """reduction: how the ranks' values become one."""

    reduction: Literal["sum", "max", "avg"] = "sum"

    def __post_init__(self) -> None:
        CollectiveParams.__post_init__(self)
        if self.reduction == "avg" and self.dtype not in AVERAGED:
            raise ValueError(f"an average in {self.dtype} cannot be told from a wrong one; use {', '.join(AVERAGED)}")


class ReduceScatterParams(ReducingParams, frozen=True):
    """in_place: the part that a rank receives lies inside its whole input."""

    in_place: bool = False


def team_of(ctx: Context, params: GroupParams) -> Team:
    """The groups of ranks that a cell asks for; skips what the launch cannot hold."""
    return ctx.team(members(params.placement, params.ranks, params.groups, ctx.ranks.world, ctx.per_node))


def task(ctx: Context, name: str, params: CollectiveParams) -> Task:
    """The task of one cell of the collective `name`."""
    from microbench.collectives.operations import build, operation

    team = team_of(ctx, params)
    made = operation(ctx, name, params.dtype, params.size, team, getattr(params, "reduction", ""))
    return build(ctx, made, team, params.size, getattr(params, "in_place", False))


def _measure(ctx: Context, name: str, params: CollectiveParams) -> Sequence[Measurement]:
    return ctx.time(task(ctx, name, params))


@benchmark("collectives.all_reduce", version=2, params=ReducingParams, scope="group", rate="busbw")
def all_reduce(ctx: Context, params: ReducingParams) -> Sequence[Measurement]:
    """Sum (or max, avg) of every rank's buffer, on every rank; S is the buffer."""
    return _measure(ctx, "all_reduce", params)


@benchmark("collectives.all_gather", version=2, params=PlacedParams, scope="group", rate="busbw")
def all_gather(ctx: Context, params: PlacedParams) -> Sequence[Measurement]:
    """Every rank's part, on every rank; S is the gathered output."""
    return _measure(ctx, "all_gather", params)


@benchmark("collectives.reduce_scatter", version=2, params=ReduceScatterParams, scope="group", rate="busbw")
def reduce_scatter(ctx: Context, params: ReduceScatterParams) -> Sequence[Measurement]:
    """Sum of every rank's buffer, a part on each rank; S is the whole input."""
    return _measure(ctx, "reduce_scatter", params)


@benchmark("collectives.broadcast", version=2, params=CollectiveParams, scope="group", rate="busbw")
def broadcast(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """The first rank's buffer, on every rank; S is the buffer."""
    return _measure(ctx, "broadcast", params)


@benchmark("collectives.reduce", version=1, params=ReducingParams, scope="group", rate="busbw")
def reduce(ctx: Context, params: ReducingParams) -> Sequence[Measurement]:
    """Sum of every rank's buffer, on the first rank; S is the buffer."""
    return _measure(ctx, "reduce", params)


@benchmark("collectives.gather", version=1, params=CollectiveParams, scope="group", rate="busbw")
def gather(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Every rank's part, on the first rank; S is the gathered output."""
    return _measure(ctx, "gather", params)


@benchmark("collectives.scatter", version=1, params=CollectiveParams, scope="group", rate="busbw")
def scatter(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """A part of the first rank's buffer, on each rank; S is that buffer."""
    return _measure(ctx, "scatter", params)


@benchmark("collectives.all_to_all", version=2, params=CollectiveParams, scope="group", rate="busbw")
def all_to_all(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """A part from each rank to each rank; S is one rank's buffer."""
    return _measure(ctx, "all_to_all", params)


@benchmark("collectives.all_to_all_uneven", version=1, params=CollectiveParams, scope="group", rate="busbw")
def all_to_all_uneven(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """All-to-all where the first rank receives 1.5 times its share, as a busy expert does; S is what a rank sends."""
    return _measure(ctx, "all_to_all_uneven", params)


@benchmark("collectives.send_recv", version=2, params=CollectiveParams, scope="group", rate="busbw")
def send_recv(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Each rank sends its buffer to the next and receives from the one before; S is the buffer."""
    return _measure(ctx, "send_recv", params)


@benchmark("collectives.exchange", version=1, params=CollectiveParams, scope="group", rate="busbw")
def exchange(ctx: Context, params: CollectiveParams) -> Sequence[Measurement]:
    """Each rank and the one half-way round swap buffers, both ways at once; S is the buffer, one way."""
    return _measure(ctx, "exchange", params)


@benchmark("collectives.barrier", version=1, params=GroupParams, scope="group", rate="time")
def barrier(ctx: Context, params: GroupParams) -> Sequence[Measurement]:
    """All ranks wait for each other; nothing is moved."""
    import torch.distributed as dist

    from harness.accelerator import Operation
    from harness.sampling import Task

    team = team_of(ctx, params)
    made = Operation(
        "collective", "barrier", "", ranks=team.size, nodes=nodes_of(team.members[0], ctx.per_node),
        groups=len(team.members),
    )  # fmt: skip
    ctx.require(made)
    devices = None if ctx.device.index is None else [ctx.device.index]  # NCCL's barrier is an all-reduce on one
    flags = (described(team.members, ctx.ranks.world, ctx.per_node),)
    return ctx.time(
        Task(made, lambda _: dist.barrier(group=team.group, device_ids=devices), (), flags=flags, team=team)
    )
