"""The torch.distributed call of each collective, and the task that measures it.

The calls are the plain ones on the group's own backend (NCCL, RCCL, gloo): what a training framework
would call. A sum taken in place grows from use to use; operands are written anew before it overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist

from harness.accelerator import Operation
from harness.context import Context
from harness.errors import Skip
from harness.operands import REFILL, Spec
from harness.ranks import Team
from harness.records import Rate
from harness.sampling import Task
from harness.units import Unit, show_size
from microbench.collectives.formulas import COLLECTIVES, ITEM, ROOT, Collective, partner, uneven
from microbench.collectives.groups import described, nodes_of
from microbench.collectives.patterns import SENTINEL, Wanted, compare, randomise, write

# torch 2.13 renamed both; the old names warn there, and the new ones are not in earlier releases.
_RENAMED = hasattr(dist, "all_gather_single")
_all_gather = dist.all_gather_single if _RENAMED else dist.all_gather_into_tensor
_reduce_scatter = dist.reduce_scatter_single if _RENAMED else dist.reduce_scatter_tensor

STORED = {"float8": "float8_e4m3fn"}
"""torch's names of types that it calls otherwise."""


@dataclass(frozen=True)
class Buffers:
    """One rank's (destination, source) of one operation; parts: the one of them that torch wants as a
    list, a tensor for each rank."""

    into: torch.Tensor
    out_of: torch.Tensor
    parts: list[torch.Tensor] | None = None


Call = Callable[[Buffers], object]


def call(name: str, team: Team, count: int, reduction: str = "sum") -> Call:
    """The operation on one rank's buffers, waiting as torch does by default: until done on CPU, until
    queued on a device."""
    assert team.rank is not None
    group, rank, ranks, root = team.group, team.rank, team.size, team.own[ROOT]
    op = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "avg": dist.ReduceOp.AVG}[reduction]
    split = uneven(ranks, count) if name == "all_to_all_uneven" else []
    calls: dict[str, Call] = {
        "all_reduce": lambda b: dist.all_reduce(b.into, op=op, group=group),
        "all_gather": lambda b: _all_gather(b.into, b.out_of, group=group),
        "reduce_scatter": lambda b: _reduce_scatter(b.into, b.out_of, op=op, group=group),
        "broadcast": lambda b: dist.broadcast(b.into, src=root, group=group),
        "reduce": lambda b: dist.reduce(b.into, dst=root, op=op, group=group),
        "gather": lambda b: dist.gather(b.out_of, b.parts, dst=root, group=group),
        "scatter": lambda b: dist.scatter(b.into, b.parts, src=root, group=group),
        "all_to_all": lambda b: dist.all_to_all_single(b.into, b.out_of, group=group),
        "all_to_all_uneven": lambda b: dist.all_to_all_single(
            b.into, b.out_of, [split[rank]] * ranks, split, group=group
        ),
        "send_recv": partial(swap, (rank + 1) % ranks, (rank - 1) % ranks, team),
        "exchange": partial(swap, partner(rank, ranks), partner(rank, ranks), team),
    }
    return calls[name]


def swap(to: int, of: int, team: Team, buffers: Buffers) -> None:
    """Send to one rank of the team and receive from one, at once (nccl-tests sendrecv)."""
    if to == team.rank:
        return
    both = [
        dist.P2POp(dist.isend, buffers.out_of, team.own[to], team.group),
        dist.P2POp(dist.irecv, buffers.into, team.own[of], team.group),
    ]
    for work in dist.batch_isend_irecv(both):
        work.wait()


def operation(ctx: Context, name: str, dtype: str, size: int, team: Team, reduction: str = "") -> Operation:
    """The operation as vendors and models judge it. Skips what the backend cannot do, and sizes below
    an element for each rank."""
    collective, ranks = COLLECTIVES[name], team.size
    reduction = (reduction or "sum") if collective.reduces else ""
    count = collective.count(size, dtype, ranks)
    made = Operation(
        "collective", name, dtype, bytes=count * ITEM[dtype], ranks=ranks, reduction=reduction,
        nodes=nodes_of(team.members[0], ctx.per_node), groups=len(team.members),
    )  # fmt: skip
    ctx.require(made)
    if count == 0:
        raise Skip(f"{show_size(size)} is less than one {dtype} element for each of {ranks} ranks")
    return made


def build(ctx: Context, made: Operation, team: Team, size: int, in_place: bool = False) -> Task:
    """The task of one cell of `size` B as asked."""
    collective, dtype = COLLECTIVES[made.name], made.dtype
    if in_place and ctx.accelerator.backend() == "gloo":
        raise Skip(f"gloo copies {made.name} through a buffer of its own: in place is the same as out of place")
    flags = (described(team.members, ctx.ranks.world, ctx.per_node), *_rounded(size, made))
    rates = _rates(collective, made)
    if team.rank is None:
        return Task(made, _idle, rates, flags=flags, team=team)
    rank, count = team.rank, int(made.bytes) // ITEM[dtype]
    received, sent = collective.elements(rank, team.size, count)
    if not received and not sent:  # the odd one out of an exchange: it takes part, and has nothing to do
        return Task(made, lambda _: None, rates, flags=flags, team=team)
    apart = collective.buffers == "two" or (collective.buffers == "nested" and not in_place)
    wanted = (received, sent) if apart else (max(received, sent),)
    stored = STORED.get(dtype, dtype)
    uses = uses_in_place(stored, team.size) if made.reduction == "sum" and not apart else REFILL
    sets = ctx.operands(*(Spec((elements,), stored) for elements in wanted if elements), uses=uses)
    operate, buffers = call(made.name, team, count, made.reduction or "sum"), list[Buffers]()

    def prepare(operations: int) -> None:
        sets.prepare(operations)
        buffers[:] = [_buffers(sets[index], collective, received, sent, team) for index in range(operations)]

    def step(index: int) -> None:
        operate(buffers[index])

    def check() -> None:
        prepare(1)
        verify(Wanted(collective, rank, team.size, count, made.reduction), operate, buffers[0])

    lasting = sets.lasting if uses != REFILL else None
    return Task(made, step, rates, prepare, check, sets.count, sets.flags + flags, lasting, team)


def _idle(_: int) -> None:
    raise AssertionError("a rank that takes no part was asked to")


def uses_in_place(dtype: str, ranks: int) -> int:
    """How often a sum over `ranks` may be taken in place: it grows by that factor each time, from values
    below 2^3, and must stay finite. Whole numbers wrap round."""
    kind = getattr(torch, dtype)
    if not kind.is_floating_point:
        return REFILL
    room = math.log2(torch.finfo(kind).max) - 3
    return max(1, min(REFILL - 1, int(room / math.log2(ranks))))


def _buffers(
    tensors: tuple[torch.Tensor, ...], collective: Collective, received: int, sent: int, team: Team
) -> Buffers:
    """Buffers over one operand set. In place the smaller lies at its own rank's part of the larger."""
    assert team.rank is not None
    if collective.buffers == "two":
        held = iter(tensors)
        nothing = tensors[0][:0] if tensors else torch.empty(0)
        into = next(held) if received else nothing
        out_of = next(held) if sent else nothing
        listed = {"gather": into, "scatter": out_of}.get(collective.name)
        return Buffers(into, out_of, list(listed.chunk(team.size)) if listed is not None and len(listed) else None)
    if len(tensors) == 2:
        return Buffers(tensors[0], tensors[1])
    whole, rank = tensors[0], team.rank
    into = whole if received >= sent else whole[rank * received : (rank + 1) * received]
    out_of = whole if sent >= received else whole[rank * sent : (rank + 1) * sent]
    return Buffers(into, out_of)


def verify(wanted: Wanted, operate: Call, buffers: Buffers) -> None:
    """Run the operation on known data, with a sentinel in the destination, and compare every element."""
    buffers.into.fill_(SENTINEL)
    write(buffers.out_of, wanted)
    operate(buffers)
    try:
        compare(buffers.into, wanted)
    finally:
        randomise(buffers.into)
        randomise(buffers.out_of)


def _rates(collective: Collective, made: Operation) -> tuple[Rate, ...]:
    size = made.bytes
    bus = size * collective.factor(made.ranks)
    return Rate("algbw", size, Unit.BYTE_PER_SECOND), Rate("busbw", bus, Unit.BYTE_PER_SECOND)


def _rounded(size: int, made: Operation) -> tuple[str, ...]:
    if made.bytes == size:
        return ()
    return (f"{made.bytes:.0f} B were measured, not {size}: the same number of elements for each rank",)
