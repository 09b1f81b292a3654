"""A decoder to train, of any `harness.models.Model`: the layer of `gemm.transformer`, stacked, with a loss.

Each layer is a module that owns its parameters, since that is the unit in which ZeRO stage 3 gathers and frees
them. Values are drawn by a generator of the module's own, so that every engine that builds it gets the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.models import Model
from harness.models import layer as run_layer
from harness.models.counts import weights

SPREAD = 0.02  # standard deviation of initial weights, as GPT-2 has it


class Layer(nn.Module):
    """One layer; x is (tokens, hidden)."""

    def __init__(self, model: Model, seed: int) -> None:
        super().__init__()
        self.model, draw = model, _drawing(seed)
        for name, shape in weights(model).items():
            self.register_parameter(name, nn.Parameter(_initial(name, shape, draw)))

    def forward(self, x: Tensor, batch: int) -> Tensor:
        turned = run_layer.table(self.model, x.shape[0] // batch, x.device, x.dtype)
        return run_layer.forward(self.model, dict(self.named_parameters(recurse=False)), x, batch, turned)[0]


class Ends(nn.Module):
    """Embedding and output, in one module where they are tied."""

    def __init__(self, model: Model, seed: int) -> None:
        super().__init__()
        draw, wide = _drawing(seed), (model.vocabulary, model.hidden)
        self.table = nn.Parameter(_initial("table", wide, draw))
        self.places = self.output = self.bias = None
        if model.positions == "learned":
            self.places = nn.Parameter(_initial("places", (model.context, model.hidden), draw))
        if not model.tied:
            self.output = nn.Parameter(_initial("output", wide, draw))
        self.norm = nn.Parameter(torch.ones(model.hidden))
        if model.norm == "layer":
            self.bias = nn.Parameter(torch.zeros(model.hidden))

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Tokens (batch, sequence) to (tokens, hidden); with targets, (tokens, hidden) to the mean loss."""
        if targets is None:
            held = functional.embedding(x, self.table)
            return (held if self.places is None else held + self.places[: x.shape[1]]).flatten(0, 1)
        inner = run_layer.normalise(x, self.norm, self.bias)
        logits = functional.linear(inner, self.table if self.output is None else self.output)
        return functional.cross_entropy(logits.float(), targets.flatten())


class Decoder(nn.Module):
    """The whole model; tokens and targets are (batch, sequence)."""

    def __init__(self, model: Model, seed: int) -> None:
        super().__init__()
        self.ends = Ends(model, seed)
        self.layers = nn.ModuleList(Layer(model, seed + 1 + at) for at in range(model.layers))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.ends(tokens)
        for layer in self.layers:
            x = layer(x, tokens.shape[0])
        loss: Tensor = self.ends(x, targets)
        return loss


def _drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _initial(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if name.endswith("_bias"):
        return torch.zeros(shape)
    if name.startswith("norm"):
        return torch.ones(shape)
    return torch.empty(shape, device="cpu").normal_(0.0, SPREAD, generator=draw)
