"""Parameters and FLOP of a model, counted matrix by matrix.

A multiplication and an addition are 2 FLOP; backward does two products for each of forward, and
recomputation is not counted (model FLOP, as MFU takes them: Chowdhery et al., PaLM, arXiv 2204.02311,
appendix B). Element-wise work is not counted. With `causal` attention counts the s(s+1)/2 pairs that a
causal kernel needs; without, all s² as PaLM, Korthikanti et al. (arXiv 2205.05198) and torch's
flop_counter do.
"""

from __future__ import annotations

import math
from typing import Literal

from harness.models import Model
from harness.models.parts import parts

Shape = tuple[int, ...]
Recompute = Literal["none", "selective", "full"]


def weights(model: Model) -> dict[str, Shape]:
    """Shapes of one layer's parameters by name, each matrix (out, in), experts stacked before it."""
    hidden, heads = model.hidden, model.heads * model.head_dim
    stack = (model.experts,) if model.experts > 1 else ()
    held: dict[str, Shape] = {"norm1": (hidden,), "qkv": (model.qkv, hidden), "projection": (hidden, heads)}
    held |= {"norm2": (hidden,)} | ({"router": (model.experts, hidden)} if stack else {})
    held |= {"up": (*stack, model.up, hidden), "down": (*stack, hidden, model.ffn)}
    if model.norm == "layer":
        held |= {"norm1_bias": (hidden,), "norm2_bias": (hidden,)}
    if model.biases:
        held |= {f"{name}_bias": held[name][:1] for name in ("qkv", "projection", "up", "down")}
    return held


def layer_parameters(model: Model) -> int:
    return sum(math.prod(shape) for shape in weights(model).values())


def embeddings(model: Model) -> int:
    """Parameters of the embedding, of the output where it is not tied to it, of learned positions."""
    tables = (1 if model.tied else 2) * model.vocabulary
    return (tables + (model.context if model.positions == "learned" else 0)) * model.hidden


def parameters(model: Model) -> int:
    """All parameters; the norm before the output included."""
    final = (2 if model.norm == "layer" else 1) * model.hidden
    return model.layers * layer_parameters(model) + final + embeddings(model)


def active_parameters(model: Model) -> int:
    """Those that one token uses: `active` of the experts."""
    held = weights(model)
    idle = (math.prod(held["up"]) + math.prod(held["down"])) * (model.experts - model.active) // model.experts
    return parameters(model) - model.layers * idle


def layer_flops(model: Model, sequence: int, batch: int = 1, causal: bool = False) -> int:
    """FLOP of one layer, forward and backward, of `batch` sequences."""
    return sum(part.flops * part.times for part in parts(model, sequence, batch, causal=causal))


def training_flops(model: Model, sequence: int, batch: int = 1, causal: bool = False) -> int:
    """FLOP of the whole model, forward and backward, of `batch` sequences: the numerator of MFU."""
    logits = 6 * batch * sequence * model.hidden * model.vocabulary
    return model.layers * layer_flops(model, sequence, batch, causal) + logits


def recomputed_flops(
    model: Model, sequence: int, batch: int = 1, recompute: Recompute = "none", causal: bool = False
) -> int:  # fmt: skip
    """FLOP that a step does twice, beside `training_flops`: what HFU adds to the numerator of MFU.

    selective: the core of attention forward (Korthikanti et al., arXiv 2205.05198, section 4.2); full: every layer's
    forward (Chen et al., arXiv 1604.06174). Counted whole, as both papers do. torch's checkpoint stops early, once it
    has what backward reads, and so leaves out a layer's last product, `down`. That a fused attention kernel works its
    scores out again in backward is the kernel's own matter, and is not counted either.
    """
    held = [part for part in parts(model, sequence, batch, causal=causal) if part.direction == "forward"]
    match recompute:
        case "none":
            return 0
        case "selective":
            again = [part for part in held if part.piece == "attention"]
        case "full":
            again = held
    return model.layers * sum(part.flops * part.times for part in again)
