"""Copies: between the host's memory and a device's, within a device, and to another device of the host.

What feeds a device and what offloading costs. Host memory is pinned (page-locked, which a device reads by
itself) or pageable (copied through a pinned buffer of the driver's first). Both directions at once run on
two queues, and both count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from harness.accelerator import Operation
from harness.errors import Skip, WrongAnswer
from harness.operands import ALIGN, SHARE, Operands, Spec
from harness.records import Rate, Struct
from harness.units import Bytes, Unit, show_size
from microbench.memory.checks import spread
from microbench.memory.native import FOREVER, on_host

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task

Pair = tuple["torch.Tensor", "torch.Tensor"]  # into, out of

ONE_BUFFER = "the same buffers again and again: what a cache holds of them is not read from memory"
WITHIN = "read and written in the same memory: both count"
EVERY = "every device copies to the next one at once"


class TransferParams(Struct, frozen=True):
    """size: B of one copy. direction: host to device, device to host, both at once, within the device, or to
    the next device of the host. pinned: what kind of host memory; of no account between devices."""

    size: Bytes
    direction: Literal["h2d", "d2h", "both", "d2d", "peer"] = "h2d"
    pinned: bool = True

    def __post_init__(self) -> None:
        if self.size % ALIGN:
            below = self.size - self.size % ALIGN
            raise ValueError(
                f"{self.size} B is no multiple of {ALIGN} B; nearest: {max(below, ALIGN)} or {below + ALIGN}"
            )
        if not self.pinned and not self.of_host:
            raise ValueError(f"pinned=false is about the host's memory, and {self.direction} does not touch it")
        if not self.pinned and self.direction == "both":
            raise ValueError("both directions at once need pinned=true: a pageable copy holds its thread to the end")

    @property
    def of_host(self) -> bool:
        return self.direction in ("h2d", "d2h", "both")


def describe(params: TransferParams) -> Operation:
    """bytes: of both directions, and both read and written within a device. name: the direction, with
    `_pageable` where host memory is not pinned."""
    moved = params.size * (2 if params.direction in ("both", "d2d") else 1)
    name = params.direction if params.pinned else f"{params.direction}_pageable"
    return Operation("transfer", name, "float32", bytes=float(moved), shape=(params.size // 4,))


def build(ctx: Context, params: TransferParams) -> Task:
    """The task of one cell. Skips a host's processors, which have no memory apart."""
    from harness.sampling import Task

    _refuse_host(ctx, params)
    operation = describe(params)
    ctx.require(operation)
    pairs, flags = _pairs(ctx, params)
    copy = _copier(ctx, pairs, block=not params.pinned)

    def step(_: int) -> None:
        copy()

    def check() -> None:
        for into, _ in pairs:
            into.fill_(math.nan)
        copy()
        ctx.accelerator.synchronise()
        for into, out_of in pairs:
            _compare(operation.name, into, out_of)

    rates = (Rate("bandwidth", operation.bytes, Unit.BYTE_PER_SECOND),)
    return Task(operation, step, rates, check=check, flags=(ONE_BUFFER, *flags))


def _refuse_host(ctx: Context, params: TransferParams) -> None:
    if not on_host(ctx):
        return
    if params.direction == "d2d":
        raise Skip("a copy within the host's memory is memory.stream with op=copy")
    raise Skip("the device is the host's processors: there is no other memory to copy to")


def _pairs(ctx: Context, params: TransferParams) -> tuple[list[Pair], tuple[str, ...]]:
    """What is copied, as (into, out of), and what to say of it."""
    import torch

    spec = Spec((params.size // 4,), "float32")
    if params.direction == "d2d":
        return [_two(ctx, spec)], (WITHIN,)
    if params.direction == "peer":
        peer = ctx.accelerator.peer()
        if peer is None:
            raise Skip("this rank sees one device: make all devices of the host visible to every rank")
        ctx.arena.allow(2 * params.size)  # its own, and what the device before it sends
        into = torch.empty(spec.shape, dtype=torch.float32, device=peer.device)
        way = "straight to the other device" if peer.direct else "through the host's memory: no peer access"
        return [(into, _one(ctx, spec))], (way, EVERY)
    buffers = _host(ctx, spec, 2 if params.direction == "both" else 1, params.pinned)
    flags = ("pinned host memory" if params.pinned else "pageable host memory: the driver copies through its own",)
    if params.direction == "both":
        first, second = _two(ctx, spec)
        return [(first, buffers[0]), (buffers[1], second)], flags
    device = _one(ctx, spec)
    return [(device, buffers[0]) if params.direction == "h2d" else (buffers[0], device)], flags


def _one(ctx: Context, spec: Spec) -> torch.Tensor:
    sets = ctx.operands(spec, rotate=False, uses=FOREVER)
    sets.prepare(1)
    return sets[0][0]


def _two(ctx: Context, spec: Spec) -> Pair:
    sets = ctx.operands(spec, spec, rotate=False, uses=FOREVER)
    sets.prepare(1)
    first, second = sets[0]
    return first, second


def _host(ctx: Context, spec: Spec, count: int, pinned: bool) -> tuple[torch.Tensor, ...]:
    """Random tensors in the host's memory. Skips what would take more than a share of it."""
    import torch

    size = count * spec.shape[0] * 4
    if ctx.device.type == "meta":
        held = torch.empty(size, dtype=torch.uint8, device="meta")
    else:
        from clusters.accelerators.host import Host

        room = int(Host().memory_free() / ctx.per_node * SHARE)
        if size > room:
            raise Skip(f"needs {show_size(size)} of the host's memory, and {show_size(room)} may be used")
        held = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
    sets = Operands(held, [spec] * count, [size // count] * count, 1, ctx.seed, (), FOREVER)
    sets.prepare(1)
    return sets[0]


def _copier(ctx: Context, pairs: list[Pair], block: bool) -> Callable[[], None]:
    """One copy, or two at once on queues of their own."""

    def move(pair: Pair) -> None:
        pair[0].copy_(pair[1], non_blocking=not block)

    if len(pairs) == 1:
        return lambda: move(pairs[0])

    def both() -> None:
        wait = ctx.accelerator.beside(lambda: move(pairs[0]))
        move(pairs[1])
        wait()

    return both


def _compare(name: str, into: torch.Tensor, out_of: torch.Tensor) -> None:
    """Every part arrived, and what arrived is what was sent."""
    if math.isnan(float(into.sum())):
        raise WrongAnswer(f"{name}: part of the {into.nbytes} B did not arrive")
    places = spread(into.numel())
    found, sent = (tensor[places.to(tensor.device)].cpu() for tensor in (into, out_of))
    wrong = found != sent
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0].item())
        raise WrongAnswer(
            f"{name}: element {int(places[at])} of {into.numel()} is {float(found[at]):.9g}, sent {float(sent[at]):.9g}"
        )
