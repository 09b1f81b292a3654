"""Memory bandwidth: copy, scale, add, triad (McCalpin's STREAM) and read, against the working set.

The same arrays are used again and again: a working set that fits in a cache measures that cache,
and the steps of the curve are the hierarchy. Arrays are laid out and swept as in STREAM: a = b + s·c,
one element-wise pass by torch's own kernel over every thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from harness.accelerator import Operation
from harness.errors import WrongAnswer
from harness.operands import Operands, Spec
from harness.records import Cadence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit, show_size

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task

ARRAYS = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "read": 1}
"""Arrays that an operation sweeps, which is also how STREAM counts its bytes; all but read write one."""

ITEM = {"float32": 4, "float64": 8}
LINE = 64  # B; arrays are whole cache lines
SCALAR = 3.0  # STREAM's
SAMPLED = 4096  # elements that a check compares
PART = 1 << 20  # elements that are made float64 at a time
IN_A_ROW = 512
SHORT = 1 << 20  # B an array, below which the call itself is a visible share of the time

REUSED = "the working set is reused: sizes below a cache measure that cache"
ALLOCATES = (
    "traffic counts the destination twice: torch's CPU kernels store through the cache, so that each line is read "
    "before it is written (write-allocate; less moves on a processor that claims whole lines unread); bandwidth "
    "counts it once, as STREAM does"
)
"""Found by benchmarks/memory_triad.py: with four arrays counted for torch's triad and three for one with
non-temporal stores, both move the same bytes in a second."""

Sweep = Callable[[Sequence["torch.Tensor"]], object]


class StreamParams(Struct, frozen=True):
    """size: the working set over all arrays of the operation, rounded down to whole cache lines of each."""

    size: Bytes
    op: Literal["copy", "scale", "add", "triad", "read"] = "triad"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        item, least = ITEM[self.dtype], ARRAYS[self.op] * LINE
        if self.size % item:
            below = self.size - self.size % item
            raise ValueError(
                f"{self.size} B is no whole number of {self.dtype} elements of {item} B; "
                f"nearest: {max(below, least)} or {below + item}"
            )
        if self.size < least:
            raise ValueError(f"{self.op} needs at least {least} B: a cache line for each of {ARRAYS[self.op]} arrays")


@benchmark("memory.stream", version=1, params=StreamParams, scope="device", rate="bandwidth")
def stream(ctx: Context, params: StreamParams) -> Sequence[Measurement]:
    """Memory bandwidth of every device, from its caches to its memory: copy, scale, add, triad, read."""
    return ctx.time(build(ctx, params), [Cadence.STREAMING])


def elements(params: StreamParams) -> int:
    """Elements of each array."""
    return params.size // ARRAYS[params.op] // LINE * LINE // ITEM[params.dtype]


def build(ctx: Context, params: StreamParams) -> Task:
    """The task of one cell. The arrays are (destination, sources), or the source alone for read."""
    import torch

    from harness.sampling import Task

    count, arrays = elements(params), ARRAYS[params.op]
    each = count * ITEM[params.dtype]
    operation = Operation("stream", params.op, params.dtype, bytes=float(arrays * each), shape=(count,))
    ctx.require(operation)
    sets = ctx.operands(*[Spec((count,), params.dtype)] * arrays, rotate=False)
    kept = torch.empty((), dtype=getattr(torch, params.dtype), device=ctx.device)
    sweep = sweeps(kept)[params.op]

    def step(index: int) -> None:
        sweep(sets[index])

    def check() -> None:
        verify(step, sets, params.op, kept)

    rates, flags = _rates(ctx, params, each), [REUSED, *sets.flags]
    if len(rates) > 1:
        flags.append(ALLOCATES)
    if each < SHORT:
        flags.append(f"arrays of {show_size(each)}: starting the operation is part of its time")
    return Task(operation, step, rates, sets.prepare, check, sets.count, tuple(flags))


def sweeps(kept: torch.Tensor) -> dict[str, Sweep]:
    """Each operation over (destination, sources): one pass, nothing allocated. `kept` takes read's sum."""
    import torch

    return {
        "copy": lambda t: t[0].copy_(t[1]),
        "scale": lambda t: torch.mul(t[1], SCALAR, out=t[0]),
        "add": lambda t: torch.add(t[1], t[2], out=t[0]),
        "triad": lambda t: torch.add(t[1], t[2], alpha=SCALAR, out=t[0]),
        "read": lambda t: torch.sum(t[0], dim=0, out=kept),
    }


def _rates(ctx: Context, params: StreamParams, each: int) -> tuple[Rate, ...]:
    """STREAM's bytes; and those that move, on a CPU whose caches are known not to hold the working set. A
    GPU's caches take whole lines unread."""
    arrays, cache = ARRAYS[params.op], ctx.accelerator.cache()
    counted = Rate("bandwidth", float(arrays * each), Unit.BYTE_PER_SECOND)
    if ctx.device.type != "cpu" or params.op == "read" or cache is None or params.size <= cache:
        return (counted,)
    return counted, Rate("traffic", float((arrays + 1) * each), Unit.BYTE_PER_SECOND)


def verify(step: Callable[[int], None], sets: Operands, op: str, kept: torch.Tensor) -> None:
    """Compare with float64: sampled elements, or the whole sum for read; raise WrongAnswer."""
    sets.prepare(1)
    arrays = sets[0]
    (kept if op == "read" else arrays[0]).fill_(math.nan)
    step(0)
    if op == "read":
        _verify_sum(arrays[0], kept)
        return
    _verify_elements(arrays, op)


def _verify_elements(arrays: Sequence[torch.Tensor], op: str) -> None:
    """Two roundings at most: of s·c and of the sum."""
    import torch

    count, roundoff = arrays[0].numel(), torch.finfo(arrays[0].dtype).eps / 2
    places = torch.linspace(0, count - 1, min(count, SAMPLED), dtype=torch.float64).round().long()
    found, first, *rest = (array[places.to(array.device)].cpu().double() for array in arrays)
    second = rest[0] if rest else torch.zeros_like(first)
    one, two = {"copy": (1.0, 0.0), "scale": (SCALAR, 0.0), "add": (1.0, 1.0), "triad": (1.0, SCALAR)}[op]
    exact = one * first + two * second
    allowed = 2 * roundoff * ((one * first).abs() + (two * second).abs())
    wrong = ~((found - exact).abs() <= allowed)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0].item())
        raise WrongAnswer(
            f"{op}: element {int(places[at])} of {count} is {float(found[at]):.9g}, expected {float(exact[at]):.9g}"
        )


def _verify_sum(array: torch.Tensor, kept: torch.Tensor) -> None:
    """A sum by blocks, lanes and threads rounds an element's share at most IN_A_ROW times, so that its
    error is at most IN_A_ROW·u·Σ|x| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 4.2)."""
    import torch

    exact = weight = 0.0
    for start in range(0, array.numel(), PART):
        wide = array[start : start + PART].double()
        exact += float(wide.sum())
        weight += float(wide.abs().sum())
    if not abs(float(kept) - exact) <= IN_A_ROW * torch.finfo(array.dtype).eps / 2 * weight:
        raise WrongAnswer(f"read: the sum of {array.numel()} elements is {float(kept):.9g}, expected {exact:.9g}")
