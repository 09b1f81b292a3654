"""A transformer layer in plain torch, forward and backward through autograd.

Pre-norm, causal attention, SwiGLU or GELU, top-k experts: what `harness.models.parts` counts, one
function for each part, so that a part measured by itself is the very code that the layer runs.
Activations are (tokens, columns); weights are (out, in), experts stacked before them. Results go to new
memory, as in a training step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.models import Model

EPSILON = 1e-5  # of the norms, as Llama 3 has it
BASE = 500_000.0  # of RoPE, as Llama 3 has it

Table = tuple[Tensor, Tensor]
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Routing:
    """Which rows go to which expert. order: (tokens · active,), places in the flattened choices, expert
    by expert; ends: (experts,), where each expert's rows end in it. int64 and int32."""

    order: Tensor
    ends: Tensor


def table(model: Model, sequence: int, device: torch.device, dtype: torch.dtype) -> Table | None:
    """Cosines and sines (sequence, head_dim / 2) of RoPE (Su et al., arXiv 2104.09864); None without."""
    if model.positions == "learned":
        return None
    exponents = torch.arange(0, model.head_dim, 2, dtype=torch.float64, device=device) / model.head_dim
    places = torch.arange(sequence, dtype=torch.float64, device=device)
    angles = torch.outer(places, BASE**-exponents)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def normalise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LayerNorm where there is a bias, else RMSNorm (Zhang & Sennrich, arXiv 1910.07467)."""
    if bias is None:
        return functional.rms_norm(x, weight.shape, weight, EPSILON)
    return functional.layer_norm(x, weight.shape, weight, bias, EPSILON)


def split(model: Model, qkv: Tensor, batch: int, turned: Table | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (batch, sequence, heads, head_dim), from (tokens, columns)."""
    heads, kv = model.heads, model.kv_heads
    q, k, v = torch.split(qkv.view(batch, -1, heads + 2 * kv, model.head_dim), [heads, kv, kv], 2)
    if turned is None:
        return q, k, v
    return turn(q, *turned), turn(k, *turned), v


def turn(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Each pair (first half, second half) of a head turned by its position's angle."""
    first, second = x.chunk(2, -1)
    c, s = cosines[:, None], sines[:, None]
    return torch.cat((first * c - second * s, second * c + first * s), -1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (tokens, heads · head_dim), by whatever kernel torch chooses."""
    shared = q.shape[2] != k.shape[2]
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    found = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shared)
    return found.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[3])


def activate(x: Tensor, gated: bool) -> Tensor:
    """SwiGLU of (gate, value) side by side (Shazeer, arXiv 2002.05202), or GELU."""
    if not gated:
        return functional.gelu(x, approximate="tanh")
    gate, value = x.chunk(2, -1)
    return functional.silu(gate) * value


def route(logits: Tensor, active: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each token's weights for its experts (tokens, active), and the fields of `Routing`. Weights of
    several experts sum to 1 (Mixtral); a single one keeps its probability (Fedus et al., Switch
    Transformers, arXiv 2101.03961), or the router would learn nothing."""
    chosen = logits.detach().topk(active).indices
    wide = torch.promote_types(logits.dtype, torch.float32)
    weights = logits.softmax(-1, dtype=wide).gather(1, chosen)
    if active > 1:
        weights = weights / weights.sum(-1, keepdim=True)
    flat = chosen.flatten()
    ends = torch.bincount(flat, minlength=logits.shape[1]).cumsum(0).int()
    return weights.to(logits.dtype), flat.argsort(stable=True), ends


def permute(x: Tensor, order: Tensor, active: int) -> Tensor:
    """Tokens (tokens, columns) as rows, expert by expert (tokens · active, columns)."""
    return x.index_select(0, order // active)


def grouped(x: Tensor, w: Tensor, ends: Tensor) -> Tensor:
    """Rows times each expert's wᵀ: (rows, n) from (rows, k) and (experts, n, k)."""
    if KERNEL:
        return functional.grouped_mm(x, w.mT, offs=ends)
    each = zip(_groups(x, ends), w.unbind(), strict=True)
    return torch.cat([functional.linear(rows, expert) for rows, expert in each])


def grouped_weight(gradient: Tensor, x: Tensor, ends: Tensor) -> Tensor:
    """Gradient (experts, n, k) of the experts' weights from (rows, n) and (rows, k)."""
    if KERNEL:
        return functional.grouped_mm(gradient.mT, x, offs=ends)
    each = zip(_groups(gradient, ends), _groups(x, ends), strict=True)
    return torch.stack([rows.mT @ inputs for rows, inputs in each])


KERNEL = hasattr(functional, "grouped_mm")  # torch 2.10; before it, a loop over the experts


def _groups(rows: Tensor, ends: Tensor) -> tuple[Tensor, ...]:
    return rows.tensor_split(ends[:-1].cpu().long())


def combine(rows: Tensor, weights: Tensor, order: Tensor) -> Tensor:
    """Each token's experts, weighted and summed: (tokens, columns)."""
    tokens, active = weights.shape
    weighted = rows * weights.flatten().index_select(0, order)[:, None]
    return rows.new_zeros(tokens, rows.shape[1]).index_add(0, order // active, weighted)


def forward(model: Model, w: Weights, x: Tensor, batch: int, turned: Table | None) -> tuple[Tensor, Routing | None]:
    """The layer's output (tokens, hidden) for x (tokens, hidden), `batch` sequences of equal length."""
    inner = normalise(x, w["norm1"], w.get("norm1_bias"))
    q, k, v = split(model, functional.linear(inner, w["qkv"], w.get("qkv_bias")), batch, turned)
    x = x + functional.linear(attend(q, k, v), w["projection"], w.get("projection_bias"))
    inner = normalise(x, w["norm2"], w.get("norm2_bias"))
    if model.experts == 1:
        wide = functional.linear(inner, w["up"], w.get("up_bias"))
        return x + functional.linear(activate(wide, model.gated), w["down"], w.get("down_bias")), None
    weights, order, ends = route(functional.linear(inner, w["router"]), model.active)
    wide = grouped(permute(inner, order, model.active), w["up"], ends)
    rows = grouped(activate(wide, model.gated), w["down"], ends)
    return x + combine(rows, weights, order), Routing(order, ends)
