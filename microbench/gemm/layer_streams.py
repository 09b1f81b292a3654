"""What a layer does beside its matrix products: parts bound by memory, and fused attention.

Forward is the layer's own function, recorded for autograd as in training; backward is autograd itself
on a graph that was recorded before. Where no gradient passes (the sum of two gradients, the gradient of
a bias) the function is what autograd would do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.accelerator import Operation
from harness.models import layer as run_layer
from harness.models.parts import Part
from harness.operands import Operands, Spec
from harness.records import Rate
from harness.sampling import Task
from harness.units import Unit
from microbench.gemm.asked import FOREVER, NEW_MEMORY, Asked, Shape, admit, agree
from microbench.gemm.reference import attended

if TYPE_CHECKING:
    from harness.context import Context

SAMPLED = 32  # queries that attention's check works out
PASSES = 4  # memory that a part takes at most, in its bytes: a composite function keeps what is between

Graph = tuple[list[Tensor], tuple[Tensor, ...], tuple[Tensor, ...]]
"""Outputs that have a gradient, the leaves, the outputs' gradients."""


@dataclass(frozen=True)
class Piece:
    """inputs, outputs: shapes of the function's operands, and of those results that have a gradient.
    gradient: False where the function is all there is, backward too."""

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    gradient: bool = True


def pieces(asked: Asked, device: torch.device) -> dict[str, Piece]:
    """Every such part of a layer by its piece's name, as far as the model has it."""
    model, tokens = asked.model, asked.tokens
    plane, rows, size = (tokens, model.hidden), tokens * model.active, model.head_dim
    vectors = ((model.hidden,),) * (2 if model.norm == "layer" else 1)
    sides = [(asked.batch, asked.sequence, heads, size) for heads in (model.heads, model.kv_heads, model.kv_heads)]
    turned = run_layer.table(model, asked.sequence, device, getattr(torch, asked.stored))
    heads = Piece(((tokens, model.qkv),), tuple(sides), lambda x: run_layer.split(model, x, asked.batch, turned))
    columns = [(tokens, width) for width in (model.qkv, model.hidden, model.up, model.hidden)]
    found = {
        "norm": Piece((plane, *vectors), (plane,), run_layer.normalise),
        "rope": heads,
        "split": heads,
        "attention": Piece(tuple(sides), ((tokens, model.heads * size),), run_layer.attend),
        "activation": Piece(
            ((rows, model.up),), ((rows, model.ffn),), lambda x: run_layer.activate(x, model.gated)
        ),
        "residual": Piece((plane, plane), (plane,), torch.add, gradient=False),
        "bias": Piece(tuple(columns), (), lambda *each: tuple(x.sum(0) for x in each), gradient=False),
    }  # fmt: skip
    return found | (_routing(asked, device) if model.experts > 1 else {})


def _routing(asked: Asked, device: torch.device) -> dict[str, Piece]:
    """Tokens to experts and back, in an order as random as a router's."""
    model, tokens, active = asked.model, asked.tokens, asked.model.active
    plane, rows = (tokens, model.hidden), (tokens * active, model.hidden)
    order = torch.randperm(tokens * active, generator=torch.Generator().manual_seed(1)).to(device)
    return {
        "route": Piece(
            ((tokens, model.experts),), ((tokens, active),), lambda logits: run_layer.route(logits, active)
        ),
        "permute": Piece((plane,), (rows,), lambda x: run_layer.permute(x, order, active)),
        "combine": Piece((rows, (tokens, active)), (plane,), lambda x, w: run_layer.combine(x, w, order)),
    }  # fmt: skip


def build(ctx: Context, asked: Asked, part: Part) -> Task:
    """The task of one part; Skip where the device lacks the type or the memory."""
    admit(ctx, asked)
    ctx.arena.allow(PASSES * part.bytes)
    piece = pieces(asked, ctx.device)[part.piece]
    backward = piece.gradient and part.direction == "backward"
    shapes = piece.inputs + (piece.outputs if backward else ())
    sets = ctx.operands(*[Spec(shape, asked.stored) for shape in shapes], uses=FOREVER)
    work = _Backward(sets, piece) if backward else _Forward(sets, piece)

    def check() -> None:
        work.prepare(1)
        (verify_attention if part.piece == "attention" else verify)(work.leaves(0), piece, asked, part)

    return Task(
        _operation(asked, part), work.step, _rates(part), work.prepare, check, sets.count, (*sets.flags, NEW_MEMORY),
        lasting=sets.count if backward else None,
    )  # fmt: skip


def _operation(asked: Asked, part: Part) -> Operation:
    if part.kind == "attention":
        return Operation("gemm", "attention", asked.dtype, float(part.bytes), float(part.flops))
    return Operation("stream", part.piece, asked.stored, float(part.bytes))


def _rates(part: Part) -> tuple[Rate, ...]:
    moved = Rate("traffic" if part.flops else "bandwidth", float(part.bytes), Unit.BYTE_PER_SECOND)
    return (moved, Rate("flops", float(part.flops), Unit.FLOP_PER_SECOND)) if part.flops else (moved,)


class _Forward:
    """The function on leaves of each ready set."""

    def __init__(self, sets: Operands, piece: Piece) -> None:
        self._sets, self._piece = sets, piece
        self._ready: list[tuple[Tensor, ...]] = []

    def prepare(self, operations: int) -> None:
        self._sets.prepare(operations)
        self._ready = [leaves(self._sets[index], self._piece) for index in range(operations)]

    def step(self, index: int) -> None:
        self._piece.function(*self._ready[index])

    def leaves(self, index: int) -> tuple[Tensor, ...]:
        return self._ready[index]


class _Backward:
    """Autograd on a graph for each set, recorded once: nothing writes to what it keeps."""

    def __init__(self, sets: Operands, piece: Piece) -> None:
        self._sets, self._piece = sets, piece
        self._graphs: dict[int, Graph] = {}
        self._ready: list[Graph] = []

    def prepare(self, operations: int) -> None:
        self._sets.prepare(operations)
        self._ready = [self._graph(self._sets[index]) for index in range(operations)]

    def _graph(self, operands: tuple[Tensor, ...]) -> Graph:
        place, count = operands[0].data_ptr(), len(self._piece.inputs)
        if place not in self._graphs:
            inputs = leaves(operands[:count], self._piece)
            self._graphs[place] = differentiable(self._piece.function(*inputs)), inputs, operands[count:]
        return self._graphs[place]

    def step(self, index: int) -> None:
        outputs, inputs, gradients = self._ready[index]
        torch.autograd.grad(outputs, inputs, gradients, retain_graph=True)

    def leaves(self, index: int) -> tuple[Tensor, ...]:
        _, inputs, gradients = self._ready[index]
        return inputs + gradients


def leaves(operands: Sequence[Tensor], piece: Piece) -> tuple[Tensor, ...]:
    return tuple(operand.detach().requires_grad_(piece.gradient) for operand in operands)


def differentiable(results: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    held = (results,) if isinstance(results, Tensor) else results
    return [result for result in held if result.is_floating_point()]


def run(operands: Sequence[Tensor], piece: Piece) -> list[Tensor]:
    """Results of the function, and its gradients where the operands hold those of its results."""
    count = len(piece.inputs)
    inputs = leaves(operands[:count], piece)
    outputs = differentiable(piece.function(*inputs))
    gradients = operands[count:]
    return [*outputs, *(torch.autograd.grad(outputs, inputs, list(gradients)) if gradients else ())]


def verify(operands: Sequence[Tensor], piece: Piece, asked: Asked, part: Part) -> None:
    """The same function in float64; its formula is checked with the layer that it belongs to."""
    wide = [operand.detach().double() for operand in operands]
    for found, exact in zip(run(operands, piece), run(wide, piece), strict=True):
        agree(found, exact, asked, part.name)


def verify_attention(operands: Sequence[Tensor], piece: Piece, asked: Asked, part: Part) -> None:
    """Sampled queries, spread over the first sequence, by the formula in float64: their output, and the
    gradients of a loss on them alone, which reach all keys and values before them. The first query sees
    one key: its own gradient is nothing but rounding, and it is left out."""
    count = min(asked.sequence - 1, SAMPLED)
    places = torch.linspace(1, asked.sequence - 1, count, dtype=torch.float64).round().long().to(operands[0].device)
    inputs = [operand[:1].detach().requires_grad_() for operand in operands[:3]]
    output = run_layer.attend(*inputs)[places]
    wide = [operand.detach().double().requires_grad_() for operand in inputs]
    q, k, v = (operand[0].unbind(1) for operand in wide)
    group = len(q) // len(k)
    heads = [attended(query[places], k[at // group], v[at // group], places) for at, query in enumerate(q)]
    exact = torch.cat(heads, 1)
    agree(output, exact, asked, part.name)
    loss = torch.autograd.grad(exact, wide, exact.detach())
    for found, right in zip(torch.autograd.grad(output, inputs, exact.to(output.dtype)), loss, strict=True):
        agree(found, right, asked, f"{part.name}: gradient")
