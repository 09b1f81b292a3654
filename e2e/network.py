"""Any `harness.models.Model` as a network of torch's own modules, which its ways of parallelism know how to divide.

Layers keep their number in the whole model, so that a stage of a pipeline, a shard and the whole network call a
weight by one name; `draw` gives every weight by that name, the same for every trainer and every layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from harness.models import Model, layer

SPREAD = 0.02  # standard deviation of initial weights, as GPT-2 has it

Recompute = Literal["none", "selective", "full"]
"""What backward works out again: nothing; the core of attention (Korthikanti et al., arXiv 2205.05198); every layer
from its input (Chen et al., arXiv 1604.06174)."""


class Experts(nn.Module):
    """Feed-forward networks of which a router gives each token `active`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.router = nn.Linear(model.hidden, model.experts, bias=False)
        wide, back = (model.experts, model.ffn, model.hidden), (model.experts, model.hidden, model.ffn)
        self.gate = nn.Parameter(torch.empty(wide)) if model.gated else None
        self.up, self.down = nn.Parameter(torch.empty(wide)), nn.Parameter(torch.empty(back))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, sequence, hidden) to the same."""
        rows, active = x.flatten(0, -2), self.model.active
        weights, order, ends = layer.route(self.router(rows), active)
        inner = layer.permute(rows, order, active)
        wide = layer.grouped(inner, self.up.to(inner.dtype), ends)
        if self.gate is None:
            wide = functional.gelu(wide, approximate="tanh")
        else:
            wide = functional.silu(layer.grouped(inner, self.gate.to(inner.dtype), ends)) * wide
        back = layer.grouped(wide, self.down.to(wide.dtype), ends)
        return layer.combine(back, weights.to(back.dtype), order).view_as(x)


class Dense(nn.Module):
    """SwiGLU, or GELU."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.gate = nn.Linear(model.hidden, model.ffn, bias=model.biases) if model.gated else None
        self.up = nn.Linear(model.hidden, model.ffn, bias=model.biases)
        self.down = nn.Linear(model.ffn, model.hidden, bias=model.biases)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.up(x)
        wide = functional.gelu(wide, approximate="tanh") if self.gate is None else functional.silu(self.gate(x)) * wide
        back: Tensor = self.down(wide)
        return back


class Attention(nn.Module):
    """Causal attention with grouped queries. Heads are counted from what the projections give: under tensor
    parallelism that is this rank's share."""

    def __init__(self, model: Model, recompute: bool) -> None:
        super().__init__()
        self.size, self.again = model.head_dim, recompute
        wide, narrow = model.heads * model.head_dim, model.kv_heads * model.head_dim
        self.q = nn.Linear(model.hidden, wide, bias=model.biases)
        self.k = nn.Linear(model.hidden, narrow, bias=model.biases)
        self.v = nn.Linear(model.hidden, narrow, bias=model.biases)
        self.projection = nn.Linear(wide, model.hidden, bias=model.biases)

    def forward(self, x: Tensor, cosines: Tensor | None, sines: Tensor | None) -> Tensor:
        q, k, v = (self._heads(part(x)) for part in (self.q, self.k, self.v))
        if cosines is not None and sines is not None:
            q, k = layer.turn(q, cosines, sines), layer.turn(k, cosines, sines)
        found = checkpoint(layer.attend, q, k, v, use_reentrant=False) if self.again else layer.attend(q, k, v)
        back: Tensor = self.projection(found.view(*q.shape[:2], -1))
        return back

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.size)


class Layer(nn.Module):
    """Norm, attention, residual, norm, feed-forward, residual."""

    def __init__(self, model: Model, recompute: Recompute) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(model), _norm(model)
        self.attention = Attention(model, recompute == "selective")
        self.ffn = Experts(model) if model.experts > 1 else Dense(model)

    def forward(self, x: Tensor, cosines: Tensor | None, sines: Tensor | None) -> Tensor:
        x = x + self.attention(self.norm1(x), cosines, sines)
        back: Tensor = x + self.ffn(self.norm2(x))
        return back


class Network(nn.Module):
    """Layers `begin` to `end` of a model, with the embedding where they are the first and the output where they are
    the last. Tokens (batch, sequence) int64, or hidden (batch, sequence, hidden), to hidden, or logits
    (batch, sequence, vocabulary)."""

    def __init__(self, model: Model, recompute: Recompute = "none", begin: int = 0, end: int | None = None) -> None:
        super().__init__()
        self.model, self.full = model, recompute == "full"
        last = end is None or end == model.layers
        self.embedding = nn.Embedding(model.vocabulary, model.hidden) if begin == 0 else None
        learned = begin == 0 and model.positions == "learned"
        self.places = nn.Embedding(model.context, model.hidden) if learned else None
        span = range(begin, model.layers if end is None else end)
        self.layers = nn.ModuleDict({str(index): Layer(model, recompute) for index in span})
        self.norm = _norm(model) if last else None
        self.output = nn.Linear(model.hidden, model.vocabulary, bias=False) if last else None
        if model.tied and self.embedding is not None and self.output is not None:
            self.output.weight = self.embedding.weight
        self.parts = 1  # ranks that share out the positions between products: what is seen here times this is all
        self._turned: dict[tuple[object, ...], layer.Table | None] = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            tokens, x = x, self.embedding(x)
            if self.places is not None:
                x = x + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        cosines, sines = self._angles(x) or (None, None)
        for each in self.layers.values():
            if self.full and torch.is_grad_enabled():
                x = checkpoint(each, x, cosines, sines, use_reentrant=False)
            else:
                x = each(x, cosines, sines)
        return x if self.norm is None or self.output is None else self.output(self.norm(x))

    def _angles(self, x: Tensor) -> layer.Table | None:
        """Made once for a length, a device and a type."""
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        key = (length := x.shape[1] * self.parts, x.device, dtype)
        if key not in self._turned:
            self._turned[key] = layer.table(self.model, length, x.device, dtype)
        return self._turned[key]


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, mean over tokens, in float32."""
    return functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Every weight of the whole model by name."""
    with torch.device("meta"):
        return {name: tuple(held.shape) for name, held in Network(model).named_parameters()}


def draw(name: str, shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """The initial value of a weight, float32: norms 1, biases 0, all others normal. From the name and the seed alone,
    so that it does not matter which rank draws it, nor in what order."""
    if name.endswith("bias"):
        return torch.zeros(shape, device=device)
    if "norm" in name:
        return torch.ones(shape, device=device)
    own = int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest())
    generator = torch.Generator(device).manual_seed(own)
    return torch.empty(shape, device=device).normal_(0.0, SPREAD, generator=generator)


@torch.no_grad()
def fill(network: nn.Module, seed: int, given: Mapping[str, Tensor] | None = None) -> None:
    """Initial values into every parameter, whole or sharded (DTensor); `given` stands in for what would be drawn."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    for name, held in network.named_parameters():
        whole = draw(name, tuple(held.shape), seed, held.device) if given is None else given[name]
        if isinstance(held, DTensor):
            whole = distribute_tensor(whole.to(held.device), held.device_mesh, held.placements)
        held.copy_(whole)


def _norm(model: Model) -> nn.Module:
    kind = nn.LayerNorm if model.norm == "layer" else nn.RMSNorm
    return kind(model.hidden, eps=layer.EPSILON)
