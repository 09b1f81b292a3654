"""Sizing rules: what a width costs that fills no whole tiles, against slightly wider ones.

A width stands in the two linear layers around it (into it and out of it; a vocabulary in one), each as
training computes it: forward x·wᵀ, and the gradients of x and w. A head's width stands in attention,
forward and backward. Wider ones do the work of the width as asked, and their padding besides: what
counts is the time. After Anthony et al., The Case for Co-Designing Model Architectures with Hardware
(arXiv 2401.14489).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.operands import Spec
from harness.records import Better, Cadence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Unit
from microbench.gemm.attention import AttentionParams
from microbench.gemm.attention import build as build_attention
from microbench.gemm.product import ARITHMETIC, compare, flop, least_bytes, precision, spoil

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task
    from microbench.gemm.interleaved import Laps

Count = Annotated[int, msgspec.Meta(ge=1)]

MULTIPLES = (8, 16, 32, 64, 128, 256)
"""What widths are rounded up to: 16 B of bfloat16 is what tensor cores ask for, 128 B is a cache line and
64 elements of it, tiles are 64 to 256 wide (NVIDIA, Matrix Multiplication Background User's Guide)."""

TENSORS = 6  # of one linear layer: x, w and the gradient of y; y and the gradients of x and w
VISITS = 4  # caps in a cell's share of the budget: harness.visits cuts the cap to a quarter of it


class RuleParams(Struct, frozen=True):
    """width: the one to judge. tokens: rows of the activations, an expert's own for an expert, the
    sequence for a head. edge: the other edge of the weights; for a head the hidden width, which holds
    edge / width heads."""

    kind: Literal["hidden", "ffn", "expert", "vocab", "head_dim"] = "ffn"
    width: Count = 1365  # SwiGLU's 8/3 of 512, rounded down
    tokens: Count = 1024
    edge: Count = 512
    dtype: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.kind == "head_dim" and self.dtype == "tf32":
            raise ValueError("head_dim is judged by attention, which has no tf32 of its own")
        if self.kind == "head_dim" and self.edge < self.width:
            raise ValueError(f"edge={self.edge}, the hidden width, is less than one head of {self.width}")


@benchmark("gemm.rule", version=1, params=RuleParams, scope="device", rate="gain")
def rule(ctx: Context, params: RuleParams) -> Sequence[Measurement]:
    """What alignment and tiles cost a width: its time over that of wider ones, measured in turns."""
    from microbench.gemm.interleaved import take

    with precision(params.dtype):
        known = widths(params.width)
        places = [ctx, *(replace(ctx, arena=ctx.arena.apart()) for _ in known[1:])]
        tasks = [build(place, params, width) for place, width in zip(places, known, strict=True)]
        ctx.ready()
        laps = take(ctx.meter, tasks, ctx.policy, VISITS * ctx.policy.cap)
    times = [_time(ctx, task, laps, at, width) for at, (task, width) in enumerate(zip(tasks, known, strict=True))]
    return [*times, *(_gain(times[at], laps.gain(at)) for at in range(1, len(times)))]


def widths(width: int) -> tuple[int, ...]:
    """The width as asked, then others: the next, and those rounded up to the multiples."""
    others = {width + 1, *(-(-width // multiple) * multiple for multiple in MULTIPLES)} - {width}
    return width, *sorted(others)


def build(ctx: Context, params: RuleParams, width: int) -> Task:
    """The work of one width; Skip where the device lacks the type or the memory."""
    if params.kind == "head_dim":
        assert params.dtype != "tf32", "refused by the parameters"
        heads = params.edge // params.width
        return build_attention(
            ctx, AttentionParams(params.tokens, width, heads, dtype=params.dtype, backward=True, backend="torch")
        )
    into, out_of = (params.edge, width), (width, params.edge)
    return _layers(ctx, params, [into] if params.kind == "vocab" else [into, out_of])


def _layers(ctx: Context, params: RuleParams, layers: Sequence[tuple[int, int]]) -> Task:
    """Linear layers of (inputs, outputs), each forward and backward."""
    from harness.sampling import Task

    m, kind = params.tokens, ARITHMETIC[params.dtype]
    work = float(sum(3 * flop(m, outputs, inputs) for inputs, outputs in layers))
    moved = float(sum(3 * least_bytes(m, outputs, inputs, kind) for inputs, outputs in layers))
    operation = Operation("gemm", "linear", params.dtype, moved, work)
    ctx.require(operation)
    shapes = [
        shape
        for inputs, outputs in layers
        for shape in 2 * ((m, inputs), (outputs, inputs), (m, outputs))  # read, then written
    ]
    sets = ctx.operands(*(Spec(shape, kind.stored) for shape in shapes))

    def step(index: int) -> None:
        for first in range(0, len(shapes), TENSORS):
            _train(sets[index][first : first + TENSORS])

    def check() -> None:
        sets.prepare(1)
        for first in range(0, len(shapes), TENSORS):
            _verify(sets[0][first : first + TENSORS], params.dtype)

    rates = (Rate("flops", work, Unit.FLOP_PER_SECOND), Rate("traffic", moved, Unit.BYTE_PER_SECOND))
    return Task(operation, step, rates, sets.prepare, check, sets.count, sets.flags)


def _train(tensors: Sequence[torch.Tensor]) -> None:
    """One linear layer, y = x·wᵀ, forward and backward."""
    import torch

    x, w, of_y, of_x, of_w, y = tensors
    torch.mm(x, w.t(), out=y)
    torch.mm(of_y, w, out=of_x)
    torch.mm(of_y.t(), x, out=of_w)


def _verify(tensors: Sequence[torch.Tensor], dtype: str) -> None:
    x, w, of_y, of_x, of_w, y = tensors
    for result in (y, of_x, of_w):
        spoil(result)
    _train(tensors)
    compare(x, w.t(), y, dtype)
    compare(of_y, w, of_x, dtype)
    compare(of_y.t(), x, of_w, dtype)


def _time(ctx: Context, task: Task, laps: Laps, at: int, width: int) -> Measurement:
    return Measurement(
        metric=f"time.{Cadence.STREAMING}",
        unit=Unit.SECOND,
        better=Better.LOWER,
        samples=laps.samples[at],
        origin=ctx.meter.origin,
        cadence=Cadence.STREAMING,
        rates=task.rates,
        evidence=laps.evidence(task, at),
        params={"to": width},
    )


def _gain(time: Measurement, ratios: tuple[float, ...]) -> Measurement:
    """Time of the width as asked over that of another: above 1, the other one is faster."""
    from harness.statistics import median_interval

    evidence = msgspec.structs.replace(time.evidence, width=median_interval(ratios).width, rank_medians=())
    return msgspec.structs.replace(
        time, metric=f"gain.{Cadence.STREAMING}", unit=Unit.RATIO, better=Better.HIGHER, samples=ratios, rates=(),
        evidence=evidence,
    )  # fmt: skip
