"""A layer's matrix products one by one: plain, batched over heads, grouped over experts.

Forward as the layer calls it (x·wᵀ, the bias added in the same call), the gradients of input and weight
as autograd calls them: operands lie in memory as they do in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from harness.accelerator import Operation
from harness.models import Model
from harness.models import layer as run_layer
from harness.models.parts import Part
from harness.operands import Spec
from harness.records import Rate
from harness.sampling import Task
from harness.units import Unit
from microbench.gemm.asked import FOREVER, NEW_MEMORY, Asked, Shape, admit
from microbench.gemm.product import compare

if TYPE_CHECKING:
    from harness.context import Context

NAMES = {"product": "mm", "batched": "bmm", "grouped": "grouped_mm"}

Multiply = Callable[..., Tensor]


def build(ctx: Context, asked: Asked, part: Part) -> Task:
    """The task of one product; Skip where the device lacks the type or the memory."""
    admit(ctx, asked)
    ctx.arena.allow(part.bytes)  # the result counted, which is not among the operands
    shape = (part.m, part.n, part.k) if part.kind == "product" else ()
    operation = Operation("gemm", NAMES[part.kind], asked.dtype, float(part.bytes), float(part.flops), shape=shape)
    sets = ctx.operands(*[Spec(shape, asked.stored) for shape in factors(asked.model, part)], uses=FOREVER)
    ends = balanced(part, ctx.device)
    multiply = multiplication(part, ends)

    def step(index: int) -> None:
        multiply(*sets[index])

    def check() -> None:
        sets.prepare(1)
        verify(multiply, sets[0], part, ends, asked.dtype)

    rates = (
        Rate("traffic", float(part.bytes), Unit.BYTE_PER_SECOND),
        Rate("flops", float(part.flops), Unit.FLOP_PER_SECOND),
    )
    return Task(operation, step, rates, sets.prepare, check, sets.count, (*sets.flags, NEW_MEMORY))


def by_columns(part: Part) -> bool:
    """Whether the second factor (k, n) lies transposed in memory: weights are (out, in); attention's
    values, (keys, columns), are not."""
    return part.direction != "weight" and (part.direction == "forward") != (part.piece == "values")


def factors(model: Model, part: Part) -> list[Shape]:
    """Shapes of a product's two operands as they lie in memory, and of a bias."""
    m, n, k = part.m, part.n, part.k
    first = (k, m) if part.direction == "weight" else (m, k)
    second = (n, k) if by_columns(part) else (k, n)
    if part.kind == "batched":
        return [(part.count, *first), (part.count, *second)]
    if part.kind == "grouped":
        return [first, second if part.direction == "weight" else (part.count, *second)]
    biased = model.biases and part.direction == "forward" and part.piece != "logits"
    return [first, second, *([(n,)] if biased else [])]


def balanced(part: Part, device: torch.device) -> Tensor:
    """Ends of the experts' rows where each has as many, to a row; empty for what has no experts."""
    rows = part.k if part.direction == "weight" else part.m
    count = part.count if part.kind == "grouped" else 0
    return (torch.arange(1, count + 1, device=device) * rows // max(count, 1)).int()


def multiplication(part: Part, ends: Tensor) -> Multiply:
    """The call for operands of `factors`."""
    if part.kind == "grouped":
        calls: dict[str, Multiply] = {
            "forward": lambda x, w: run_layer.grouped(x, w, ends),
            "input": lambda gradient, w: run_layer.grouped(gradient, w.mT, ends),
            "weight": lambda gradient, x: run_layer.grouped_weight(gradient, x, ends),
        }
        return calls[part.direction]
    if part.direction == "weight":
        return lambda gradient, x: gradient.mT @ x
    if by_columns(part):
        return functional.linear if part.kind == "product" else lambda a, b: a @ b.mT
    return torch.matmul


def verify(multiply: Multiply, operands: Sequence[Tensor], part: Part, ends: Tensor, dtype: str) -> None:
    """Sampled elements of the first and the last matrix against float64; raise WrongAnswer."""
    found, (a, b, *bias) = multiply(*operands), operands
    a = a.mT if part.direction == "weight" else a
    b = b.mT if by_columns(part) else b
    if part.kind == "product":
        compare(a, b, found - bias[0] if bias else found, dtype)
        return
    for at in sorted({0, part.count - 1}):
        rows = slice(int(ends[at - 1]) if at else 0, int(ends[at])) if part.kind == "grouped" else slice(None)
        if part.kind == "batched":
            compare(a[at], b[at], found[at], dtype)
        elif part.direction == "weight":
            compare(a[:, rows], b[rows], found[at], dtype)
        else:
            compare(a[rows], b[at], found[rows], dtype)
