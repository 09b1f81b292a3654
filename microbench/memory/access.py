"""Memory that is not swept in order: pieces at a constant stride, and pieces in a random order.

Both copy pieces of a table into a row of their own, which is what an embedding and a transposition do.
The working set is all that takes part: the table, the pieces, and the indices of a random order. What
counts as moved is what was asked for; a memory moves whole lines, and more of them the smaller the piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.operands import ALIGN, Spec
from harness.records import Rate, Struct
from harness.units import Bytes, Unit, show_size
from microbench.memory import checks, loops, native
from microbench.memory.crew import Work
from microbench.memory.kernels import machine_code
from microbench.memory.streams import REUSED, refuse_threads, started

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task
    from microbench.memory.crew import Crew

ITEM = 4  # B of an element, float32, and of an index
GROUP = ALIGN // ITEM  # pieces come in such groups, so that every array is a whole number of ALIGN bytes

PIECES = (4, 8, 16, 32, 64, 128, 256)  # B


class RandomParams(Struct, frozen=True):
    """size: the working set. piece: B that lie together. threads: of a compiled loop, 0 for all that the
    rank has."""

    size: Bytes
    piece: Bytes = 64
    kernel: Literal["torch", "compiled"] = "torch"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        refuse_threads(self.kernel, self.threads)
        if self.piece not in PIECES:
            raise ValueError(f"a piece of {self.piece} B: accepted are {', '.join(map(str, PIECES))}")
        if self.size < GROUP * self.footprint:
            raise ValueError(
                f"needs at least {GROUP * self.footprint} B: {GROUP} pieces, each {self.footprint} B of it"
            )
        if self.pieces >= 2**31:
            raise ValueError(f"{self.pieces} pieces are more than a 32-bit index names: take a larger piece")

    @property
    def footprint(self) -> int:
        """B of the working set for each piece: in the table, in the result, and its index."""
        return 2 * self.piece + ITEM

    @property
    def pieces(self) -> int:
        return self.size // self.footprint // GROUP * GROUP


class StridedParams(RandomParams, frozen=True, kw_only=True):
    """stride: B from the start of one piece to that of the next."""

    stride: Bytes

    def __post_init__(self) -> None:
        RandomParams.__post_init__(self)
        if self.stride % self.piece:
            below = self.stride - self.stride % self.piece
            raise ValueError(f"a stride is a multiple of the piece, {self.piece} B; nearest: {max(below, self.piece)}")

    @property
    def footprint(self) -> int:
        return self.stride + self.piece


def describe(params: RandomParams) -> Operation:
    """bytes: each piece read and written, and the index that names it."""
    strided = isinstance(params, StridedParams)
    moved = params.pieces * (2 * params.piece + (0 if strided else ITEM))
    name = "strided" if strided else "random"
    return Operation("stream", name, "float32", bytes=float(moved), shape=(params.pieces, params.piece // ITEM))


def specs(params: RandomParams) -> list[Spec]:
    """The pieces copied, the table, and the indices of a random order."""
    row, pieces = params.piece // ITEM, params.pieces
    if isinstance(params, StridedParams):
        return [Spec((pieces, row), "float32"), Spec((pieces, params.stride // ITEM), "float32")]
    return [Spec((pieces, row), "float32"), Spec((pieces, row), "float32"), Spec((pieces,), "int32")]


def build(ctx: Context, params: RandomParams) -> Task:
    """One pass over all pieces by torch."""
    from harness.sampling import Task

    operation = describe(params)
    ctx.require(operation)
    sets = ctx.operands(*specs(params), rotate=False, uses=native.FOREVER)
    sets.prepare(1)
    arrays = sets[0]
    _shuffle(ctx, arrays)
    sweep = _torch(params, arrays)

    def step(_: int) -> None:
        sweep()

    def check() -> None:
        checks.pieces_right(sweep, operation.name, arrays[0], _expected(arrays))

    return Task(
        operation, step, _rates(operation), check=check, flags=(REUSED, *_flags(params), *started(arrays[0].nbytes))
    )


def build_compiled(ctx: Context, params: RandomParams, crew: Crew | None) -> tuple[Task, int]:
    """A step of a compiled loop, and how many passes it makes."""
    from harness.sampling import Task

    operation, sweeps = describe(params), native.sweeps_of(params.size, crew)
    ctx.require(operation)
    sets = native.operands(ctx, specs(params), crew)
    if crew is None:
        return Task(operation, native.modelled, _rates(operation)), sweeps
    sets.prepare(1)
    arrays = sets[0]
    _shuffle(ctx, arrays)
    stride = params.stride if isinstance(params, StridedParams) else None
    kernel = machine_code(loops.gather(params.piece, stride, native.streams(ctx, params.size)))
    work = Work(crew, kernel, arrays, params.pieces, sweeps)

    def check() -> None:
        work.prepare(1)
        checks.pieces_right(work.step, operation.name, arrays[0], _expected(arrays))

    flags = (REUSED, *_flags(params), *native.flags(ctx, params.size, crew, kernel))
    return Task(operation, work.step, _rates(operation), work.prepare, check, flags=flags), sweeps


def order(count: int, seed: int) -> torch.Tensor:
    """Every piece once, in a random order."""
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


def _shuffle(ctx: Context, arrays: tuple[torch.Tensor, ...]) -> None:
    if len(arrays) == 3 and ctx.device.type != "meta":
        arrays[2].copy_(order(len(arrays[2]), ctx.seed))


def _torch(params: RandomParams, arrays: tuple[torch.Tensor, ...]) -> Callable[[], object]:
    import torch

    into, table = arrays[:2]
    if isinstance(params, StridedParams):
        pieces = table[:, : params.piece // ITEM]
        return lambda: into.copy_(pieces)
    return lambda: torch.index_select(table, 0, arrays[2], out=into)


def _expected(arrays: tuple[torch.Tensor, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The rows that belong at given places of the result."""
    into, table = arrays[:2]
    row = into.shape[1]
    return lambda places: table[arrays[2][places].long() if len(arrays) == 3 else places][:, :row]


def _rates(operation: Operation) -> tuple[Rate, ...]:
    return (Rate("bandwidth", operation.bytes, Unit.BYTE_PER_SECOND),)


def _flags(params: RandomParams) -> tuple[str, ...]:
    if not isinstance(params, StridedParams):
        return ("bandwidth counts each piece twice, read and written, and its index of 4 B",)
    table, touched = params.pieces * params.stride, params.pieces * min(params.stride, max(params.piece, loops.LINE))
    return (
        "bandwidth counts each piece twice, read and written",
        f"of a table of {show_size(table)}, lines of {show_size(touched)} are touched (lines of {loops.LINE} B)",
    )
