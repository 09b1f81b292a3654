"""The layer again, in float64 and by the formulas: what a really run layer is held against.

Written apart from `run_layer`: no fused operation, no shared function. Outputs are worked out for
chosen tokens only, but from all keys and values, so that the whole sequence counts; gradients are those
of a loss on these tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.models import Model
from harness.models.layer import BASE, EPSILON, Routing

Used = dict[str, tuple[Tensor, Tensor]]
"""By matrix: its input (rows, k) and the gradient of its output (rows, n); an expert's as 'up.3'."""


class _Linear(torch.autograd.Function):
    """x·wᵀ in float64, of a w that stays in its own type: a float64 copy of every weight and of its
    gradient would not fit beside a large layer."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, w: Tensor, name: str, used: Used) -> Tensor:
        ctx.kept = x, w, name, used  # type: ignore[attr-defined]
        return x @ w.double().mT

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, w, name, used = ctx.kept  # type: ignore[attr-defined]
        used[name] = x, gradients[0]
        return gradients[0] @ w.double(), None, None, None


@dataclass
class Reference:
    """One layer. tokens: (r,), in order, those whose output is worked out. routing: the experts that the
    run layer chose. used, vectors: what gradients of weights are taken from. misled: see `misled`.
    """

    model: Model
    weights: Mapping[str, Tensor]
    batch: int
    tokens: Tensor
    routing: Routing | None = None
    used: Used = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    misled: float = 0.0

    def __post_init__(self) -> None:
        flat = {name: weight for name, weight in self.weights.items() if weight.dim() == 1}
        self.vectors = {name: weight.detach().double().requires_grad_() for name, weight in flat.items()}

    def output(self, x: Tensor) -> Tensor:
        """(chosen tokens, hidden) in float64; x is a float64 leaf."""
        qkv = self._linear(self._norm(x, "norm1"), "qkv")
        middle = x[self.tokens] + self._linear(self._attention(qkv), "projection")
        inner = self._norm(middle, "norm2")
        if self.routing is None:
            return middle + self._linear(self._activation(self._linear(inner, "up")), "down")
        return middle + self._experts(inner, self.routing)

    def weight_gradient(self, name: str, rows: Tensor) -> Tensor:
        """Those rows of a matrix's gradient (of every expert's), after a backward through `output`."""
        if self.weights[name].dim() == 2:
            return _rows_of_gradient(*self.used[name], rows)
        each = [_rows_of_gradient(*self.used[f"{name}.{expert}"], rows) for expert in range(self.model.experts)]
        return torch.stack(each)

    def _linear(self, x: Tensor, name: str, expert: int | None = None) -> Tensor:
        w = self.weights[name].detach()
        if expert is not None:
            w, name = w[expert], f"{name}.{expert}"
        found: Tensor = _Linear.apply(x, w, name, self.used)  # type: ignore[no-untyped-call]
        bias = self.vectors.get(f"{name}_bias")
        return found if bias is None else found + bias

    def _norm(self, x: Tensor, name: str) -> Tensor:
        bias = self.vectors.get(f"{name}_bias")
        if bias is None:
            return x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt() * self.vectors[name]
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt() * self.vectors[name] + bias

    def _attention(self, qkv: Tensor) -> Tensor:
        """Chosen tokens' attention to all before them, sequence by sequence, head by head."""
        model, sequence, found = self.model, len(qkv) // self.batch, []
        columns = qkv.view(self.batch, sequence, -1, model.head_dim).unbind(2)
        q, k, v = columns[: model.heads], columns[model.heads : -model.kv_heads], columns[-model.kv_heads :]
        for row in range(self.batch):
            places = self.tokens[self.tokens // sequence == row] % sequence
            keys = [self._turned(key[row]) for key in k]
            heads = [
                attended(self._turned(query[row])[places], keys[shared], v[shared][row], places)
                for query, shared in ((query, head * model.kv_heads // model.heads) for head, query in enumerate(q))
            ]
            found.append(torch.cat(heads, 1))
        return torch.cat(found)

    def _turned(self, x: Tensor) -> Tensor:
        """RoPE as a product of complex numbers: (sequence, head_dim)."""
        if self.model.positions == "learned":
            return x
        half = self.model.head_dim // 2
        speed = BASE ** (-torch.arange(half, dtype=x.dtype, device=x.device) / half)
        angles = torch.arange(len(x), dtype=x.dtype, device=x.device)[:, None] * speed
        turned = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat((turned.real, turned.imag), 1)

    def _activation(self, x: Tensor) -> Tensor:
        if self.model.gated:
            gate, value = x[:, : self.model.ffn], x[:, self.model.ffn :]
            return gate / (1 + (-gate).exp()) * value
        return x / 2 * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh())

    def _experts(self, inner: Tensor, routing: Routing) -> Tensor:
        """Every chosen token's experts, one expert after the other."""
        places = torch.arange(len(routing.order), device=inner.device)
        experts = torch.empty_like(routing.order)
        experts[routing.order] = torch.bucketize(places, routing.ends.long(), right=True)
        chosen = experts.view(-1, self.model.active)[self.tokens]
        logits = self._linear(inner, "router")
        self.misled = misled(logits.detach(), chosen)
        shares = logits.softmax(-1).gather(1, chosen)
        if self.model.active > 1:
            shares = shares / shares.sum(-1, keepdim=True)
        found = torch.zeros_like(inner)
        for expert in range(self.model.experts):
            token, place = (chosen == expert).nonzero(as_tuple=True)
            inside = self._activation(self._linear(inner[token], "up", expert))
            given = self._linear(inside, "down", expert) * shares[token, place][:, None]
            found = found.index_add(0, token, given)
        return found


def _rows_of_gradient(x: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
    return gradient[:, rows].mT @ x.detach()


def attended(queries: Tensor, keys: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Attention of queries (r, d) at `places` (r,) to the keys (s, d) up to their own."""
    scores = queries @ keys.mT / math.sqrt(keys.shape[1])
    later = torch.arange(len(keys), device=keys.device) > places[:, None]
    return scores.masked_fill(later, -math.inf).softmax(-1) @ values


def misled(logits: Tensor, chosen: Tensor) -> float:
    """By how much an expert that was left out lies above one that was chosen, at most; of the logits'
    root mean square. Not above 0 where the choice is that of float64."""
    left = logits.scatter(1, chosen, -math.inf).amax(1)
    return float((left - logits.gather(1, chosen).amin(1)).max() / logits.square().mean().sqrt())
