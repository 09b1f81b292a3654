"""The torch.distributed call of each collective, and the task that measures it.

The calls are the plain ones on the default group, whatever its backend (NCCL, RCCL, gloo): what a
training framework would call. A sum taken in place grows from use to use; operands are written anew
before it overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.distributed as dist

from harness.accelerator import Operation
from harness.context import Context
from harness.errors import Skip
from harness.operands import REFILL, Spec
from harness.records import Rate
from harness.sampling import Task
from harness.units import Unit, show_size
from microbench.collectives.formulas import COLLECTIVES, ITEM, Collective
from microbench.collectives.patterns import SENTINEL, compare, randomise, write

Call = Callable[[torch.Tensor, torch.Tensor], object]
Pair = tuple[torch.Tensor, torch.Tensor]

# torch 2.13 renamed both; the old names warn there, and the new ones are not in earlier releases.
_RENAMED = hasattr(dist, "all_gather_single")
_all_gather = dist.all_gather_single if _RENAMED else dist.all_gather_into_tensor
_reduce_scatter = dist.reduce_scatter_single if _RENAMED else dist.reduce_scatter_tensor


def call(name: str, rank: int, ranks: int) -> Call:
    """The operation as a function of (destination, source), waiting as torch does by default: until
    done on CPU, until queued on a device."""
    after, before = (rank + 1) % ranks, (rank - 1) % ranks

    def shift(into: torch.Tensor, out_of: torch.Tensor) -> None:
        """Each rank sends to the next and receives from the one before, at once (nccl-tests sendrecv)."""
        both = [dist.P2POp(dist.isend, out_of, after), dist.P2POp(dist.irecv, into, before)]
        for work in dist.batch_isend_irecv(both):
            work.wait()

    calls: dict[str, Call] = {
        "all_reduce": lambda into, _: dist.all_reduce(into),
        "all_gather": _all_gather,
        "reduce_scatter": _reduce_scatter,
        "broadcast": lambda into, _: dist.broadcast(into, src=0),
        "all_to_all": dist.all_to_all_single,
        "send_recv": shift,
    }
    return calls[name]


def build(ctx: Context, name: str, dtype: str, size: int, in_place: bool) -> Task:
    """The task of one cell. Skips what the backend cannot do, and sizes below an element for each rank."""
    collective, rank, ranks = COLLECTIVES[name], ctx.ranks.rank, ctx.ranks.world
    count = collective.count(size, dtype, ranks)
    operation = Operation("collective", name, dtype, bytes=count * ITEM[dtype], ranks=ranks)
    ctx.require(operation)
    if count == 0:
        raise Skip(f"{show_size(size)} is less than one {dtype} element for each of {ranks} ranks")
    if in_place and ctx.accelerator.backend() == "gloo":
        raise Skip(f"gloo copies {name} through a buffer of its own: in place is the same as out of place")
    received, sent = collective.elements(count, ranks)
    apart = collective.buffers == "two" or (collective.buffers == "nested" and not in_place)
    wanted = (received, sent) if apart else (max(received, sent),)
    uses = uses_in_place(dtype, ranks) if collective.reduces and not apart else REFILL
    sets = ctx.operands(*(Spec((elements,), dtype) for elements in wanted), uses=uses)
    operate, pairs = call(name, rank, ranks), list[Pair]()

    def prepare(operations: int) -> None:
        sets.prepare(operations)
        pairs[:] = [_pair(sets[index], received, sent, rank) for index in range(operations)]

    def step(index: int) -> None:
        into, out_of = pairs[index]
        operate(into, out_of)

    def check() -> None:
        prepare(1)
        verify(collective, operate, pairs[0], rank, ranks, count)

    lasting = sets.lasting if uses != REFILL else None
    return Task(operation, step, _rates(collective, operation), prepare, check, sets.count,
                sets.flags + _rounded(size, operation), lasting)  # fmt: skip


def uses_in_place(dtype: str, ranks: int) -> int:
    """How often a sum over `ranks` may be taken in place: it grows by that factor each time, from values
    below 2^3, and must stay finite."""
    room = math.log2(torch.finfo(getattr(torch, dtype)).max) - 3
    return max(1, min(REFILL - 1, int(room / math.log2(ranks))))


def _pair(tensors: tuple[torch.Tensor, ...], received: int, sent: int, rank: int) -> Pair:
    """(destination, source); where there is one tensor the smaller lies at its own rank's part of it."""
    if len(tensors) == 2:
        return tensors[0], tensors[1]
    whole = tensors[0]
    into = whole if received >= sent else whole[rank * received : (rank + 1) * received]
    out_of = whole if sent >= received else whole[rank * sent : (rank + 1) * sent]
    return into, out_of


def verify(collective: Collective, operate: Call, pair: Pair, rank: int, ranks: int, count: int) -> None:
    """Run the operation on known data, with a sentinel in the destination, and compare every element."""
    into, out_of = pair
    into.fill_(SENTINEL)
    write(out_of, collective, rank, ranks)
    operate(into, out_of)
    try:
        compare(into, collective, rank, ranks, count)
    finally:
        randomise(into)
        randomise(out_of)


def _rates(collective: Collective, operation: Operation) -> tuple[Rate, ...]:
    size = operation.bytes
    bus = size * collective.factor(operation.ranks)
    return Rate("algbw", size, Unit.BYTE_PER_SECOND), Rate("busbw", bus, Unit.BYTE_PER_SECOND)


def _rounded(size: int, operation: Operation) -> tuple[str, ...]:
    if operation.bytes == size:
        return ()
    return (f"{operation.bytes:.0f} B were measured, not {size}: the same number of elements for each rank",)
