"""Loops of McCalpin's STREAM over a working set: copy, scale, add, triad, and read and write alone.

The same arrays are used again and again: a working set that fits in a cache measures that cache, and
the steps of the curve are the hierarchy. Arrays are laid out and swept as in STREAM: a = b + s·c. The loop
is torch's own element-wise kernel, or on a processor one that is compiled for it (`loops`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.operands import Operands, Spec
from harness.records import Rate, Struct
from harness.units import Bytes, Unit, show_size
from microbench.memory import checks, loops, native
from microbench.memory.crew import Work
from microbench.memory.kernels import machine_code
from microbench.memory.loops import SCALAR

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task
    from microbench.memory.crew import Crew

ARRAYS = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "read": 1, "write": 1}
"""Arrays that a loop sweeps, which is also how STREAM counts its bytes; all but read write one."""

ITEM = {"float32": 4, "float64": 8}
BLOCK = loops.LINE * loops.TURN  # B; arrays are whole turns of a compiled loop
SHORT = 1 << 20  # B an array, below which the call itself is a visible share of the time

REUSED = "the working set is reused: sizes below a cache measure that cache"
ALLOCATES = (
    "traffic counts the destination twice: torch's CPU kernels store through the cache, so that each line is read "
    "before it is written (write-allocate; less moves on a processor that claims whole lines unread); bandwidth "
    "counts it once, as STREAM does"
)
"""Found by benchmarks/memory_triad.py: with four arrays counted for torch's triad and three for one with
non-temporal stores, both move the same bytes in a second to within a tenth."""

Arrays = Sequence["torch.Tensor"]
Sweep = Callable[[Arrays], object]


class StreamParams(Struct, frozen=True):
    """size: the working set over all arrays of the loop, rounded down to whole blocks of each. threads: of
    a compiled loop, 0 for all that the rank has."""

    size: Bytes
    op: Literal["copy", "scale", "add", "triad", "read", "write"] = "triad"
    dtype: Literal["float32", "float64"] = "float32"
    kernel: Literal["torch", "compiled"] = "torch"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        item, least = ITEM[self.dtype], ARRAYS[self.op] * BLOCK
        if self.size % item:
            below = self.size - self.size % item
            raise ValueError(
                f"{self.size} B is no whole number of {self.dtype} elements of {item} B; "
                f"nearest: {max(below, least)} or {below + item}"
            )
        if self.size < least:
            raise ValueError(f"{self.op} needs at least {least} B: {BLOCK} B for each of {ARRAYS[self.op]} arrays")
        refuse_threads(self.kernel, self.threads)


def refuse_threads(kernel: str, threads: int) -> None:
    """A number of threads can be set for compiled loops only: torch's threads are the rank's."""
    if threads and kernel == "torch":
        raise ValueError(f"threads={threads} is for kernel=compiled; torch uses the rank's threads: leave it out")


def elements(params: StreamParams) -> int:
    """Elements of each array."""
    return params.size // ARRAYS[params.op] // BLOCK * BLOCK // ITEM[params.dtype]


def describe(params: StreamParams) -> Operation:
    """The loop as an operation: STREAM's bytes."""
    count = elements(params)
    moved = float(ARRAYS[params.op] * count * ITEM[params.dtype])
    return Operation("stream", params.op, params.dtype, bytes=moved, shape=(count,))


def build(ctx: Context, params: StreamParams) -> Task:
    """One sweep by torch. The arrays are (destination, sources), or the source alone for read."""
    import torch

    from harness.sampling import Task

    operation, count = describe(params), elements(params)
    each = count * ITEM[params.dtype]
    ctx.require(operation)
    sets = ctx.operands(*specs(params), rotate=False, uses=native.FOREVER)
    kept = torch.empty((), dtype=getattr(torch, params.dtype), device=ctx.device)
    sweep = sweeps(kept)[params.op]

    def step(index: int) -> None:
        sweep(sets[index])

    def check() -> None:
        sets.prepare(1)
        if params.op != "read":
            checks.loop_right(lambda: step(0), params.op, sets[0])
            return
        kept.fill_(math.nan)
        step(0)
        checks.sum_right(sets[0][0], kept)

    rates, flags = _rates(ctx, params, each), [REUSED, *sets.flags]
    if len(rates) > 1:
        flags.append(ALLOCATES)
    return Task(operation, step, rates, sets.prepare, check, sets.count, (*flags, *started(each)))


def build_compiled(ctx: Context, params: StreamParams, crew: Crew | None) -> tuple[Task, int]:
    """A step of a compiled loop, and how many sweeps it makes."""
    return loop_over(ctx, params, crew, native.operands(ctx, specs(params), crew))


def loop_over(ctx: Context, params: StreamParams, crew: Crew | None, sets: Operands) -> tuple[Task, int]:
    """The same over operands that are there."""
    from harness.sampling import Task

    operation, sweeps = describe(params), native.sweeps_of(params.size, crew)
    rates = (Rate("bandwidth", operation.bytes, Unit.BYTE_PER_SECOND),)
    ctx.require(operation)
    if crew is None:
        return Task(operation, native.modelled, rates, flags=(REUSED,)), sweeps
    reads, streams = params.op == "read", native.streams(ctx, params.size)
    kernel = machine_code(loops.read() if reads else loops.stream(params.op, params.dtype, streams))
    sets.prepare(1)
    arrays, lines = sets[0], elements(params) * ITEM[params.dtype] // loops.LINE
    work = Work(crew, kernel, arrays, lines, sweeps)

    def check() -> None:
        work.prepare(1)
        if not reads:
            checks.loop_right(work.step, params.op, arrays)
            return
        work.results.zero_()
        work.step()
        checks.words_right(arrays[0], work.results)

    flags = (REUSED, *native.flags(ctx, params.size, crew, kernel, stores=not reads))
    return Task(operation, work.step, rates, work.prepare, check, flags=flags), sweeps


def specs(params: StreamParams) -> list[Spec]:
    """The arrays of a loop: the destination and its sources, or the source alone for read."""
    return [Spec((elements(params),), params.dtype)] * ARRAYS[params.op]


def sweeps(kept: torch.Tensor) -> dict[str, Sweep]:
    """Each loop over (destination, sources): one pass, nothing allocated. `kept` takes read's sum."""
    import torch

    return {
        "copy": lambda t: t[0].copy_(t[1]),
        "scale": lambda t: torch.mul(t[1], SCALAR, out=t[0]),
        "add": lambda t: torch.add(t[1], t[2], out=t[0]),
        "triad": lambda t: torch.add(t[1], t[2], alpha=SCALAR, out=t[0]),
        "read": lambda t: torch.sum(t[0], dim=0, out=kept),
        "write": lambda t: t[0].fill_(SCALAR),
    }


def started(each: int) -> tuple[str, ...]:
    """What to say of torch's loops over arrays of `each` B."""
    return (f"arrays of {show_size(each)}: starting the operation is part of its time",) if each < SHORT else ()


def _rates(ctx: Context, params: StreamParams, each: int) -> tuple[Rate, ...]:
    """STREAM's bytes; and those that move, on a CPU whose caches are known not to hold the working set. A
    GPU's caches take whole lines unread."""
    arrays, cache = ARRAYS[params.op], ctx.accelerator.cache()
    counted = Rate("bandwidth", float(arrays * each), Unit.BYTE_PER_SECOND)
    if ctx.device.type != "cpu" or params.op == "read" or cache is None or params.size <= cache:
        return (counted,)
    return counted, Rate("traffic", float((arrays + 1) * each), Unit.BYTE_PER_SECOND)
