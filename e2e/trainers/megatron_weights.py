"""Megatron-core's parameters from the weights of `e2e.network`, by name: pure, without megatron itself.

Megatron packs queries, keys and values of a key-value group side by side, and gate and up of a tensor rank likewise,
divides the vocabulary over tensor ranks, and numbers layers and experts from 0 on each rank (Shoeybi et al.,
arXiv 1909.08053). With Transformer Engine, a norm is part of the product that follows it, and experts lie in one
module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from harness.models import Model

Draw = Callable[[str], Tensor]
"""A whole weight, by its name in `e2e.network`."""

LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
EXPERT = re.compile(r"mlp\.experts\.(?:local_experts\.(?P<local>\d+)\.)?(?P<product>linear_fc[12])\.weight(?P<own>\d*)")
ENDS = {
    "decoder.final_layernorm.weight": "norm.weight", "decoder.final_layernorm.bias": "norm.bias",
    "embedding.position_embeddings.weight": "places.weight",
}  # fmt: skip
WHOLE = {
    "input_layernorm.": "norm1.", "self_attention.linear_qkv.layer_norm_": "norm1.",
    "pre_mlp_layernorm.": "norm2.", "mlp.linear_fc1.layer_norm_": "norm2.",
    "mlp.router.": "ffn.router.", "self_attention.linear_proj.b": "attention.projection.b",
    "mlp.linear_fc2.b": "ffn.down.b",
}  # fmt: skip
"""Of a layer, the same on every rank: by the beginnings of their names."""


@dataclass(frozen=True)
class Part:
    """One of `ranks` equal parts."""

    rank: int = 0
    ranks: int = 1

    def of(self, whole: Tensor, dimension: int = 0) -> Tensor:
        return whole.chunk(self.ranks, dimension)[self.rank]


@dataclass(frozen=True)
class Share:
    """What a rank holds. tensor, experts_tensor: its part of matrices outside and inside of experts. layer, expert:
    the number, in the whole model, of its first."""

    tensor: Part = Part()
    experts_tensor: Part = Part()
    layer: int = 0
    expert: int = 0


def value(name: str, model: Model, share: Share, draw: Draw) -> Tensor:
    """What Megatron's parameter of that name begins with on this rank. KeyError for a name that is not of a GPT
    model as this project builds it."""
    if name in ENDS:
        return draw(ENDS[name])
    if name == "embedding.word_embeddings.weight" or (name == "output_layer.weight" and model.tied):
        return share.tensor.of(draw("embedding.weight"))
    if name == "output_layer.weight":
        return share.tensor.of(draw("output.weight"))
    found = LAYER.fullmatch(name)
    if found is None:
        raise KeyError(f"no weight of the model is megatron's {name}")
    number, rest = int(found[1]) + share.layer, found[2]

    def own(weight: str) -> Tensor:
        return draw(f"layers.{number}.{weight}")

    return _of_layer(rest, model, share, own)


def _of_layer(name: str, model: Model, share: Share, own: Draw) -> Tensor:
    for begin, ours in WHOLE.items():
        if name.startswith(begin):
            return own(ours + name.removeprefix(begin))
    product, _, kind = name.rpartition(".")
    if product == "self_attention.linear_qkv":
        return share.tensor.of(packed(model, *(own(f"attention.{part}.{kind}") for part in "qkv")))
    if product == "self_attention.linear_proj":
        return share.tensor.of(own("attention.projection.weight"), 1)
    if product == "mlp.linear_fc1":
        return beside(model, share.tensor, own, f".{kind}")
    if product == "mlp.linear_fc2":
        return share.tensor.of(own("ffn.down.weight"), 1)
    if found := EXPERT.fullmatch(name):
        return _of_expert(found, model, share, own)
    raise KeyError(f"no weight of a layer is megatron's {name}")


def _of_expert(found: re.Match[str], model: Model, share: Share, own: Draw) -> Tensor:
    number = int(found["local"] or found["own"] or 0) + share.expert

    def one(weight: str) -> Tensor:
        return own(weight)[number]

    if found["product"] == "linear_fc1":
        return beside(model, share.experts_tensor, one, "")
    return share.experts_tensor.of(one("ffn.down"), 1)


def packed(model: Model, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Group by group: the queries of a key-value head, its keys, its values. Weights (columns, hidden) or biases
    (columns,). A tensor rank's part is whole groups."""
    groups = [part.reshape(model.kv_heads, -1, *part.shape[1:]) for part in (q, k, v)]
    return torch.cat(groups, 1).flatten(0, 1)


def beside(model: Model, part: Part, own: Draw, kind: str) -> Tensor:
    """A tensor rank's rows of gate, then its rows of up; without a gate the latter alone."""
    names = ("gate", "up") if model.gated else ("up",)
    return torch.cat([part.of(own(f"ffn.{name}{kind}")) for name in names])


@torch.no_grad()
def fill(named: Iterable[tuple[str, nn.Parameter]], model: Model, share: Share, draw: Draw) -> None:
    """Every parameter by its name. ValueError where a shape is not what the name says."""
    kept = lru_cache(maxsize=3)(draw)  # a stack of experts is asked for once for each of them
    for name, held in named:
        whole = value(name, model, share, kept)
        if whole.shape != held.shape:
            raise ValueError(f"megatron's {name} is {tuple(held.shape)}, the model's weight {tuple(whole.shape)}")
        held.copy_(whole)
