"""A whole layer, forward and backward, really run: what the sum of its parts is held against.

The gradients of the input and of every weight are made, as the last of a step's micro-batches does with
gradients that were set to None. The check runs the same buffers through the same code and compares with
`reference`, for a loss on tokens spread over all sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.accelerator import Operation
from harness.errors import WrongAnswer
from harness.models import layer as run_layer
from harness.models.counts import layer_parameters, weights
from harness.models.parts import parts
from harness.operands import Operands, Spec
from harness.records import Rate
from harness.sampling import Task
from harness.units import Unit
from microbench.gemm.asked import ELEMENT, FOREVER, NEW_MEMORY, Asked, admit, agree
from microbench.gemm.reference import Reference

if TYPE_CHECKING:
    from harness.context import Context

SAMPLED = 32  # tokens, and rows of each weight's gradient, that a check works out


def build(ctx: Context, asked: Asked) -> Task:
    """The task of the layer; Skip where the device lacks the type or the memory."""
    admit(ctx, asked)
    ctx.arena.allow(memory(asked))
    shapes = weights(asked.model)
    plane = (asked.tokens, asked.model.hidden)
    sets = ctx.operands(*[Spec(shape, asked.stored) for shape in (plane, plane, *shapes.values())], uses=FOREVER)
    layer = Layer(asked, sets)
    held = parts(asked.model, asked.sequence, asked.batch, getattr(torch, asked.stored).itemsize)
    flops = float(sum(part.flops * part.times for part in held))
    streams = float(sum(part.bytes * part.times for part in held if part.kind == "stream"))
    operation = Operation("step", "layer", asked.dtype, streams, flops, shape=plane)
    rates = (
        Rate("tokens", float(asked.tokens), Unit.TOKEN_PER_SECOND),
        Rate("flops", flops, Unit.FLOP_PER_SECOND),
    )
    return Task(
        operation, layer.step, rates, sets.prepare, layer.check, sets.count, (*sets.flags, NEW_MEMORY)
    )  # fmt: skip


def memory(asked: Asked) -> int:
    """Bytes of a step, about: weights and their gradients, what backward needs of forward (Korthikanti et
    al., arXiv 2205.05198, 4.1), and what it has in hand at its widest place."""
    model, item = asked.model, getattr(torch, asked.stored).itemsize
    columns = 12 * model.hidden + 3 * model.qkv + model.active * (4 * model.hidden + 4 * model.up)
    return int(item * (2 * layer_parameters(model) + asked.tokens * columns))


class Layer:
    """Operand sets (input, gradient of the output, weights) and one step on each."""

    def __init__(self, asked: Asked, sets: Operands) -> None:
        self._asked, self._sets = asked, sets
        self._names = list(weights(asked.model))
        self._draw()
        place = sets[0][0]
        self._table = run_layer.table(asked.model, asked.sequence, place.device, place.dtype)

    def _draw(self) -> None:
        """Random normal, the same in every set, and no tile again and again: equal experts would teach the
        router nothing. Weights as at the start of a training, of variance 1 / columns, or products would
        grow from one to the next until float16 has no number for them."""
        self._sets.prepare(self._sets.count)
        first = self._sets[0]
        if first[0].is_meta:
            return
        generator = torch.Generator(first[0].device).manual_seed(1)
        for at, tensor in enumerate(first):
            tensor.normal_(0.0, tensor.shape[-1] ** -0.5 if at > 1 and tensor.dim() > 1 else 1.0, generator=generator)
        for index in range(1, self._sets.count):
            for tensor, drawn in zip(self._sets[index], first, strict=True):
                tensor.copy_(drawn)

    def step(self, index: int) -> None:
        x, gradient, *held = self._sets[index]
        self.run(x, gradient, held)

    def run(
        self, x: Tensor, gradient: Tensor, held: list[Tensor]
    ) -> tuple[Tensor, run_layer.Routing | None, tuple[Tensor, ...]]:
        """Output, routing, and the gradients of the input and of every weight."""
        leaves = [operand.detach().requires_grad_() for operand in (x, *held)]
        named = dict(zip(self._names, leaves[1:], strict=True))
        y, routing = run_layer.forward(self._asked.model, named, leaves[0], self._asked.batch, self._table)
        return y, routing, torch.autograd.grad(y, leaves, gradient)

    def check(self) -> None:
        """Compare one step with float64; raise WrongAnswer."""
        self._sets.prepare(1)
        x, gradient, *held = self._sets[0]
        tokens = spread(self._asked.tokens).to(x.device)
        masked = torch.zeros_like(gradient).index_copy(0, tokens, gradient[tokens])
        y, routing, found = self.run(x, masked, held)
        named = dict(zip(self._names, held, strict=True))
        right = Reference(self._asked.model, named, self._asked.batch, tokens, routing)
        wide = x.detach().double().requires_grad_()
        exact = right.output(wide)
        if right.misled > ELEMENT * self._asked.roundoff:
            raise WrongAnswer(f"{self._asked.dtype} layer: a token went to an expert that is not among its first")
        agree(y[tokens], exact, self._asked, "layer: output")
        exact.backward(masked[tokens].double())  # type: ignore[no-untyped-call]
        assert wide.grad is not None
        agree(found[0], wide.grad, self._asked, "layer: gradient of the input")
        for name, gradients in zip(self._names, found[1:], strict=True):
            self._agree(name, gradients, right)

    def _agree(self, name: str, found: Tensor, right: Reference) -> None:
        what = f"layer: gradient of {name}"
        if found.dim() == 1:
            exact = right.vectors[name].grad
            assert exact is not None
            agree(found, exact, self._asked, what)
            return
        rows = spread(found.shape[-2]).to(found.device)
        agree(found[..., rows, :], right.weight_gradient(name, rows), self._asked, what)


def spread(count: int) -> Tensor:
    """Up to SAMPLED places from the first to the last of `count`."""
    return torch.linspace(0, count - 1, min(count, SAMPLED), dtype=torch.float64).round().long()
